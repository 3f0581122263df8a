"""The same request twice is one change and one answer, for as long as promised."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from infra.democrm.books import changes, reads, replays
from infra.democrm.books.store import Store
from infra.democrm.limits import IDEMPOTENCY_KEY_CHARS_MAX
from infra.democrm.words import Answer, Occasion
from tests.democrm import orders
from tests.democrm.at import NOW
from tests.support.crm import Crm

POSTS = [
    ("/customers/find", {"email": "james.li4495@example.com"}, 200),
    (f"/orders/{orders.PENDING}/cancel", {"reason": "x", "reference": "r"}, 200),
    (
        f"/orders/{orders.PROCESSED}/refunds",
        {
            "amount_minor_units": 100,
            "currency": "USD",
            "payment_method_id": orders.PROCESSED_METHOD,
            "reference": "r",
        },
        201,
    ),
    (f"/orders/{orders.PENDING}/notes", {"author": "a", "text": "t"}, 201),
    (
        f"/customers/{orders.PENDING_CUSTOMER}/replies",
        {"channel": "chat", "text": "t", "reference": "r"},
        201,
    ),
]


def refund(crm: Crm, *, key: str | None, amount: int = 100) -> httpx.Response:
    return crm.refund(orders.PROCESSED, amount, orders.PROCESSED_METHOD, key=key)


@pytest.mark.parametrize(("path", "body", "status"), POSTS)
def test_every_post_is_replayed_to_the_byte(
    crm: Crm, path: str, body: dict[str, object], status: int
) -> None:
    first = crm.post(path, body, key="k-1")
    state, journal = crm.state(), crm.journal()
    # The order of members and the spaces between them do not make another request.
    turned = json.dumps(dict(reversed(body.items())), indent=3)
    again = crm.client.post(
        path,
        content=turned,
        headers={
            "Authorization": f"Bearer {crm.credential}",
            "Content-Type": "application/json",
            "Idempotency-Key": "k-1",
        },
    )
    assert (first.status_code, again.status_code) == (status, status)
    assert first.content == again.content
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert (crm.state(), crm.journal()) == (state, journal)
    assert len(journal) == (0 if path == "/customers/find" else 1)


def test_the_journal_names_the_key(crm: Crm) -> None:
    refund(crm, key="k-1")
    refund(crm, key=None)
    assert [entry["idempotency_key"] for entry in crm.journal()] == ["k-1", None]


def test_without_a_key_the_same_request_is_two_changes(crm: Crm) -> None:
    refund(crm, key=None)
    refund(crm, key=None)
    assert crm.order(orders.PROCESSED)["refunded_minor_units"] == 200


def test_a_key_with_another_request_is_a_conflict_and_does_nothing(crm: Crm) -> None:
    refund(crm, key="k-1")
    state = crm.state()
    other_body = refund(crm, key="k-1", amount=101)
    note = {"author": "a", "text": "t"}
    other_path = crm.post(f"/orders/{orders.PROCESSED}/notes", note, key="k-1")
    for response in (other_body, other_path):
        assert response.status_code == 409
        assert response.json() == {"error": "idempotency_conflict"}
    assert crm.state() == state


def test_a_refusal_is_kept_like_any_answer(crm: Crm) -> None:
    too_much = orders.PROCESSED_PAID + 1
    first = refund(crm, key="k-1", amount=too_much)
    crm.switch(refuse_over_refund=False)
    again = refund(crm, key="k-1", amount=too_much)
    assert (first.status_code, again.status_code) == (409, 409)
    assert first.content == again.content
    assert crm.journal() == []


def test_a_request_that_was_not_understood_keeps_nothing(crm: Crm) -> None:
    assert refund(crm, key="k-1", amount=0).status_code == 422
    assert refund(crm, key="k-1").status_code == 201


def test_one_key_at_the_same_time_is_one_change(crm: Crm) -> None:
    crm.fault("delay", delay_s=0.2, times=8)
    with ThreadPoolExecutor(max_workers=8) as pool:
        responses = list(pool.map(lambda _: refund(crm, key="k-1"), range(8)))
    assert {response.content for response in responses} == {responses[0].content}
    replayed = [response.headers.get("idempotent-replay") for response in responses]
    assert sorted(map(str, replayed)) == ["None"] + ["true"] * 7
    assert len(crm.journal()) == 1


@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("k" * IDEMPOTENCY_KEY_CHARS_MAX, 201),
        ("k" * (IDEMPOTENCY_KEY_CHARS_MAX + 1), 400),
        ("", 400),
        ("two words", 400),
    ],
)
def test_a_key_is_visible_ascii_of_limited_length(
    crm: Crm, key: str, status: int
) -> None:
    assert refund(crm, key=key).status_code == status
    assert len(crm.journal()) == (1 if status == 201 else 0)


def test_two_keys_are_refused(crm: Crm) -> None:
    response = crm.client.post(
        f"/orders/{orders.PROCESSED}/notes",
        json={"author": "a", "text": "t"},
        headers=[
            ("Authorization", f"Bearer {crm.credential}"),
            ("Idempotency-Key", "a"),
            ("Idempotency-Key", "b"),
        ],
    )
    assert response.json() == {"error": "bad_idempotency_key"}


def test_an_upstream_that_forgets_keys_pays_twice(crm: Crm) -> None:
    crm.switch(idempotency_ttl_s=0)
    refund(crm, key="k-1")
    refund(crm, key="k-1")
    assert len(crm.journal()) == 2


def note_at(
    books: Store, *, age: timedelta, text: str = "t", key: str = "k-1"
) -> Answer:
    """Write a note under a key, ``age`` after the first time."""

    def run(connection: object, occasion: Occasion) -> Answer:
        return changes.note(
            books.connection, occasion, orders.PROCESSED, author="a", text=text
        )

    return replays.once(
        books,
        Occasion(now=NOW + age, idempotency_key=key),
        run,
        request=text,
        ttl_s=3600,
    )


def test_a_key_is_honoured_until_its_time_is_over_and_not_longer(books: Store) -> None:
    hour, instant = timedelta(hours=1), timedelta(microseconds=1)
    first = note_at(books, age=timedelta())
    assert note_at(books, age=hour - instant).body == first.body
    # A replay does not make the key any younger.
    second = note_at(books, age=hour)
    assert second.body != first.body
    assert second.headers == {}
    assert note_at(books, age=hour * 2 - instant).body == second.body
    assert len(reads.journal(books.connection, 0)) == 2


def test_a_key_whose_time_is_over_may_come_with_another_request(books: Store) -> None:
    note_at(books, age=timedelta())
    assert note_at(books, age=timedelta(minutes=59), text="u").status == 409
    assert note_at(books, age=timedelta(hours=1), text="u").status == 201


def test_forgotten_keys_leave_the_file(books: Store) -> None:
    for key in ("k-1", "k-2", "k-3"):
        note_at(books, age=timedelta(), key=key)
    note_at(books, age=timedelta(days=1), key="k-4")
    kept = books.connection.execute("SELECT idempotency_key FROM replays").fetchall()
    assert kept == [("k-4",)]


def test_a_clock_that_was_set_back_still_knows_the_key(books: Store) -> None:
    first = note_at(books, age=timedelta())
    assert note_at(books, age=-timedelta(days=2)).body == first.body

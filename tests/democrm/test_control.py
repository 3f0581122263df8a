"""State, journal and reset, as tests read them."""

from datetime import UTC, datetime

import pytest

from infra.democrm.books import reads
from infra.democrm.books.store import Store
from infra.democrm.limits import JOURNAL_PAGE_ENTRIES_MAX
from tests.democrm import orders
from tests.support.crm import Crm, running_crm

REPLY = {"channel": "chat", "text": "t", "reference": "r-3"}


def busy_day(crm: Crm) -> None:
    """Make one change of each kind."""
    crm.refund(orders.PROCESSED, 100, orders.PROCESSED_METHOD, key="k", reference="r-1")
    cancel = {"reason": "x", "reference": "r-2"}
    crm.post(f"/orders/{orders.PENDING}/cancel", cancel)
    crm.note(orders.PENDING, "t")
    crm.post(f"/customers/{orders.PENDING_CUSTOMER}/replies", REPLY)


def test_the_journal_tells_every_change_once_and_in_order(crm: Crm) -> None:
    before = datetime.now(tz=UTC)
    busy_day(crm)
    entries = crm.journal()
    first = entries[0]["seq"]
    assert [entry.pop("seq") for entry in entries] == [*range(first, first + 4)]
    times = [datetime.fromisoformat(entry.pop("at")) for entry in entries]
    told = [before, *times, datetime.now(tz=UTC)]
    assert told == sorted(told)
    assert entries == [
        {
            "kind": "refund",
            "object": orders.PROCESSED,
            "customer_id": orders.PROCESSED_CUSTOMER,
            "amount_minor_units": 100,
            "reference": "r-1",
            "idempotency_key": "k",
        },
        {
            "kind": "cancel",
            "object": orders.PENDING,
            "customer_id": orders.PENDING_CUSTOMER,
            "amount_minor_units": orders.PENDING_PAID,
            "reference": "r-2",
            "idempotency_key": None,
        },
        {
            "kind": "note",
            "object": orders.PENDING,
            "customer_id": orders.PENDING_CUSTOMER,
            "amount_minor_units": None,
            "reference": None,
            "idempotency_key": None,
        },
        {
            "kind": "reply",
            "object": orders.PENDING_CUSTOMER,
            "customer_id": orders.PENDING_CUSTOMER,
            "amount_minor_units": None,
            "reference": "r-3",
            "idempotency_key": None,
        },
    ]


def test_the_journal_goes_on_from_where_a_reader_was(crm: Crm) -> None:
    busy_day(crm)
    entries = crm.journal()
    assert crm.journal(since=entries[1]["seq"]) == entries[2:]
    assert crm.journal(since=entries[-1]["seq"]) == []


@pytest.mark.parametrize("since", ["-1", "x", "", "1.0", "9" * 19])
def test_a_number_that_is_none_is_refused(crm: Crm, since: str) -> None:
    assert crm.control("GET", "/__journal", since=since).status_code == 422
    assert crm.control("GET", "/__journal", until=1).status_code == 422


def test_a_page_of_the_journal_ends_at_its_limit(books: Store) -> None:
    books.connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO journal (at, kind, object, customer_id)"
        " SELECT 'now', 'note', 'W1', 'c1' FROM n",
        (JOURNAL_PAGE_ENTRIES_MAX + 1,),
    )
    page = reads.journal(books.connection, 0)
    assert len(page) == JOURNAL_PAGE_ENTRIES_MAX
    last = page[-1]["seq"]
    assert isinstance(last, int)
    assert len(reads.journal(books.connection, last)) == 1


def test_reading_changes_nothing(crm: Crm) -> None:
    before = crm.state()
    crm.order(orders.PROCESSED)
    crm.get(f"/customers/{orders.PROCESSED_CUSTOMER}")
    crm.post("/customers/find", {"email": "nobody@example.com"}, key="k")
    crm.refund(orders.PROCESSED, 10**9, orders.PROCESSED_METHOD)
    assert crm.state() == before
    assert before["orders_changed"] == 0


def test_every_kind_of_change_changes_the_digest(crm: Crm) -> None:
    seen = {crm.state()["digest"]}
    crm.note(orders.PROCESSED, "t")
    seen.add(crm.state()["digest"])
    crm.refund(orders.PROCESSED, 1, orders.PROCESSED_METHOD)
    seen.add(crm.state()["digest"])
    crm.post(f"/customers/{orders.PENDING_CUSTOMER}/replies", REPLY)
    seen.add(crm.state()["digest"])
    assert crm.state()["orders_changed"] == 1
    crm.post(f"/orders/{orders.PENDING}/cancel", {"reason": "x", "reference": "r"})
    seen.add(crm.state()["digest"])
    assert len(seen) == 5
    assert crm.state()["orders_changed"] == 2


def test_the_same_calls_give_the_same_digest_anywhere(crm: Crm) -> None:
    busy_day(crm)
    with running_crm() as other:
        busy_day(other)
        assert other.state() == crm.state()


def test_a_reset_returns_to_the_data_but_never_gives_a_number_twice(crm: Crm) -> None:
    fresh = crm.state()
    busy_day(crm)
    last = crm.journal()[-1]["seq"]
    crm.fault("error_500", times=None)
    crm.switch(refuse_over_refund=False, idempotency_ttl_s=5)
    assert crm.control("POST", "/__reset").json() == fresh
    assert crm.journal() == []
    assert crm.control("GET", "/__faults").json() == {
        "faults": [],
        "switches": {
            "refuse_over_refund": True,
            "refuse_other_payment_method": True,
            "idempotency_ttl_s": 86400,
        },
    }
    again = crm.refund(orders.PROCESSED, 1, orders.PROCESSED_METHOD, key="k")
    assert "idempotent-replay" not in again.headers
    assert crm.journal()[0]["seq"] > last

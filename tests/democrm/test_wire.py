"""What callers may send, at every limit and one past it."""

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.democrm import limits
from infra.democrm.wire import Fields, RequestError, parse_object
from infra.democrm.words import canonical
from tests.democrm import orders
from tests.support.crm import Crm

NOTES = f"/orders/{orders.PROCESSED}/notes"
NOTE = {"author": "a", "text": "t"}
REFUND = {
    "amount_minor_units": 1,
    "currency": "USD",
    "payment_method_id": orders.PROCESSED_METHOD,
    "reference": "r",
}
REPLIES = f"/customers/{orders.PROCESSED_CUSTOMER}/replies"
REPLY = {"channel": "chat", "text": "t", "reference": "r"}
CANCEL = {"reason": "x", "reference": "r"}
NAME = {"first_name": "a", "last_name": "b", "zip": "1"}


def send(crm: Crm, content: bytes, **headers: str) -> httpx.Response:
    """POST raw bytes as a note."""
    return crm.client.post(
        NOTES,
        content=content,
        headers={
            "Authorization": f"Bearer {crm.credential}",
            "Content-Type": "application/json",
            **headers,
        },
    )


@pytest.mark.parametrize(
    ("path", "body", "field", "chars_max"),
    [
        (NOTES, NOTE, "author", limits.AUTHOR_CHARS_MAX),
        (NOTES, NOTE, "text", limits.NOTE_CHARS_MAX),
        (REPLIES, REPLY, "channel", limits.CHANNEL_CHARS_MAX),
        (REPLIES, REPLY, "text", limits.REPLY_CHARS_MAX),
        (REPLIES, REPLY, "reference", limits.REFERENCE_CHARS_MAX),
        (
            f"/orders/{orders.PENDING}/cancel",
            CANCEL,
            "reason",
            limits.REASON_CHARS_MAX,
        ),
        (
            f"/orders/{orders.PROCESSED}/refunds",
            REFUND,
            "payment_method_id",
            limits.ID_CHARS_MAX,
        ),
        ("/customers/find", {"email": "x"}, "email", limits.EMAIL_CHARS_MAX),
        ("/customers/find", NAME, "first_name", limits.NAME_CHARS_MAX),
        ("/customers/find", NAME, "last_name", limits.NAME_CHARS_MAX),
        ("/customers/find", NAME, "zip", limits.ZIP_CHARS_MAX),
    ],
)
def test_a_text_is_taken_at_its_limit_and_refused_one_past_it(
    crm: Crm, path: str, body: dict[str, Any], field: str, chars_max: int
) -> None:
    at_limit = crm.post(path, {**body, field: "x" * chars_max})
    past_it = crm.post(path, {**body, field: "x" * (chars_max + 1)})
    # An unknown method or address is an answer about a text that was taken.
    assert at_limit.json().get("error") != "invalid"
    assert past_it.status_code == 422
    assert past_it.json()["field"] == f"/{field}"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (NOTES, NOTE),
        (REPLIES, REPLY),
        (f"/orders/{orders.PROCESSED}/refunds", REFUND),
        (f"/orders/{orders.PENDING}/cancel", CANCEL),
        ("/customers/find", NAME),
    ],
)
def test_every_field_is_required_and_no_other_is_taken(
    crm: Crm, path: str, body: dict[str, Any]
) -> None:
    for name in body:
        without = {other: value for other, value in body.items() if other != name}
        for broken in (without, {**body, name: None}, {**body, name: ["x"]}):
            response = crm.post(path, broken)
            assert response.status_code == 422
            assert response.json()["field"] == f"/{name}"
    assert crm.post(path, {**body, "extra": 1}).status_code == 422
    assert crm.journal() == []


def test_the_longest_reply_fits_the_body_whatever_its_letters(crm: Crm) -> None:
    text = "\U0001f4b8" * limits.REPLY_CHARS_MAX
    response = crm.client.post(
        REPLIES,
        content=json.dumps({**REPLY, "text": text}, ensure_ascii=True),
        headers={
            "Authorization": f"Bearer {crm.credential}",
            "Content-Type": "application/json",
        },
    )
    assert response.json()["text"] == text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"author":"a","text":"t"} x',
        b'{"author":"a","text":"t","text":"u"}',
        b'{"author":"a","text":NaN}',
        b'{"author":"a","text":Infinity}',
        b'{"author":"a","text":"\\ud800"}',
        b'{"author":"a","text":"\xff"}',
        b"[" * limits.BODY_BYTES_MAX,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        b'{"author":' + b"1" * 5000 + b"}",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_not_strict_json_is_400(crm: Crm, content: bytes) -> None:
    response = send(crm, content)
    assert response.status_code == 400
    assert response.json()["error"] == "malformed"
    assert crm.journal() == []


@pytest.mark.parametrize("content", [b"[]", b'"x"', b"1", b"null", b"1e999"])
def test_what_is_no_object_is_422(crm: Crm, content: bytes) -> None:
    assert send(crm, content).status_code == 422


def test_nesting_is_taken_at_its_limit_and_refused_one_past_it() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert parse_object(nested(limits.JSON_DEPTH_MAX))
    with pytest.raises(RequestError) as caught:
        parse_object(nested(limits.JSON_DEPTH_MAX + 1))
    assert caught.value.answer.status == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_any_object_is_read_as_it_was_written_or_refused(value: Any) -> None:
    try:
        text = canonical(value).encode()
        parsed = parse_object(text)
    except (UnicodeEncodeError, RequestError):
        return
    assert parsed == value


def refused(take: Callable[[], object]) -> int:
    """Return the status of the refusal, or 0; any other error is the test's."""
    try:
        take()
    except RequestError as error:
        return error.answer.status
    return 0


@given(st.binary())
def test_no_bytes_do_worse_than_a_refusal(raw: bytes) -> None:
    assert refused(lambda: parse_object(raw)) in (0, 400, 422)


@given(json_values)
def test_no_value_does_worse_to_a_field_than_a_refusal(value: Any) -> None:
    def fields() -> Fields:
        return Fields({"f": value})

    for take in (
        lambda: fields().text("f", chars_max=5),
        lambda: fields().amount("f"),
        lambda: fields().number("f", most=1.0),
        lambda: fields().flag("f"),
        lambda: fields().fields("f"),
        lambda: fields().objects("f", items_max=2),
    ):
        assert refused(take) in (0, 422)


def test_a_body_is_taken_at_its_limit_and_refused_one_past_it(crm: Crm) -> None:
    content = json.dumps(NOTE).encode()
    at_limit = content + b" " * (limits.BODY_BYTES_MAX - len(content))
    assert send(crm, at_limit).status_code == 201
    past_it = send(crm, at_limit + b" ")
    assert (past_it.status_code, past_it.json()) == (413, {"error": "too_large"})
    assert len(crm.journal()) == 1


def test_the_sender_of_a_large_body_hears_why_and_may_go_on(crm: Crm) -> None:
    at_limit = send(crm, b" " * limits.BODY_DISCARDED_BYTES_MAX)
    assert at_limit.json() == {"error": "too_large"}
    assert "connection" not in at_limit.headers


def test_an_endless_body_is_cut(crm: Crm) -> None:
    port = httpx.URL(crm.url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = (
            f"POST {NOTES} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {crm.credential}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        # Exactly what is thrown away, and nothing is said before more comes.
        pieces = limits.BODY_DISCARDED_BYTES_MAX // 0x10000
        connection.sendall(head.encode() + piece * pieces)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        connection.sendall(b"1\r\n \r\n")
        told = b"".join(iter(lambda: connection.recv(4096), b""))
        assert told.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in told.lower()
    assert crm.get(f"/orders/{orders.PROCESSED}").status_code == 200


def test_a_body_that_does_not_come_is_408(crm: Crm) -> None:
    port = httpx.URL(crm.url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = (
            f"POST {NOTES} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {crm.credential}\r\n"
            "Content-Type: application/json\r\nContent-Length: 30\r\n\r\n{"
        )
        connection.sendall(head.encode())
        connection.settimeout(limits.BODY_WAIT_S_MAX - 1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        assert connection.recv(64).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("Application/JSON; charset=utf-8", 201),
        ("application/json; charset=latin-1", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
def test_only_json_is_taken(crm: Crm, content_type: str, status: int) -> None:
    content = json.dumps(NOTE).encode()
    response = send(crm, content, **{"Content-Type": content_type})
    assert response.status_code == status


def test_an_id_is_taken_at_its_limit_and_refused_one_past_it(crm: Crm) -> None:
    at_limit = crm.get("/orders/" + "W" * limits.ID_CHARS_MAX)
    past_it = crm.get("/orders/" + "W" * (limits.ID_CHARS_MAX + 1))
    assert at_limit.json() == {"error": "no_such_order"}
    assert past_it.json() == {"error": "no_such_path"}


def test_a_query_that_would_be_ignored_is_refused(crm: Crm) -> None:
    assert crm.get(f"/orders/{orders.PROCESSED}", fields="status").status_code == 422
    assert crm.post(f"{NOTES}?dry_run=1", NOTE).status_code == 422
    assert crm.journal() == []

"""The kit for connectors: paths cannot climb, answers are what they must be."""

from __future__ import annotations

import socket
import threading
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.warrants.template import Filling, TemplateError, fill_form, fill_path
from tools.http1 import Connection
from tools.sdk import ConnectorError, Http, Response, accept, segment

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(TEXT.filter(lambda text: text not in {".", ".."}))
def test_a_segment_stays_one_part_of_the_path_and_keeps_its_value(text):
    quoted = segment(text)
    assert "/" not in quoted
    assert "?" not in quoted
    assert quoted.isascii()
    assert unquote(quoted) == text


@given(TEXT)
def test_a_segment_is_quoted_as_the_edge_expects_it(text):
    filling = Filling(arguments={"id": text}, customer="", action="")
    try:
        wanted = fill_path("/orders/{args.id}", filling)
    except TemplateError:
        return  # The edge sends nothing for such a value.
    assert f"/orders/{segment(text)}" == wanted


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_segment_that_is_empty_or_climbs_is_refused(value):
    with pytest.raises(ConnectorError) as refused:
        segment(value)
    assert refused.value.code == "bad_segment"


def test_an_answer_with_another_status_is_a_declared_failure():
    with pytest.raises(ConnectorError) as refused:
        accept(Response(409, {}, b'{"secret": "of the customer"}'), 200, 201)
    assert refused.value.code == "upstream_refused"
    assert refused.value.message == "answered 409"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"a": 1, "a": 2}', b"\xff"])
def test_an_answer_that_is_no_object_is_a_declared_failure(body):
    with pytest.raises(ConnectorError) as refused:
        accept(Response(200, {}, body), 200)
    assert refused.value.code == "upstream_malformed"


def test_an_answer_may_hold_fractions_that_a_result_may_not():
    assert accept(Response(200, {}, b'{"a": 1.5}'), 200) == {"a": 1.5}


@pytest.mark.parametrize(
    ("ask", "line", "body"),
    [
        (lambda http: http.get("/a", {"q": "x y&z"}), b"GET /a?q=x+y%26z ", b""),
        (
            lambda http: http.post("/a", json={"b": "é"}),
            b"POST /a ",
            b'{"b":"\\u00e9"}',
        ),
        (
            lambda http: http.post("/a", form={"m[b]": "é &", "a": 1}),
            b"POST /a ",
            b"a=1&m[b]=%C3%A9+%26",
        ),
        (lambda http: http.post("/a", form=b"a=1"), b"POST /a ", b"a=1"),
        (lambda http: http.put("/a", json={}), b"PUT /a ", b"{}"),
        (lambda http: http.patch("/a", json={"b": 1}), b"PATCH /a ", b'{"b":1}'),
        (lambda http: http.delete("/a"), b"DELETE /a ", b""),
    ],
)
def test_each_method_sends_its_request(ask, line, body):
    ours, theirs = socket.socketpair()
    got = bytearray()

    def answer() -> None:
        got.extend(theirs.recv(10_000))
        theirs.sendall(b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}")

    with ours, theirs:
        thread = threading.Thread(target=answer)
        thread.start()
        assert ask(Http(Connection(ours.fileno()))).json() == {}
        thread.join()
    assert got.startswith(line)
    assert got.endswith(b"\r\n\r\n" + body)


@given(st.dictionaries(st.from_regex("[a-z]{1,9}", fullmatch=True), TEXT, min_size=1))
def test_a_form_is_encoded_as_the_edge_expects_it(fields):
    template = {name: f"{{args.{name}}}" for name in fields}
    wanted = fill_form(template, Filling(arguments=fields, customer="", action=""))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}")
        Http(Connection(ours.fileno())).post("/a", form=fields)
        got = theirs.recv(100_000)
    assert got.endswith(b"\r\n\r\n" + wanted)
    assert b"content-type: application/x-www-form-urlencoded\r\n" in got


def test_a_connection_that_the_edge_ended_is_a_declared_failure():
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ConnectorError) as refused:
        Http(Connection(ours.fileno())).get("/")
    assert refused.value.code == "egress"


def test_a_body_that_json_cannot_carry_is_not_sent():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(ValueError, match="JSON"):
            Http(Connection(ours.fileno())).post("/", json={"a": float("nan")})
        theirs.settimeout(0)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)

"""Messages: what is read, what is refused, and that headers cannot lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    encode_header_value,
)

from broker.api.mcp.envelope import Message, Routing, read_message, revision_of
from broker.api.mcp.words import (
    ENVELOPED,
    HANDSHAKE,
    MESSAGE_BYTES_MAX,
    MESSAGE_DEPTH_MAX,
    MESSAGE_ID_CHARS_MAX,
    METHOD_CHARS_MAX,
    Code,
    RpcError,
)
from tests.support.mcp.house import ENVELOPE

T = TypeVar("T")
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def read(document: Any) -> Message:
    return read_message(json.dumps(document).encode())


def refusal(document: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        read_message(
            document if isinstance(document, bytes) else json.dumps(document).encode()
        )
    return caught.value


def outcome(ask: Callable[[], T]) -> T | RpcError:
    """Return what was answered, or the error; anything else is our mistake."""
    try:
        return ask()
    except RpcError as error:
        return error


def enveloped(method: str = "tools/list", **params: Any) -> Message:
    return Message(1, method, {"_meta": ENVELOPE} | params)


# ---------------------------------------------------------------------------- reading


def test_a_request_and_a_notification_are_told_apart_by_the_id() -> None:
    assert read(LIST).message_id == 1
    assert read(LIST | {"id": "a"}).message_id == "a"
    assert read({"jsonrpc": "2.0", "method": "notifications/x"}).message_id is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_an_error_of_ours(data: bytes) -> None:
    found = outcome(lambda: read_message(data))
    if isinstance(found, RpcError):
        assert found.code in {Code.PARSE_ERROR, Code.INVALID_REQUEST}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "_meta", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.sampled_from(["2.0", "1.0", 2.0]),
            "id": JSON,
            "method": st.sampled_from(["tools/list", "", 5]) | JSON,
            "params": JSON,
            "result": JSON,
        },
    )
)
def test_any_object_is_read_or_refused_and_what_is_read_has_the_right_types(
    document: dict[str, Any],
) -> None:
    message = outcome(lambda: read(document))
    if isinstance(message, RpcError):
        assert message.code is Code.INVALID_REQUEST
        return
    assert document["jsonrpc"] == "2.0"
    assert isinstance(message.method, str)
    assert isinstance(message.params, dict)
    assert type(message.message_id) in {int, str, type(None)}
    assert ("id" in document) is (message.message_id is not None)


@pytest.mark.parametrize(
    "document",
    [
        [LIST],
        [],
        "tools/list",
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}},
        LIST | {"id": None},
        LIST | {"id": True},
        LIST | {"id": 1.5},
        LIST | {"id": 1.0},
        LIST | {"id": {}},
        LIST | {"jsonrpc": "1.0"},
        LIST | {"method": 5},
        LIST | {"params": []},
        {"jsonrpc": "2.0", "id": 1},
    ],
)
def test_what_is_no_single_request_or_notification_is_refused(document: Any) -> None:
    assert refusal(document).code is Code.INVALID_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":9007199254740992}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\\ud800"}}',
    ],
)
def test_what_has_no_single_meaning_as_json_is_a_parse_error(data: bytes) -> None:
    assert refusal(data).code is Code.PARSE_ERROR


def test_a_message_of_the_largest_size_is_read_and_one_byte_more_is_not() -> None:
    frame = json.dumps(LIST | {"params": {"x": ""}}).encode()
    room = b"y" * (MESSAGE_BYTES_MAX - len(frame))
    largest = frame.replace(b'""', b'"' + room + b'"')
    assert len(largest) == MESSAGE_BYTES_MAX
    assert read_message(largest).method == "tools/list"
    assert refusal(largest + b" ").status == 413


def test_a_message_of_the_greatest_depth_is_read_and_one_deeper_is_not() -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(depth - 2):
            value = [value]
        return LIST | {"params": {"x": value}}

    assert read(nested(MESSAGE_DEPTH_MAX)).method == "tools/list"
    assert refusal(nested(MESSAGE_DEPTH_MAX + 1)).status == 413


def test_the_longest_id_and_method_are_read_and_longer_ones_are_not() -> None:
    longest = "i" * MESSAGE_ID_CHARS_MAX
    assert read(LIST | {"id": longest}).message_id == longest
    assert refusal(LIST | {"id": longest + "i"}).code is Code.INVALID_REQUEST
    method = "m" * METHOD_CHARS_MAX
    assert read(LIST | {"method": method}).method == method
    assert refusal(LIST | {"method": method + "m"}).code is Code.INVALID_REQUEST


# -------------------------------------------------------------------------- revisions


def test_only_the_handshake_may_come_without_a_version_header() -> None:
    assert revision_of(Message(1, "initialize"), Routing()) == HANDSHAKE
    with pytest.raises(RpcError) as caught:
        revision_of(Message(1, "tools/list"), Routing())
    assert caught.value.code is Code.UNSUPPORTED_REVISION
    assert caught.value.data == {
        "supported": [HANDSHAKE, ENVELOPED],
        "requested": "2025-03-26",
    }
    with pytest.raises(RpcError) as caught:
        revision_of(enveloped(), Routing())
    assert caught.value.code is Code.HEADER_MISMATCH


@pytest.mark.parametrize(
    "revision", ["2025-06-18", "2024-11-05", "2099-01-01", "", "x"]
)
def test_an_unknown_revision_is_refused_with_those_that_we_speak(revision: str) -> None:
    for message in (Message(1, "tools/list"), Message(None, "notifications/x")):
        with pytest.raises(RpcError) as caught:
            revision_of(message, Routing([revision]))
        assert caught.value.code is Code.UNSUPPORTED_REVISION
        assert caught.value.status == 400


def test_the_older_revision_asks_for_no_envelope() -> None:
    assert revision_of(Message(1, "tools/list"), Routing([HANDSHAKE])) == HANDSHAKE


@pytest.mark.parametrize("header", ["revision", "method", "name"])
def test_a_header_that_was_sent_twice_is_refused(header: str) -> None:
    said = {"revision": [ENVELOPED], "method": ["tools/call"], "name": ["x"]}
    message = enveloped("tools/call", name="x")
    assert revision_of(message, Routing(**said)) == ENVELOPED
    with pytest.raises(RpcError) as caught:
        revision_of(message, Routing(**(said | {header: said[header] * 2})))
    assert caught.value.code is Code.HEADER_MISMATCH


METHODS = st.sampled_from(["tools/call", "tools/list", "resources/read", "x", ""])
NAMES = st.sampled_from(["a", "b", "", "\u00e9", "=?base64?YQ==?=", 5, None])
SAME = "the same as in the body"
BROKEN_META = [
    {},
    None,
    5,
    {"io.modelcontextprotocol/protocolVersion": ENVELOPED},
    ENVELOPE | {"io.modelcontextprotocol/protocolVersion": HANDSHAKE},
]


@given(
    meta=st.just(ENVELOPE) | st.sampled_from([ENVELOPE, *BROKEN_META]),
    method=METHODS,
    said_method=st.just(SAME) | st.none() | METHODS,
    name=NAMES,
    said_name=st.just(SAME) | st.none() | NAMES.map(str) | st.text("=?bas64YQ"),
)
@example(ENVELOPE, "tools/call", SAME, "", "a")
@example(ENVELOPE, "resources/read", SAME, 5, SAME)
def test_headers_are_compared_as_in_the_reference_implementation(
    meta: Any, method: str, said_method: str | None, name: Any, said_name: str | None
) -> None:
    params = {"_meta": meta, "name": name, "uri": name}
    params = {key: value for key, value in params.items() if value is not None}
    headers = {"mcp-protocol-version": ENVELOPED}
    said_method = method if said_method == SAME else said_method
    said_name = str(name) if said_name == SAME else said_name
    if said_method is not None:
        headers["mcp-method"] = said_method
    if said_name is not None:
        headers["mcp-name"] = said_name
    reference = classify_inbound_request(
        {"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        headers=headers,
    )
    routing = Routing(
        [ENVELOPED],
        [] if said_method is None else [said_method],
        [] if said_name is None else [said_name],
    )
    found = outcome(lambda: revision_of(Message(1, method, params), routing))
    if isinstance(reference, InboundLadderRejection):
        assert isinstance(found, RpcError), reference
        assert int(found.code) == reference.code
    else:
        assert found == ENVELOPED


@given(st.text(max_size=40))
def test_any_name_survives_the_way_that_clients_put_it_into_a_header(name: str) -> None:
    message = enveloped("tools/call", name=name)
    routing = Routing([ENVELOPED], ["tools/call"], [encode_header_value(name)])
    assert revision_of(message, routing) == ENVELOPED


@pytest.mark.parametrize(
    "value", ["=?base64?YR==?=", "=?base64?YQ?=", "=?base64?Y Q==?=", "=?base64?/w==?="]
)
def test_a_wrapping_in_another_form_than_its_own_equals_nothing(value: str) -> None:
    routing = Routing([ENVELOPED], ["tools/call"], [value])
    for name in ("a", value):
        with pytest.raises(RpcError) as caught:
            revision_of(enveloped("tools/call", name=name), routing)
        assert caught.value.code is Code.HEADER_MISMATCH

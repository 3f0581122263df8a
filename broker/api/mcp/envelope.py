"""Messages: read strictly, and let through only where body and headers agree.

Intermediaries route by the headers, so a message that says one thing there and another
in its body is refused.

Source: JSON-RPC 2.0; MCP 2026-07-28 and 2025-11-25, transports.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.api.mcp.words import (
    ENVELOPED,
    HANDSHAKE,
    MESSAGE_BYTES_MAX,
    MESSAGE_DEPTH_MAX,
    MESSAGE_ID_CHARS_MAX,
    META_CAPABILITIES,
    META_REVISION,
    METHOD_CHARS_MAX,
    REVISIONS,
    Code,
    RpcError,
    unsupported,
)
from broker.core.canonical import CanonicalError, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ASSUMED: Final = "2025-03-26"
_NAMES: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_WRAPPED = re.compile(r"=\?base64\?(.*)\?=")
_TOO_LARGE = frozenset({"too_large", "too_deep"})


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification if ``message_id`` is None."""

    message_id: int | str | None
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def meta(self) -> Mapping[str, Any]:
        """Return ``_meta``, empty if there is none or it is no object."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


@dataclass(frozen=True, slots=True)
class Routing:
    """The headers that repeat what the body says, each as often as it was sent."""

    revision: Sequence[str] = ()
    method: Sequence[str] = ()
    name: Sequence[str] = ()


def read_message(data: bytes) -> Message:
    """Read one request or notification.

    Raises:
        RpcError: no strict JSON, over a limit, or something else: a batch, a response
            (we ask clients nothing), an id that is neither text nor integer.
    """
    try:
        document = parse_json(
            data, bytes_max=MESSAGE_BYTES_MAX, depth_max=MESSAGE_DEPTH_MAX, floats=True
        )
    except CanonicalError as error:
        if error.problem in _TOO_LARGE:
            raise too_large(str(error)) from error
        raise RpcError(Code.PARSE_ERROR, str(error)) from error
    if not isinstance(document, dict):
        msg = "the body must be one JSON-RPC request or notification"
        raise RpcError(Code.INVALID_REQUEST, msg)
    method, params = document.get("method"), document.get("params")
    if document.get("jsonrpc") != "2.0" or not isinstance(method, str):
        msg = 'the message needs "jsonrpc": "2.0" and a method'
        raise RpcError(Code.INVALID_REQUEST, msg)
    if len(method) > METHOD_CHARS_MAX:
        raise RpcError(Code.INVALID_REQUEST, "the method is too long")
    if params is not None and not isinstance(params, dict):
        raise RpcError(Code.INVALID_REQUEST, "params must be an object")
    message_id = _message_id(document) if "id" in document else None
    return Message(message_id, method, params or {})


def too_large(detail: str) -> RpcError:
    """Return the error for a message beyond a limit of size or depth."""
    return RpcError(Code.INVALID_REQUEST, detail, status=413)


def revision_of(message: Message, routing: Routing) -> str:
    """Return the revision that a message is in.

    Raises:
        RpcError: it is none of ours, or headers and body do not agree.
    """
    if not routing.revision:
        return _unnamed(message)
    fault = _twice(routing)
    revision = routing.revision[0]
    if not fault and revision not in REVISIONS:
        raise unsupported(revision)
    if not fault and revision == ENVELOPED and message.message_id is not None:
        _check_envelope(message)
        fault = _disagreement(message, routing)
    if fault:
        raise RpcError(Code.HEADER_MISMATCH, fault)
    return revision


def _unnamed(message: Message) -> str:
    """Return the revision of a message without a version header: the handshake's.

    Any other is of 2025-03-26 by the specification, which we do not speak.
    """
    if message.method == "initialize":
        return HANDSHAKE
    msg = "the header MCP-Protocol-Version is missing"
    if META_REVISION in message.meta:
        raise RpcError(Code.HEADER_MISMATCH, msg)
    raise unsupported(_ASSUMED, msg)


def _check_envelope(message: Message) -> None:
    meta = message.meta
    for key, kind in ((META_REVISION, str), (META_CAPABILITIES, dict)):
        if not isinstance(meta.get(key), kind):
            msg = f"params._meta needs {key}"
            raise RpcError(Code.INVALID_PARAMS, msg)


def _twice(routing: Routing) -> str:
    """Return which header was sent more than once: readers might take either."""
    sent = {
        "MCP-Protocol-Version": routing.revision,
        "Mcp-Method": routing.method,
        "Mcp-Name": routing.name,
    }
    repeated = [name for name, values in sent.items() if len(values) > 1]
    return f"the header {repeated[0]} stands there twice" if repeated else ""


def _disagreement(message: Message, routing: Routing) -> str:
    """Return what a header says that the body does not."""
    if message.meta[META_REVISION] != routing.revision[0]:
        return "MCP-Protocol-Version is not the envelope's version"
    if [*routing.method] != [message.method]:
        return "Mcp-Method is not the body's method"
    key = _NAMES.get(message.method, "")
    name = message.params.get(key) if key else None
    if name is not None and [_unwrapped(one) for one in routing.name] != [name]:
        return f"Mcp-Name is not the body's {key}"
    return ""


def _unwrapped(value: str) -> str | None:
    """Return a header's value; what headers cannot carry is wrapped in base64.

    A wrapping that is not in its one canonical form is None, and equals nothing.
    """
    match = _WRAPPED.fullmatch(value)
    if match is None:
        return value
    try:
        data = b64decode(match[1], validate=True)
        text = data.decode()
    except (binascii.Error, ValueError):
        return None
    return text if b64encode(data).decode() == match[1] else None


def _message_id(document: Mapping[str, Any]) -> int | str:
    value = document["id"]
    if type(value) is int or (
        isinstance(value, str) and len(value) <= MESSAGE_ID_CHARS_MAX
    ):
        return value
    msg = f"the id must be an integer or a text of {MESSAGE_ID_CHARS_MAX} characters"
    raise RpcError(Code.INVALID_REQUEST, msg)

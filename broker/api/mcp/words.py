"""The words of MCP that we use: revisions, error codes, names in ``_meta``, limits."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from broker.api.bodies import BODY_BYTES_MAX, BODY_DEPTH_MAX
from broker.core.words.errors import (
    ForbiddenError,
    RateLimitedError,
    RequestError,
    UnavailableError,
)

if TYPE_CHECKING:
    from broker.core.words.errors import BrokerError

ENVELOPED: Final = "2026-07-28"
"""The revision in which every request carries its own envelope."""

HANDSHAKE: Final = "2025-11-25"
"""The revision before: ``initialize`` first, then the version in a header."""

REVISIONS: Final = (HANDSHAKE, ENVELOPED)

META_REVISION: Final = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"

OURS: Final = "io.counterfoil/"
"""Prefix of our names in ``_meta``: ``interaction``, ``idempotency-key``, ``reason``
and ``citations`` in a call; ``tool``, ``effect`` and ``tier`` in a listing."""

MESSAGE_BYTES_MAX: Final = BODY_BYTES_MAX
MESSAGE_DEPTH_MAX: Final = BODY_DEPTH_MAX + 1
"""One deeper than over REST, because arguments stand inside ``params``."""

MESSAGE_ID_CHARS_MAX: Final = 256
METHOD_CHARS_MAX: Final = 128
TOOL_NAME_CHARS_MAX: Final = 64

HOLD_S_MAX: Final = 3.5
"""Longest wait of a call for its end; clients give up from 5 s on."""

POLL_S_MAX: Final = 3
"""Longest ``wait_s`` of ``get_action``."""

LISTED_MAX: Final = 20
LISTING_TTL_MS: Final = 30_000
"""How long a client may keep a list of tools; a call is checked anew in any case."""

DISCOVERY_TTL_MS: Final = 300_000


class Code(IntEnum):
    """Codes of JSON-RPC errors.

    The first five are JSON-RPC's own, the next two the revision 2026-07-28's, and the
    last two ours, in the range that it leaves to implementations.
    """

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    HEADER_MISMATCH = -32020
    UNSUPPORTED_REVISION = -32022
    RATE_LIMITED = -32010
    UNAVAILABLE = -32011


STATUS: Final = {
    Code.PARSE_ERROR: 400,
    Code.INVALID_REQUEST: 400,
    Code.METHOD_NOT_FOUND: 404,
    Code.INVALID_PARAMS: 400,
    Code.HEADER_MISMATCH: 400,
    Code.UNSUPPORTED_REVISION: 400,
}
"""The HTTP status of an error in revision 2026-07-28; 200 for any other."""


class RpcError(Exception):
    """A message that gets a JSON-RPC error; a denial is not one, but a result."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        data: dict[str, Any] | None = None,
        status: int | None = None,
    ) -> None:
        """Keep what the client is told.

        Args:
            code: What kind of error.
            message: One sentence, without secrets or personal data.
            data: More for programs: our own code, a pointer, what to do next.
            status: HTTP status where the code alone does not give it.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.status = status

    def body(self, message_id: int | str | None) -> dict[str, Any]:
        """Return the response; the id is null if the message had none to read."""
        error: dict[str, Any] = {"code": int(self.code), "message": self.message}
        if self.data:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": message_id, "error": error}


def unsupported(requested: str, message: str = "unsupported revision") -> RpcError:
    """Return the error that lists what we speak."""
    data = {"supported": [*REVISIONS], "requested": requested}
    return RpcError(Code.UNSUPPORTED_REVISION, message, data=data, status=400)


def rpc_error(error: BrokerError) -> RpcError:
    """Turn a question that could not be answered into the error for it.

    Models are often shown the message alone, so it says what to do next as well.
    """
    code = Code.INTERNAL_ERROR
    match error:
        case RequestError() | ForbiddenError():
            code = Code.INVALID_PARAMS
        case RateLimitedError():
            code = Code.RATE_LIMITED
        case UnavailableError():
            code = Code.UNAVAILABLE
        case _:
            pass
    data: dict[str, Any] = {"code": error.code}
    if error.pointer:
        data["pointer"] = error.pointer
    wait_s = error.retry_after_s
    if code in {Code.RATE_LIMITED, Code.UNAVAILABLE}:
        wait_s = max(wait_s or 0, 1)
    if wait_s is not None:
        data["retry_after_s"] = wait_s
    data["hint"] = hint = _hint(error, wait_s)
    return RpcError(
        code, f"{error.detail}; {hint}" if hint else error.detail, data=data
    )


def _hint(error: BrokerError, wait_s: int | None) -> str:
    """Say what to do next in words of MCP; those for REST name other calls."""
    match error:
        case ForbiddenError():
            return "tools/list shows what is available to you"
        case _ if error.pointer.startswith("/arguments"):
            return "tools/list has the schema of every tool"
        case _ if wait_s is not None:
            return f"send the same call again after {wait_s} s"
        case _:
            return error.hint

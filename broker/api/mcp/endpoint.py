"""The endpoint: one POST per message; the order of its checks is the order below.

Origin → token → media types → size → JSON-RPC → revision and headers → method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from broker.api.bodies import read_bytes
from broker.api.mcp import words
from broker.api.mcp.calls import Context, Reply, call_tool, list_tools
from broker.api.mcp.envelope import (
    Message,
    Routing,
    read_message,
    revision_of,
    too_large,
)
from broker.api.mcp.words import (
    DISCOVERY_TTL_MS,
    ENVELOPED,
    HANDSHAKE,
    LISTING_TTL_MS,
    MESSAGE_BYTES_MAX,
    META_SERVER,
    REVISIONS,
    STATUS,
    Code,
    RpcError,
    rpc_error,
)
from broker.api.security import agent
from broker.core.authenticate import origin_of
from broker.core.words.errors import BrokerError, ForbiddenError, TooLargeError

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(tags=["mcp"])

INTERACTION_HEADER: Final = "counterfoil-interaction"
SERVER: Final = {"name": "counterfoil", "title": "Counterfoil", "version": "1"}
CAPABILITIES: Final[dict[str, Any]] = {"tools": {}}
INSTRUCTIONS: Final = (
    "Every call is decided by policy. A result with status pending_approval waits for "
    "a person: do not repeat the call, call get_action with its action_id after "
    "retry_after_s seconds. Use only ids that a tool showed you in this interaction."
)
_JSON = "application/json"
_ACCEPTED = frozenset({_JSON, "application/*", "*/*"})
# Results hold a customer's data, and nobody on the way is to keep them.
_NO_STORE: Final = {"Cache-Control": "no-store"}
_DOCUMENTED: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {_JSON: {"schema": {"type": "object"}}},
    }
}
_log = structlog.get_logger("mcp")


@router.post(
    "/mcp", summary="Send one MCP message (JSON-RPC)", openapi_extra=_DOCUMENTED
)
@router.post("/mcp/{interaction}", include_in_schema=False)
async def mcp(request: Request) -> Response:
    """Answer one MCP message of an agent.

    The interaction is the one that the token is bound to. A DPoP token may name it in
    the path, in the header ``Counterfoil-Interaction`` or in the call's ``_meta``, in
    which these names are ours, each of them optional:

    - ``io.counterfoil/interaction``: the interaction to act in;
    - ``io.counterfoil/idempotency-key``: a new key permits an intended second call;
    - ``io.counterfoil/reason`` and ``io.counterfoil/citations``: as over REST.

    A question that could not be answered is a JSON-RPC error: -32602 for what was sent
    (``data.pointer`` names the field), -32010 for too many calls, -32011 if a part is
    down (``data.retry_after_s`` says when to try again). A denial is a result.
    """
    _check_origin(request)
    caller = await agent(request)
    try:
        message = await _message(request)
    except RpcError as error:
        return _refusal(error, None)
    try:
        revision = revision_of(message, _routing(request))
    except RpcError as error:
        return _refusal(error, message.message_id)
    if message.message_id is None:
        # Nothing that a client could notify us of concerns us: there is no session,
        # and a call goes on whatever becomes of the client.
        return Response(status_code=202)
    context = Context(
        ports=request.app.state.ports,
        caller=caller,
        tasks=request.app.state.tasks,
        named=(
            *request.headers.getlist(INTERACTION_HEADER),
            request.path_params.get("interaction", ""),
        ),
    )
    try:
        reply = await _dispatch(context, message, revision)
    except BrokerError as error:
        return _refusal(_translated(error), message.message_id, revision, error.headers)
    except RpcError as error:
        return _refusal(error, message.message_id, revision)
    result = reply.result
    if revision == ENVELOPED:
        result |= {"resultType": "complete", "_meta": {META_SERVER: SERVER}}
    return JSONResponse(
        {"jsonrpc": "2.0", "id": message.message_id, "result": result},
        headers=_NO_STORE | dict(reply.headers),
    )


async def _dispatch(context: Context, message: Message, revision: str) -> Reply:
    match revision, message.method:
        case _, "tools/call":
            return await call_tool(context, message.params)
        case _, "tools/list":
            return await _list(context, message, revision)
        case words.HANDSHAKE, "ping":
            return Reply({})
        case words.HANDSHAKE, "initialize":
            return Reply(_initialized(message))
        case words.ENVELOPED, "server/discover":
            return Reply(_discovered())
        case _:
            msg = "there is no such method here"
            raise RpcError(Code.METHOD_NOT_FOUND, msg)


async def _list(context: Context, message: Message, revision: str) -> Reply:
    if message.params.get("cursor") is not None:
        # One page holds all: no cursor was ever given out.
        raise RpcError(Code.INVALID_PARAMS, "the cursor is not one of ours")
    result: dict[str, Any] = {"tools": await list_tools(context)}
    if revision == ENVELOPED:
        result |= {"ttlMs": LISTING_TTL_MS, "cacheScope": "private"}
    return Reply(result)


def _initialized(message: Message) -> dict[str, Any]:
    """Answer the handshake with the one revision that has it."""
    params = message.params
    if not isinstance(params.get("protocolVersion"), str) or not all(
        isinstance(params.get(name), dict) for name in ("capabilities", "clientInfo")
    ):
        msg = "initialize needs protocolVersion, capabilities and clientInfo"
        raise RpcError(Code.INVALID_PARAMS, msg)
    return {
        "protocolVersion": HANDSHAKE,
        "capabilities": CAPABILITIES,
        "serverInfo": SERVER,
        "instructions": INSTRUCTIONS,
    }


def _discovered() -> dict[str, Any]:
    return {
        "supportedVersions": [*REVISIONS],
        "capabilities": CAPABILITIES,
        "instructions": INSTRUCTIONS,
        "ttlMs": DISCOVERY_TTL_MS,
        "cacheScope": "private",
    }


def _check_origin(request: Request) -> None:
    """Refuse pages of other origins, which a browser may have been led to us by.

    Raises:
        ForbiddenError: there is an Origin header that is not one of ours.

    Source: MCP 2025-11-25 and 2026-07-28, transports (DNS rebinding).
    """
    desk: Desk = request.app.state.desk
    for origin in request.headers.getlist("origin"):
        try:
            ours = origin_of(origin) in desk.origins
        except ValueError:
            ours = False
        if not ours:
            msg = "this origin may not call"
            raise ForbiddenError(msg, hint="call from a program, not from a page")


async def _message(request: Request) -> Message:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        msg = "the body must be application/json"
        raise RpcError(Code.INVALID_REQUEST, msg, status=415)
    accept = ",".join(request.headers.getlist("accept"))
    ranges = {one.partition(";")[0].strip().lower() for one in accept.split(",")}
    if accept and not ranges & _ACCEPTED:
        msg = "the answer is application/json, which Accept leaves out"
        raise RpcError(Code.INVALID_REQUEST, msg, status=406)
    try:
        data = await read_bytes(request, bytes_max=MESSAGE_BYTES_MAX)
    except TooLargeError as error:
        raise too_large(error.detail) from error
    return read_message(data)


def _routing(request: Request) -> Routing:
    headers = request.headers
    return Routing(
        revision=headers.getlist("mcp-protocol-version"),
        method=headers.getlist("mcp-method"),
        name=headers.getlist("mcp-name"),
    )


def _translated(error: BrokerError) -> RpcError:
    translated = rpc_error(error)
    if translated.code in {Code.UNAVAILABLE, Code.INTERNAL_ERROR}:
        _log.warning("not_answered", path="/mcp", code=error.code)
    return translated


def _refusal(
    error: RpcError,
    message_id: int | str | None,
    revision: str = ENVELOPED,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return an error; in 2025-11-25 the answer to a readable request is a 200.

    Clients of that revision take any other status for the end of the connection.
    """
    status = STATUS.get(error.code, 200) if revision == ENVELOPED else 200
    return JSONResponse(
        error.body(message_id),
        status_code=error.status or status,
        headers=_NO_STORE | dict(headers or {}),
    )

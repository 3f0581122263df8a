"""The relay as an application on the loopback address.

A page that a browser was led to is refused by its Host and its Origin; another program
of this machine, by the secret.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from broker.client.answers import RefusedError, UnreachableError
from broker.client.relay import NotRelayedError, returned

if TYPE_CHECKING:
    from starlette.requests import Request

    from broker.client.relay import Relay

HOSTS: Final = ("127.0.0.1", "localhost")
BODY_BYTES_MAX: Final = 65_536
"""As long as the broker takes."""

RETRY_AFTER_S: Final = 2
_UNAVAILABLE: Final = 503


def relay_app(relay: Relay, *, secret: str) -> Starlette:
    """Return the application that programs of this machine call."""

    async def relayed(request: Request) -> Response:
        refused = _refused(request, secret)
        if refused is not None:
            return refused
        return await _forwarded(request, relay)

    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[*HOSTS])
    routes = [Route("/{path:path}", relayed, methods=["GET", "POST", "DELETE"])]
    return Starlette(routes=routes, middleware=[hosts])


def _refused(request: Request, secret: str) -> Response | None:
    if request.headers.getlist("origin"):
        return _problem(403, "forbidden", "pages may not call", "call from a program")
    shown = request.headers.getlist("authorization")
    wanted = f"Bearer {secret}".encode()
    if len(shown) != 1 or not compare_digest(shown[0].encode(), wanted):
        hint = "send the Authorization header that `counterfoil connect` shows"
        return _problem(401, "unauthenticated", "this relay asks for a secret", hint)
    return None


async def _forwarded(request: Request, relay: Relay) -> Response:
    body = await _body(request)
    if body is None:
        msg = f"the body is longer than {BODY_BYTES_MAX} bytes"
        return _problem(413, "too-large", msg, "send less")
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    try:
        answer = await relay.forward(
            request.method,
            raw.partition(b"?")[0].decode("ascii", errors="replace"),
            query=request.scope["query_string"].decode("ascii", errors="replace"),
            headers=request.headers.items(),
            body=body,
        )
    except NotRelayedError as error:
        return _problem(404, "not-found", str(error), "see GET /v1/tools")
    except RefusedError as error:
        hint = "the agent may have been suspended or revoked"
        return _problem(401, "unauthenticated", str(error), hint)
    except UnreachableError:
        msg = "the broker does not answer"
        return _problem(_UNAVAILABLE, "unavailable", msg, "send the same request again")
    response = Response(answer.content, status_code=answer.status_code)
    for name, value in returned(answer):
        response.headers[name] = value
    return response


async def _body(request: Request) -> bytes | None:
    """Return the body, or None once it is longer than it may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _problem(status: int, code: str, detail: str, hint: str) -> Response:
    body: dict[str, Any] = {
        "type": f"/errors/{code}",
        "title": "Not relayed",
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
    }
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == _UNAVAILABLE else None
    return JSONResponse(
        body, status, headers=headers, media_type="application/problem+json"
    )

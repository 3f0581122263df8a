"""Speak HTTP: who is calling, what they want, and what goes wrong on the way."""

import asyncio
import hmac
import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.democrm import customer_handlers, handlers, order_handlers
from infra.democrm.faults import Fault, FaultKind, When
from infra.democrm.handlers import Call, Desk
from infra.democrm.limits import (
    BODY_BYTES_MAX,
    BODY_DISCARDED_BYTES_MAX,
    BODY_WAIT_S_MAX,
    HEADER_BYTES_MAX,
    ID_CHARS_MAX,
)
from infra.democrm.responses import (
    Dropped,
    echoed,
    huge,
    overreported,
    plain,
    slow,
)
from infra.democrm.settings import Credentials
from infra.democrm.wire import RequestError, idempotency_key
from infra.democrm.words import Answer, refusal

Handler = Callable[[Desk, Call], Answer]
Endpoint = Callable[[Request], Awaitable[Response]]

_log: Final = logging.getLogger("democrm")
_ID: Final = re.compile(rf"[A-Za-z0-9_]{{1,{ID_CHARS_MAX}}}")
_JSON: Final = re.compile(r'application/json(\s*;\s*charset="?utf-8"?)?', re.IGNORECASE)
_OPEN_PATH: Final = "/healthz"
_CONTROL_PREFIX: Final = "/__"

_API: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/customers/find", handlers.find_customer),
    ("GET", "/customers/{object_id}", handlers.get_customer),
    ("GET", "/customers/{object_id}/replies", handlers.get_replies),
    ("POST", "/customers/{object_id}/replies", handlers.reply_customer),
    ("GET", "/orders/{object_id}", handlers.get_order),
    ("POST", "/orders/{object_id}/cancel", handlers.cancel_order),
    ("GET", "/orders/{object_id}/refunds", handlers.get_refunds),
    ("POST", "/orders/{object_id}/refunds", handlers.refund_order),
    ("POST", "/orders/{object_id}/reversals", order_handlers.reverse),
    ("POST", "/orders/{object_id}/notes", handlers.note_order),
    ("GET", "/products/{object_id}", handlers.get_product),
    ("GET", "/products", handlers.get_products),
    ("GET", "/items/{object_id}", handlers.get_item),
    ("POST", "/calculate", handlers.calculate),
    ("POST", "/orders/{object_id}/address", order_handlers.modify_address),
    ("POST", "/orders/{object_id}/payment", order_handlers.modify_payment),
    ("POST", "/orders/{object_id}/items", order_handlers.modify_items),
    ("POST", "/orders/{object_id}/exchange", order_handlers.exchange),
    ("POST", "/orders/{object_id}/return", order_handlers.take_back),
    ("POST", "/customers/{object_id}/address", customer_handlers.modify_address),
    ("GET", "/customers/{object_id}/balances", customer_handlers.get_balances),
    ("GET", "/customers/{object_id}/requests", customer_handlers.get_requests),
    ("POST", "/customers/{object_id}/access-resets", customer_handlers.reset_access),
    ("POST", "/customers/{object_id}/offers", customer_handlers.grant_offer),
    ("POST", "/customers/{object_id}/handovers", customer_handlers.hand_over),
)
_CONTROL: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/__state", handlers.get_state),
    ("GET", "/__journal", handlers.get_journal),
    ("POST", "/__reset", handlers.reset),
    ("GET", "/__faults", handlers.get_faults),
    ("PUT", "/__faults", handlers.put_faults),
)


def build(desk: Desk, credentials: Credentials) -> ASGIApp:
    """Return the ASGI application.

    Args:
        desk: Store, faults and clock.
        credentials: What callers must show; without a control credential the control
            endpoints do not exist.
    """
    routes = [("GET", _OPEN_PATH, _quiet(desk, handlers.get_health))]
    routes += [(verb, path, _faulty(desk, run)) for verb, path, run in _API]
    if credentials.control is not None:
        routes += [(verb, path, _quiet(desk, run)) for verb, path, run in _CONTROL]
    app = Starlette(
        routes=[Route(path, end, methods=[verb]) for verb, path, end in routes],
        exception_handlers={HTTPException: _http_error, RequestError: _request_error},
    )
    # A slash more is another path: a redirect would be mistaken for the fault.
    app.router.redirect_slashes = False
    return Door(app, credentials)


class Door:
    """Let in only who shows the credential for this part of the house."""

    def __init__(self, app: ASGIApp, credentials: Credentials) -> None:
        """Stand before ``app``."""
        self._app = app
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401, or 431 for headers without end."""
        if _header_bytes(scope) > HEADER_BYTES_MAX:
            answer = refusal(431, "headers_too_large")
            await plain(answer)(scope, receive, send)
            return
        if scope["path"] != _OPEN_PATH and not self._admits(scope):
            # The connection stays: the server throws away what still comes.
            headers = {"WWW-Authenticate": "Bearer"}
            answer = Answer(401, {"error": "unauthorized"}, headers)
            await plain(answer)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        control = scope["path"].startswith(_CONTROL_PREFIX)
        expected = self._credentials.control if control else self._credentials.api
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if expected is None or len(shown) != 1:
            return False
        scheme, _, credential = shown[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(
            credential, expected.encode()
        )


def _header_bytes(scope: Scope) -> int:
    line = len(scope["raw_path"]) + len(scope["query_string"])
    return line + sum(len(name) + len(value) for name, value in scope["headers"])


def _quiet(desk: Desk, handler: Handler) -> Endpoint:
    """Serve without faults: health and control must work while all else does not."""

    async def endpoint(request: Request) -> Response:
        return plain(_run(desk, handler, await _call(request)))

    return endpoint


def _faulty(desk: Desk, handler: Handler) -> Endpoint:
    """Serve with the fault that meets this call, if there is one."""

    async def endpoint(request: Request) -> Response:
        call = await _call(request)
        fault = desk.mischief.take(method=call.method, path=call.path)
        if fault is None:
            return plain(_run(desk, handler, call))
        early = await _before_commit(fault)
        if early is not None:
            return early
        answer = _run(desk, handler, call)
        # The change is on disk from here on, whatever the caller hears of it.
        return await _after_commit(fault, answer, request)

    return endpoint


async def _before_commit(fault: Fault) -> Response | None:
    match fault.kind:
        case FaultKind.DROP_BEFORE_COMMIT:
            return Dropped()
        case FaultKind.REDIRECT:
            headers = {"Location": fault.location}
            return plain(Answer(307, {"error": "moved"}, headers))
        case FaultKind.DELAY if fault.when is When.BEFORE_COMMIT:
            await asyncio.sleep(fault.delay_s)
        case FaultKind.ERROR_500 if fault.when is When.BEFORE_COMMIT:
            return plain(refusal(500, "internal"))
        case _:
            pass
    return None


async def _after_commit(fault: Fault, answer: Answer, request: Request) -> Response:
    match fault.kind:
        case FaultKind.DROP_AFTER_COMMIT:
            return Dropped()
        case FaultKind.ERROR_500:
            return plain(refusal(500, "internal"))
        case FaultKind.DELAY if fault.when is When.AFTER_COMMIT:
            await asyncio.sleep(fault.delay_s)
        case _:
            pass
    return _bent(fault, answer, request)


def _bent(fault: Fault, answer: Answer, request: Request) -> Response:
    match fault.kind:
        case FaultKind.HUGE_BODY:
            return huge(answer, size_bytes=fault.size_bytes)
        case FaultKind.SLOW_BODY:
            return slow(answer, pause_s=fault.delay_s)
        case FaultKind.ECHO_CREDENTIAL:
            return plain(echoed(answer, request.headers["authorization"]))
        case FaultKind.OVERREPORT:
            return plain(overreported(answer, extra=fault.extra_minor_units))
        case _:
            return plain(answer)


def _run(desk: Desk, handler: Handler, call: Call) -> Answer:
    try:
        return handler(desk, call)
    except sqlite3.Error as error:
        # Disk full or failing: the transaction was rolled back, nothing was done.
        # The trace is left out: it would show what the request carried.
        _log.error("state: %s", error)
        return refusal(503, "unavailable")


async def _call(request: Request) -> Call:
    object_id = request.path_params.get("object_id", "")
    if "object_id" in request.path_params and not _ID.fullmatch(object_id):
        raise RequestError(refusal(404, "no_such_path"))
    body = await _body(request)
    if body and not _JSON.fullmatch(request.headers.get("content-type", "")):
        raise RequestError(refusal(415, "not_json"))
    return Call(
        method=request.method,
        path=request.scope["path"],
        object_id=object_id,
        query=tuple(request.query_params.multi_items()),
        body=body,
        idempotency_key=idempotency_key(request.headers.getlist("idempotency-key")),
    )


async def _body(request: Request) -> bytes:
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_WAIT_S_MAX):
            async for part in request.stream():
                size += len(part)
                # Closing while the sender still sends would reset the connection, and
                # our answer with it: a little more is read and thrown away.
                if size > BODY_DISCARDED_BYTES_MAX:
                    raise RequestError(_closing(413, "too_large"))
                if size <= BODY_BYTES_MAX:
                    body += part
    except TimeoutError:
        raise RequestError(_closing(408, "too_slow")) from None
    except ClientDisconnect:
        # Nobody is left to hear this; it ends the request before anything is done.
        raise RequestError(_closing(400, "incomplete")) from None
    if size > BODY_BYTES_MAX:
        raise RequestError(refusal(413, "too_large"))
    return bytes(body)


def _closing(status: int, error: str) -> Answer:
    # What was not read of the body must not be taken for the next request.
    return Answer(status, {"error": error}, {"Connection": "close"})


async def _request_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestError):
        raise error
    return plain(error.answer)


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    name = "no_such_method" if error.status_code == 405 else "no_such_path"  # noqa: PLR2004
    headers = dict(error.headers or {})
    return plain(Answer(error.status_code, {"error": name}, headers))

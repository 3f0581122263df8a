"""Errors on the wire: RFC 9457 problems with a stable code and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from broker.core.canonical import CanonicalError
from broker.core.words.errors import (
    BrokerError,
    InvalidError,
    MalformedError,
    RateLimitedError,
    TooLargeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request, Response

    from broker.core.words.decision import Deny

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger("api")
_TOO_LARGE = frozenset({"too_large", "too_deep"})
_HTTP = {
    404: ("not-found", "Not found", "There is nothing at this path.", "See GET /docs."),
    405: (
        "malformed",
        "Method not allowed",
        "This path does not take this method.",
        "See GET /docs.",
    ),
}


def install(app: FastAPI) -> None:
    """Answer every exception with a problem; nothing else leaves as an error."""
    app.add_exception_handler(BrokerError, _broker_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def problem(error: BrokerError, *, more: Mapping[str, Any] | None = None) -> Response:
    """Return an error as a problem document."""
    body: dict[str, Any] = {
        "type": f"/errors/{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
    }
    if error.hint:
        body["hint"] = error.hint
    if error.pointer:
        body["pointer"] = error.pointer
    headers = dict(error.headers)
    retry_after_s = error.retry_after_s
    if retry_after_s is None and isinstance(error, UnavailableError | RateLimitedError):
        retry_after_s = 1
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return JSONResponse(
        body | dict(more or {}),
        status_code=error.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def denied(decision: Deny, *, action_id: str | None, findings: list[Any]) -> Response:
    """Return a Deny: an answer, not an error, with codes only.

    Texts and numbers are for people: an agent that can probe thresholds will.
    """
    body = {
        "type": "/errors/denied",
        "title": "Denied",
        "status": 403,
        "code": "denied",
        "detail": "The request was understood, and the answer is no.",
        "hint": hint_for(decision.reasons[0].code),
        "reasons": [{"code": reason.code} for reason in decision.reasons],
        "findings": findings,
        "action_id": action_id,
    }
    return JSONResponse(body, status_code=403, media_type=MEDIA_TYPE)


def malformed(error: CanonicalError) -> BrokerError:
    """Turn a strict parser's refusal into the error for it."""
    if error.problem == "number_out_of_range":
        # It is one JSON object, and says something that nobody could count exactly.
        hint = "send whole numbers below 2^53"
        return InvalidError(str(error), hint=hint, pointer=error.pointer or "")
    kind = TooLargeError if error.problem in _TOO_LARGE else MalformedError
    return kind(str(error), hint="Send one JSON object within the stated limits.")


def hint_for(code: str) -> str:
    """Return what an agent should do next after a denial for this reason."""
    return {
        "object_not_shown": "Use only ids that a tool showed you in this interaction.",
        "customer_not_bound": "Verify the customer first, with customers.verify.",
        "over_budget": "Ask a person; the same call will not pass today.",
        "stopped": "Everything is stopped by people; wait until they let it go on.",
        "revoked": "This identity was revoked; ask whoever runs it.",
        "interaction_closed": "It is over; act in one that your channel opens anew.",
        "interaction_expired": "It is over; act in one that your channel opens anew.",
        "no_such_interaction": "Use the interaction that your channel opened for you.",
    }.get(code, "Do not repeat the call unchanged; ask a person if it matters.")


async def _broker_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BrokerError)  # noqa: S101  (registered for it)
    if error.status >= 500:  # noqa: PLR2004
        _log.warning("not_answered", path=request.url.path, code=error.code)
    if error.status == 401:  # noqa: PLR2004
        error.headers.setdefault("WWW-Authenticate", _challenge(request))
    return problem(error)


async def _http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for it)
    code, title, detail, hint = _HTTP.get(
        error.status_code,
        ("malformed", "Bad request", "The request is not HTTP as we speak it.", ""),
    )
    body = {
        "type": f"/errors/{code}",
        "title": title,
        "status": error.status_code,
        "code": code,
        "detail": detail,
        "hint": hint,
    }
    return JSONResponse(
        body,
        status_code=error.status_code,
        media_type=MEDIA_TYPE,
        headers=dict(error.headers or {}),
    )


async def _invalid(_request: Request, error: Exception) -> Response:
    """Name the parameter at fault; FastAPI's own answer would repeat its value."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  (registered for it)
    first = error.errors()[0]
    pointer = "".join(f"/{part}" for part in first["loc"])
    return problem(InvalidError(f"{pointer}: {first['msg']}", pointer=pointer))


async def _unexpected(request: Request, error: Exception) -> Response:
    """Hide our own mistakes from callers, and none of them from the log."""
    _log.error("our_mistake", path=request.url.path, exc_info=error)
    msg = "something went wrong on our side"
    return problem(BrokerError(msg, hint="Ask for the action's state by its id."))


def _challenge(request: Request) -> str:
    base = str(request.app.state.issuer)
    metadata = f"{base}/.well-known/oauth-protected-resource"
    return f'DPoP resource_metadata="{metadata}", Bearer resource_metadata="{metadata}"'

"""Serve one call: a child's requests under one spent warrant, until it ends.

Every request passes the same steps, in this order: rules and budget, the warrant's
expiry, epochs, the credential, the journal (if effectful), the dial; epochs (if they
have aged) and expiry again at the first byte; the answer, its scan, receipt values.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.canonical import canonical
from broker.core.warrants.template import Filling
from broker.core.words.warrant import RULE_VIOLATION
from broker.edge.call import (
    CREDENTIAL_ECHO,
    Call,
    journal_sent,
    journal_void,
    note_answer,
    note_failure,
)
from broker.edge.egress.rules import Allowed, Refusal, decide
from broker.edge.egress.upstream import Answer, Outgoing, UpstreamError
from broker.edge.egress.wire import WireError
from broker.edge.journal import JournalError
from broker.edge.store import StoreError
from broker.edge.vault.kinds import VaultError
from broker.edge.warrants import EXPIRED, NO_CREDENTIAL, NO_EPOCHS, REVOKED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.words.tool import EgressRequest
    from broker.edge.egress.route import Route
    from broker.edge.egress.wire import Child
    from broker.edge.journal import Journal
    from broker.edge.store import Epochs
    from broker.edge.vault.access import Access
    from broker.edge.warrants import Order

EPOCHS_AGE_S_MAX: Final = 1.0
"""Older epochs are not believed when the first byte is written."""

EPOCHS_FRESH_S: Final = 0.5
"""Older ones are read again before the journal, so that the dial rarely waits."""

ANSWER_BEFORE_S: Final = 0.25
"""An upstream has until this long before the call's end, so that it is noted."""

NO_JOURNAL: Final = "journal_unavailable"
_PROBLEM_TYPE = "application/problem+json"
_STATUS = {
    "malformed": 400,
    "too_large": 413,
    NO_EPOCHS: 503,
    NO_CREDENTIAL: 503,
    NO_JOURNAL: 503,
}
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_BAD_GATEWAY = 502

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What calls work with; everything that can fail stands behind one of these."""

    journal: Journal
    epochs: Callable[[list[str]], Awaitable[Epochs]]
    access: Callable[[str], Awaitable[Access | None]]
    send: Callable[[Route, Outgoing, Callable[[], Awaitable[None]]], Awaitable[Answer]]
    stale: Callable[[Access], None] = field(default=lambda _: None)
    expired: Callable[[Order], bool]


class _RefusedError(Exception):
    """A request that is not sent, and what the child is told."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail


async def serve(call: Call, child: Child, means: Means, *, deadline: float) -> None:
    """Answer the child's requests until it ends, breaks a rule, or time is up.

    Args:
        call: The accepted call.
        child: Its connection.
        means: What to work with.
        deadline: Event loop time at which the connection ends, whatever happens.
    """
    try:
        async with asyncio.timeout_at(deadline):
            while not call.closed and await _next(call, child, means, deadline):
                pass
    except TimeoutError:
        _log.info("deadline", **call.names)
    except OSError:
        # The child is gone; what was sent is in the journal and will be asked for.
        _log.info("hung_up", **call.names)
    finally:
        call.closed = call.ended = True
        call.idle.set()


async def _next(call: Call, child: Child, means: Means, deadline: float) -> bool:
    """Answer one request; return whether another one may follow."""
    try:
        allowed = await _ask(call, child)
    except WireError as error:
        # A connector that follows its manifest never comes here.
        call.closed = True
        call.alarms[RULE_VIOLATION] = None
        _log.warning("rule_violation", code=error.code, **call.names)
        await _refuse(child, error.status, error.code, error.detail)
        return False
    if allowed is None:
        return False
    call.idle.clear()
    try:
        answer = await _forward(call, allowed, means, deadline)
    except _RefusedError as error:
        call.closed = True
        # Nothing went out, so no receipt says why: this line is where people find it.
        _log.warning("refused", code=error.code, detail=error.detail, **call.names)
        status = _STATUS.get(error.code, _FORBIDDEN)
        await _refuse(child, status, error.code, error.detail)
        return False
    except UpstreamError as error:
        last = call.closed
        await _refuse(child, _BAD_GATEWAY, error.code, error.detail, last=last)
        return not last
    finally:
        call.idle.set()
    said = answer.content_type
    await child.answer(answer.status, content_type=said, body=answer.body)
    return True


async def _ask(call: Call, child: Child) -> Allowed | None:
    """Return the child's next request as it may be sent, or None at its end.

    Raises:
        WireError: It is malformed, or not allowed.
    """
    asked = await child.next()
    if asked is None:
        return None
    warrant = call.order.warrant
    filling = Filling(
        warrant.arguments, customer=warrant.customer_id, action=warrant.action_id
    )
    decided = decide(asked, tool=call.order.tool, filling=filling, used=call.used)
    if isinstance(decided, Refusal):
        raise WireError(_FORBIDDEN, decided.code, decided.detail)
    return decided


async def _forward(
    call: Call, allowed: Allowed, means: Means, deadline: float
) -> Answer:
    """Send one allowed request and take note of its answer."""
    request = allowed.request
    if means.expired(call.order):
        raise _RefusedError(EXPIRED, "the warrant has expired")
    await _check_epochs(call, means, age_s_max=EPOCHS_FRESH_S)
    access = await _access(call, means)
    # Nothing else runs from here to the journal: whoever closed the call was seen.
    if call.closed:
        raise _RefusedError(EXPIRED, "the call was ended")
    call.used[request.request_id] = call.used.get(request.request_id, 0) + 1
    if request.effectful:
        try:
            await journal_sent(call, request, means.journal)
        except JournalError as error:
            raise _RefusedError(NO_JOURNAL, str(error)) from None

    async def guard() -> None:
        await _check_epochs(call, means, age_s_max=EPOCHS_AGE_S_MAX)
        # Credential, journal, name and connection may each have taken seconds.
        if means.expired(call.order):
            raise _RefusedError(EXPIRED, "the warrant ran out before the first byte")

    began = time.monotonic()
    outgoing = _outgoing(call, allowed, access=access, deadline=deadline)
    try:
        answer = await means.send(access.route, outgoing, guard)
    except _RefusedError:
        if request.effectful:
            await journal_void(call, means.journal)
        raise
    except UpstreamError as error:
        ms = round((time.monotonic() - began) * 1000)
        await note_failure(call, request, means.journal, error=error, ms=ms)
        raise
    return _checked(call, request, means, answer=answer, access=access)


def _checked(
    call: Call, request: EgressRequest, means: Means, *, answer: Answer, access: Access
) -> Answer:
    """Take note of an answer, and return it if the child may see it."""
    if answer.status == _UNAUTHORIZED:
        # An access token that was taken back: the next call gets another. This request
        # is not sent again.
        means.stale(access)
    noted = note_answer(
        call, request, means.journal, answer=answer, secrets=access.secrets
    )
    if not noted:
        detail = "the answer held the credential"
        raise UpstreamError(CREDENTIAL_ECHO, detail, sent=True, status=answer.status)
    return answer


def _outgoing(
    call: Call, allowed: Allowed, *, access: Access, deadline: float
) -> Outgoing:
    request = allowed.request
    left_s = deadline - asyncio.get_running_loop().time() - ANSWER_BEFORE_S
    return Outgoing(
        method=request.method,
        target=access.target(allowed.target),
        body=allowed.body,
        headers=access.headers_for(
            allowed.body,
            at_s=int(time.time()),
            key=call.order.warrant.idempotency_key,
        ),
        key_header=request.idempotency_header if request.effectful else "",
        key=call.order.warrant.idempotency_key,
        fresh=request.effectful,
        timeout_s=max(0.0, left_s),
        response_bytes_max=call.order.tool.response_bytes_max,
        content_type=allowed.content_type.encode("ascii"),
    )


async def _check_epochs(call: Call, means: Means, *, age_s_max: float) -> None:
    named = call.order.warrant.epochs
    epochs = call.epochs
    if epochs is None or time.monotonic() - epochs.asked_at > age_s_max:
        try:
            epochs = await means.epochs([scope for scope, _ in named])
        except StoreError as error:
            raise _RefusedError(NO_EPOCHS, str(error)) from None
        call.epochs = epochs
    if epochs.revoked(named):
        raise _RefusedError(REVOKED, "an epoch has moved on")


async def _access(call: Call, means: Means) -> Access:
    try:
        found = await means.access(call.order.tool.connector)
    except (StoreError, VaultError) as error:
        raise _RefusedError(NO_CREDENTIAL, str(error)) from None
    if found is None:
        raise _RefusedError(NO_CREDENTIAL, "the connector has no credential")
    return found


async def _refuse(
    child: Child, status: int, code: str, detail: str, *, last: bool = True
) -> None:
    body = canonical({"code": code, "detail": detail})
    await child.answer(status, content_type=_PROBLEM_TYPE, body=body, last=last)

"""Keep what happened under one warrant: requests, state, alarms, receipt values.

Whatever is noted here comes from the edge's own doing and the raw upstream response.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker.core.words.warrant import SentState
from broker.edge.egress.echo import echoes
from broker.edge.journal import JournalError
from broker.edge.receipts import Facts, extract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from broker.core.words.tool import EgressRequest
    from broker.edge.egress.upstream import Answer, UpstreamError
    from broker.edge.journal import Journal
    from broker.edge.store import Epochs
    from broker.edge.warrants import Order

CREDENTIAL_ECHO: Final = "credential_echo"
_ALARMS = frozenset(
    {
        "redirect",
        "encoding",
        "oversized",
        "address_refused",
        "pin_refused",
        "upstream_broken",
        "upstream_timeout",
    }
)

_log = structlog.get_logger()


@dataclass(slots=True)
class Call:
    """What happened under a warrant so far.

    ``closed`` is set once and for ever: no request starts afterwards. ``state`` becomes
    SENT before the journal is written, so that whoever asks in between hears the worse.
    ``idle`` is set while no request is under way.
    """

    order: Order
    epochs: Epochs | None = None
    used: dict[str, int] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    alarms: dict[str, None] = field(default_factory=dict)
    state: SentState = SentState.NOT_SENT
    status: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    closed: bool = False
    ended: bool = False
    voided: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    recording: asyncio.Task[None] | None = None
    hang_up: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        """Begin idle."""
        self.idle.set()

    @property
    def effectful(self) -> bool:
        """Return whether the tool may cause anything upstream."""
        return any(request.effectful for request in self.order.tool.requests)

    @property
    def names(self) -> dict[str, str]:
        """Return what a log line says of the call."""
        warrant = self.order.warrant
        return {
            "warrant": warrant.warrant_id,
            "action": warrant.action_id,
            "tool": warrant.tool,
            "connector": warrant.connector,
        }

    def facts(self) -> Facts:
        """Return what a receipt states."""
        warrant = self.order.warrant
        return Facts(
            warrant=warrant.warrant_id,
            action=warrant.action_id,
            state=self.state,
            upstream_status=self.status,
            values=dict(self.values),
            requests=tuple(dict(request) for request in self.requests),
            alarms=tuple(self.alarms),
        )


async def journal_sent(call: Call, request: EgressRequest, journal: Journal) -> None:
    """Note durably that the effectful request is about to be sent.

    If we die after this and before the dial, the state says "sent" and nobody knows:
    that is the price for never saying "not sent" about a refund.

    Raises:
        JournalError: It could not be noted; nothing may be sent.
    """
    warrant = call.order.warrant
    call.state = SentState.SENT
    try:
        await journal.append(
            "sent",
            warrant=warrant.warrant_id,
            a=warrant.action_id,
            tool=warrant.tool,
            manifest=warrant.manifest,
            request=request.request_id,
            key=warrant.idempotency_key,
        )
    except JournalError:
        call.state = SentState.NOT_SENT
        raise


async def journal_void(call: Call, journal: Journal) -> None:
    """Note durably that nothing was sent and that nothing will be.

    If that cannot be written, the state stays what it was: "sent" is the safe word.
    """
    call.closed = True
    warrant = call.order.warrant
    try:
        await journal.append("void", warrant=warrant.warrant_id, a=warrant.action_id)
    except JournalError as error:
        _log.error("journal", problem=str(error), **call.names)
        return
    call.state = SentState.NOT_SENT
    call.voided = True


async def note_failure(
    call: Call,
    request: EgressRequest,
    journal: Journal,
    *,
    error: UpstreamError,
    ms: int,
) -> None:
    """Take note of a request that got no usable answer."""
    if error.code in _ALARMS:
        call.alarms[error.code] = None
    seen = {"status": error.status, "bytes": 0, "sha256": "", "ms": ms, "address": ""}
    _tell(call, request, seen, problem=error.code)
    if not _stated(call, request):
        return
    if error.status:
        # The upstream answered; what it said beside the status is not usable.
        _record(call, journal, status=error.status, values={})
    elif request.effectful and not error.sent:
        await journal_void(call, journal)


def note_answer(
    call: Call,
    request: EgressRequest,
    journal: Journal,
    *,
    answer: Answer,
    secrets: Iterable[bytes],
) -> bool:
    """Take note of an answer; return whether the child may see it.

    It may not if it holds the credential. Then the call ends, and nothing of it goes
    into the receipt but the status.
    """
    heard = answer.body + b"\n" + answer.content_type.encode()
    echo = any(echoes(heard, secret) for secret in secrets)
    if echo:
        call.closed = True
        call.alarms[CREDENTIAL_ECHO] = None
    seen = {
        "status": answer.status,
        "bytes": len(answer.body),
        "sha256": answer.sha256,
        "ms": answer.ms,
        "address": answer.address,
    }
    _tell(call, request, seen, problem=CREDENTIAL_ECHO if echo else "")
    if _stated(call, request):
        values: dict[str, Any] = {}
        if answer.status in request.done and not echo:
            stated, order = call.order.tool.receipt, call.order
            wanted = (
                order.warrant.arguments.get(stated.find.argument)
                if stated.find is not None
                else None
            )
            values, alarms = extract(
                answer.body, stated.values, find=stated.find, wanted=wanted
            )
            call.alarms.update(dict.fromkeys(alarms))
        _record(call, journal, status=answer.status, values=values)
    return not echo


def _stated(call: Call, request: EgressRequest) -> bool:
    """Return whether this request is the one that the receipt speaks of."""
    return request.request_id == call.order.tool.receipt.request_id


def _record(
    call: Call, journal: Journal, *, status: int, values: dict[str, Any]
) -> None:
    call.state = SentState.ANSWERED
    call.status = status
    call.values = values
    if call.effectful:
        # The child need not wait for the disk; whoever wants the receipt does.
        call.recording = asyncio.create_task(_journal_answered(call, journal))


async def _journal_answered(call: Call, journal: Journal) -> None:
    facts = call.facts()
    try:
        await journal.append(
            "answered",
            warrant=facts.warrant,
            a=facts.action,
            status=facts.upstream_status,
            values=dict(facts.values),
            requests=[dict(request) for request in facts.requests],
            alarms=list(facts.alarms),
        )
    except JournalError as error:
        # A restart will find "sent": unknown, which is safe. This process still knows.
        _log.error("journal", problem=str(error), **call.names)


def _tell(
    call: Call,
    request: EgressRequest,
    seen: Mapping[str, Any],
    *,
    problem: str,
) -> None:
    """Add a request to the receipt, and write its audit line."""
    said = {
        "seq": len(call.requests) + 1,
        "id": request.request_id,
        "method": request.method,
        "effectful": request.effectful,
        **seen,
    }
    call.requests.append(said)
    write = _log.warning if problem else _log.info
    rest = {name: value for name, value in said.items() if name != "id"}
    rule = request.request_id
    write("upstream", **call.names, rule=rule, **rest, problem=problem)

"""Find out what became of an unknown action, in the order of what can be trusted.

First the edge's journal is asked. Then the upstream is read, by the tool that the
manifest names, under a warrant of its own. Only where the manifest declares that the
upstream keeps the idempotency key, and for as long as it does, the same request is sent
once more. What is left is for a person; its money stays held.

Source: DESIGN, chapter 3 (invariants 2, 3, 6 and 10).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from broker import case as cases
from broker import evidence, flow, outcomes
from broker.core import execute
from broker.core.canonical import digest
from broker.core.execute import Stamp
from broker.core.warrants import reconcile as core
from broker.core.warrants.template import Filling, TemplateError, fill_body
from broker.core.words.action import ActionState, OutcomeWord
from broker.core.words.decision import Reason
from broker.core.words.entry import EntryKind
from broker.core.words.errors import BrokerError, ExecutorUnavailableError
from broker.core.words.warrant import SentState
from broker.ports import Claim
from broker.unknown import again
from broker.unknown.again import Found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from broker.case import Case
    from broker.core.execute import Judgement
    from broker.core.words.action import ActionRecord
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Warrant
    from broker.ports import Ports, Ran

RECONCILED_MAX: Final = 32
"""How many unknown actions one round looks at."""

NEEDS_PERSON: Final = "needs_person"
"""Neither the edge nor the upstream can tell what became of it."""

_BESIDE: Final = 4


class By(StrEnum):
    """By what an action was reconciled, or what is left to do."""

    EDGE = "edge"
    UPSTREAM = "upstream"
    SENT_AGAIN = "sent_again"
    PERSON = "person"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found about one action; ``said`` is why, in words."""

    action_id: str
    state: ActionState
    by: By
    said: str
    alarms: tuple[str, ...] = ()


async def all_of(ports: Ports, action_ids: Sequence[str]) -> list[Round]:
    """Reconcile these actions now, a few at a time; one that fails stops no other."""
    slots = asyncio.Semaphore(_BESIDE)

    async def one(action_id: str) -> Round:
        async with slots:
            try:
                return await reconcile(ports, action_id)
            except BrokerError as error:
                said = f"cannot be asked now: {error.detail}"
                return Round(action_id, ActionState.UNKNOWN, By.LATER, said)

    return await asyncio.gather(*(one(action_id) for action_id in action_ids))


async def reconcile(ports: Ports, action_id: str) -> Round:
    """Take one action through the steps until one of them knows.

    Raises:
        UnavailableError: A part is down; nothing is decided, the money stays held.
    """
    alarms = await _ask_edge(ports, action_id)
    opened = None if alarms is None else await _look(ports, action_id, alarms)
    if opened is None:
        return await _ended(ports, action_id, By.EDGE, "the edge knew, or it had ended")
    if isinstance(opened, Round):
        return opened
    read = await _read(ports, opened)
    said = "the upstream cannot be asked"
    if read is not None:
        judgement, said = read[0], read[0].outcome.detail
        if judgement.outcome.word is not OutcomeWord.UNKNOWN:
            return await _resolve(ports, opened, read, By.UPSTREAM)
        if judgement.alarms:
            await _alarm(ports, opened.record, *judgement.alarms)
            opened = replace(opened, alarms=(*opened.alarms, *judgement.alarms))
            return opened.round(By.PERSON, said)
    if core.may_send_again(opened.sent, again=opened.again, now=ports.clock.now()):
        return await _send_again(ports, opened)
    waits = read is not None and core.absence_counts(opened.sent)
    if not waits:
        await _alarm(ports, opened.record, NEEDS_PERSON)
    return opened.round(By.LATER if waits else By.PERSON, said)


@dataclass(frozen=True, slots=True)
class _Open:
    """An action that is still unknown after the edge was asked."""

    record: ActionRecord
    case: Case
    sent: core.Sent
    again: int
    alarms: tuple[str, ...]

    def round(self, by: By, said: str) -> Round:
        """Return a round that left it as it was."""
        action_id = self.record.request.action_id
        return Round(action_id, self.record.state, by, said, self.alarms)


async def _ask_edge(ports: Ports, action_id: str) -> tuple[str, ...] | None:
    """Ask the edge's journal; return alarms, None if it is not unknown any more."""
    try:
        found = await again.ask_again(ports, action_id)
    except ExecutorUnavailableError:
        # An edge that is there and does not know this warrant is no reason not to read.
        await ports.executor.address()
        return ()
    if found in {Found.RESOLVED, Found.GONE}:
        return None
    return (again.NOT_SENT_ALARM,) if found is Found.ALARM else ()


async def _look(
    ports: Ports, action_id: str, alarms: tuple[str, ...]
) -> _Open | Round | None:
    record = await ports.store.action(action_id)
    sending = await ports.unknown.sending(action_id)
    if record is None or sending is None or record.state is not ActionState.UNKNOWN:
        return None
    case = await cases.reopened(ports, record, to_record=True)
    if isinstance(case, Reason):
        await _alarm(ports, record, NEEDS_PERSON)
        return Round(action_id, record.state, By.PERSON, case.text, alarms)
    sent = core.Sent(
        tool=case.tool,
        manifest=record.manifest,
        bound=case.bound,
        customer_id=case.interaction.customer_id,
        first_warrant=sending.first_warrant,
    )
    return _Open(record, case, sent, sending.again, alarms)


# ----------------------------------------------------------------- reading the upstream


async def _read(ports: Ports, opened: _Open) -> tuple[Judgement, Ran] | None:
    """Read the upstream's list under a warrant; None where the manifest names none.

    While the kill switch is on nothing goes out, a reading of ours no more than others.
    """
    case = opened.case
    reader = _reader(ports, case.tool)
    if reader is None or case.view.stopped:
        return None
    try:
        arguments = _arguments(case)
    except TemplateError:
        return None
    now = ports.clock.now()
    warrant = await _reading(ports, opened, reader, arguments)
    detail = {"warrant": warrant.warrant_id, "by": reader.name}
    # If we die before it is read, the entry says more than was done, never less.
    await ports.journal.record(
        await evidence.entry_of(ports, case, EntryKind.LOOKED_UP, detail, ())
    )
    ran = await ports.executor.run(warrant, timeout_s=reader.timeout_s)
    if ran.receipt is None:
        return None
    return core.from_list(ran.receipt, sent=opened.sent, reader=reader, now=now), ran


def _reader(ports: Ports, tool: Tool) -> Tool | None:
    declared = tool.reconcile
    reader = ports.shelf.tool(declared.tool) if declared else None
    fits = reader is not None and reader.connector == tool.connector
    return reader if fits and reader is not None and reader.receipt.find else None


def _arguments(case: Case) -> Mapping[str, Any]:
    declared = case.tool.reconcile
    filling = Filling(
        case.request.arguments,
        customer=case.interaction.customer_id,
        action=case.request.action_id,
    )
    filled: Mapping[str, Any] = fill_body(
        dict(declared.arguments) if declared else {}, filling
    )
    return filled


async def _reading(
    ports: Ports, opened: _Open, reader: Tool, arguments: Mapping[str, Any]
) -> Warrant:
    """Return the order to read; it is the broker's own, under the epochs of now."""
    record, case = opened.record, opened.case
    edge, boot = await ports.executor.address()
    scopes = [scope for scope, _ in record.requester.epochs]
    request = replace(
        case.request,
        tool=reader.name,
        arguments=arguments,
        arguments_digest=digest(dict(arguments)),
    )
    stamp = Stamp(
        warrant_id=ports.ids.new(),
        edge=edge,
        boot=boot,
        epochs=tuple((scope, case.view.epochs.get(scope, 0)) for scope in scopes),
        idempotency_key="",
        now=ports.clock.now(),
    )
    return execute.warrant_for(
        request, tool=reader, interaction=case.interaction, stamp=stamp
    )


# --------------------------------------------------------------------- sending again


async def _send_again(ports: Ports, opened: _Open) -> Round:
    """Send the same request under the same key, if everything still allows it."""
    record = opened.record
    await ports.journal.ready()
    case = await flow.still_stands(ports, record)
    if not isinstance(case, cases.Case):
        return opened.round(By.PERSON, f"it is not sent again: {case.reason.text}")
    edge, boot = await ports.executor.address()
    warrant_id = ports.ids.new()
    detail = {"warrant": warrant_id, "before": record.warrant_id}
    entry = await evidence.entry_of(ports, case, EntryKind.AGAIN, detail, ())
    taken = await ports.unknown.send_again(
        record.request.action_id,
        before=record.warrant_id,
        warrant_id=warrant_id,
        entry=entry,
    )
    if not taken:
        return opened.round(By.LATER, "somebody else is at it")
    stamp = Stamp(
        warrant_id=warrant_id,
        edge=edge,
        boot=boot,
        epochs=cases.epochs_of(case, record.requester),
        idempotency_key=record.idempotency_key,
        now=ports.clock.now(),
    )
    warrant = execute.warrant_for(
        case.request, tool=case.tool, interaction=case.interaction, stamp=stamp
    )
    # If we die from here on, it is unknown still, and the edge knows of this warrant.
    ran = await ports.executor.run(warrant, timeout_s=case.tool.timeout_s)
    opened = replace(opened, record=replace(record, warrant_id=warrant_id), case=case)
    if ran.receipt is None or ran.receipt.state is not SentState.ANSWERED:
        return opened.round(By.LATER, "it was sent again, and no answer came back")
    judgement = execute.judge(
        ran.receipt,
        manifest=record.manifest,
        tool=case.tool,
        bound=case.bound,
        customer_id=case.interaction.customer_id,
        error=ran.error,
    )
    if judgement.outcome.word is OutcomeWord.UNKNOWN:
        return opened.round(By.LATER, judgement.outcome.detail)
    return await _resolve(ports, opened, (judgement, ran), By.SENT_AGAIN)


# ----------------------------------------------------------------------- what is kept


async def _resolve(
    ports: Ports, opened: _Open, told: tuple[Judgement, Ran], by: By
) -> Round:
    judgement, ran = told
    record, case = opened.record, opened.case
    claim = Claim(record, ports.replica, record.warrant_id, ports.clock.now())
    await outcomes.keep_outcome(
        ports,
        case,
        claim,
        judgement,
        replace(ran, result=None),
        kind=EntryKind.RESOLVED,
    )
    said = (
        judgement.outcome.detail or f"the upstream answered: {judgement.outcome.code}"
    )
    return await _ended(ports, record.request.action_id, by, said)


async def _alarm(ports: Ports, record: ActionRecord, *alarms: str) -> None:
    """Raise alarms about an unknown action, each of them once, with its entry."""
    for alarm in alarms:
        entry = again.alarm_of(ports, record, alarm)
        await ports.unknown.said(record.request.action_id, "", alarm=alarm, entry=entry)


async def _ended(ports: Ports, action_id: str, by: By, said: str) -> Round:
    record = await ports.store.action(action_id)
    state = record.state if record else ActionState.UNKNOWN
    return Round(action_id, state, by, said)

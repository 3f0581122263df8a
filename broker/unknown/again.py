"""Find out what became of an action that was sent and got no clear answer.

The edge is asked again, with growing pauses: it may have heard the answer meanwhile,
and then the receipt is judged as it would have been at once. Nothing is ever sent again
here.

Source: DESIGN, chapters 3 (invariant 6) and 4 (Later the edge can be asked).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from broker import case as cases
from broker import evidence, outcomes
from broker.core import execute
from broker.core.words.action import ActionState, OutcomeWord
from broker.core.words.decision import Reason
from broker.core.words.entry import EntryKind
from broker.core.words.warrant import SentState
from broker.ports import Claim

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from broker.core.words.entry import AuditEntry
    from broker.ports import Ports, Ran

ASKED_AT_ONCE_MAX: Final = 8
"""How many unknown outcomes one sweep of one replica asks the edge about."""

NOT_SENT_ALARM: Final = "not_sent_after_sent"
"""An edge says "not sent" of what was reported sent: another edge, a lost journal."""


class Found(StrEnum):
    """What asking again led to. ``GONE``: somebody else resolved it meanwhile."""

    RESOLVED = "resolved"
    UNKNOWN = "unknown"
    ALARM = "alarm"
    GONE = "gone"


async def due(ports: Ports) -> list[str]:
    """Return ids of the actions about which the edge is to be asked again now.

    Raises:
        ExecutorUnavailableError: Nobody is there to be asked; no pause grows.
    """
    if not await ports.unknown.due():
        return []
    await ports.executor.address()
    return list(await ports.unknown.take(limit=ASKED_AT_ONCE_MAX))


async def ask_again(ports: Ports, action_id: str) -> Found:
    """Ask the edge about an unknown action, and record its outcome if there is one.

    "Not sent" voids nothing: it contradicts what was reported before, so it comes from
    an edge that does not know. The money stays held, and an alarm is raised once.

    Raises:
        ExecutorUnavailableError: The edge cannot say now.
    """
    record = await ports.store.action(action_id)
    if record is None or record.state is not ActionState.UNKNOWN:
        return Found.GONE
    ran = await ports.executor.ask(record.warrant_id, action_id)
    if ran.receipt is None:
        return Found.UNKNOWN
    said, alarm = ran.receipt.state.value, ""
    if ran.receipt.state is SentState.ANSWERED:
        found = await _judged(ports, record, ran)
        if found is not Found.UNKNOWN:
            return found
        said = f"{said} {ran.receipt.upstream_status}"
    elif ran.receipt.state is SentState.NOT_SENT and not await _was_again(
        ports, action_id
    ):
        alarm = NOT_SENT_ALARM
    entry = alarm_of(ports, record, alarm) if alarm else None
    new = await ports.unknown.said(action_id, said, alarm=alarm, entry=entry)
    return Found.ALARM if new else Found.UNKNOWN


async def _was_again(ports: Ports, action_id: str) -> bool:
    """Return whether the warrant was only to send it again, which may not have been."""
    sending = await ports.unknown.sending(action_id)
    return sending is not None and sending.again > 0


async def _judged(ports: Ports, record: ActionRecord, ran: Ran) -> Found:
    """Record what an answer says that the edge heard late."""
    case = await cases.reopened(ports, record, to_record=True)
    if isinstance(case, Reason) or ran.receipt is None:
        return Found.UNKNOWN
    judgement = execute.judge(
        ran.receipt,
        manifest=record.manifest,
        tool=case.tool,
        bound=case.bound,
        customer_id=case.interaction.customer_id,
        error=ran.error,
    )
    if judgement.outcome.word is OutcomeWord.UNKNOWN:
        return Found.UNKNOWN
    # If we die before this is stored, the next to ask gets the same receipt.
    kept = await outcomes.keep_outcome(
        ports, case, _claim(ports, record), judgement, ran, kind=EntryKind.RESOLVED
    )
    return Found.RESOLVED if kept else Found.GONE


def _claim(ports: Ports, record: ActionRecord) -> Claim:
    """Name the warrant that was sent: nobody owns an unknown action."""
    return Claim(record, ports.replica, record.warrant_id, ports.clock.now())


def alarm_of(ports: Ports, record: ActionRecord, alarm: str) -> AuditEntry:
    """Return the entry of an alarm about an unknown action."""
    detail = {"alarm": alarm, "warrant": record.warrant_id}
    return evidence.entry_about(ports, record, EntryKind.ALARM, detail)

"""What happens to an approval without a vote: withdrawn, or what time makes due.

The run in Temporal asks where an approval is and when time next makes something due,
and then has that done: a reminder, a further role that is asked, the end. While
Temporal is away, the sweeper does the same from SQL. What is due follows from the
sealed action; SQL does each thing once.

Source: DESIGN, chapter 7 (Votes).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from broker import evidence
from broker.core import approve
from broker.core.approvals import timetable
from broker.core.approvals.timetable import MarkKind
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from broker.core.words.decision import Reason
from broker.core.words.entry import EntryKind
from broker.core.words.errors import NotFoundError, UnavailableError
from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from broker.ports import OnDesk, Ports

EXPIRED_AT_ONCE_MAX: Final = 100


async def withdraw(ports: Ports, record: ActionRecord) -> bool:
    """Cancel an action that waits; False if it has ended, or may have been sent."""
    reason = Reason("withdrawn", "the agent withdrew it")
    return await evidence.keep_unexecuted(ports, record, reason, ActionState.CANCELLED)


async def standing(ports: Ports, approval_id: str) -> OnDesk:
    """Return where an approval is, for the run that keeps its time.

    Raises:
        NotFoundError: there is no such approval.
    """
    found = await ports.desk.find(approval_id)
    if found is None:
        msg = "there is no such approval"
        raise NotFoundError(msg)
    await ports.desk.hello(approval_id)
    return found


async def expire(ports: Ports, approval_id: str) -> OnDesk:
    """Do what time has made due by the database's clock; end it if it is past.

    Raises:
        NotFoundError: there is no such approval.
    """
    found = await standing(ports, approval_id)
    if found.state is ApprovalState.PENDING and found.due_s <= 0:
        await _due(ports, found)
        found = await ports.desk.find(approval_id) or found
    return found


async def expire_due(ports: Ports) -> int:
    """Do what time has made due of every approval; return of how many."""
    done = 0
    for approval_id in await ports.desk.due(limit=EXPIRED_AT_ONCE_MAX):
        # One of which it cannot be done now must not keep the others waiting.
        with contextlib.suppress(UnavailableError):
            found = await ports.desk.find(approval_id)
            if found is not None:
                await _due(ports, found)
                done += 1
    return done


async def _due(ports: Ports, found: OnDesk) -> None:
    """Do what is due: end it, or else remind and ask further roles."""
    if found.left_s <= 0:
        await _expired(ports, found.action_id)
    else:
        await _marked(ports, found)


async def _expired(ports: Ports, action_id: str) -> None:
    record = await ports.store.action(action_id)
    if record is not None:
        reason = Reason("approval_expired", "nobody signed in time")
        await evidence.keep_unexecuted(ports, record, reason, ActionState.EXPIRED)


async def _marked(ports: Ports, found: OnDesk) -> None:
    record = await ports.store.action(found.action_id)
    if record is None or not record.asked or record.approval_id != found.approval_id:
        return
    quorum, since = record.asked.quorum, approve.asked_since(record)
    now = found.at or ports.clock.now()
    next_at = timetable.next_at(quorum, since=since, now=now)
    for mark in timetable.due(quorum, since=since, now=now):
        kind = EntryKind.ESCALATED
        if mark.kind is MarkKind.REMINDER:
            kind = EntryKind.REMINDED
        detail = {
            "approval": found.approval_id,
            "approval_digest": record.digest,
            "role": mark.role,
            "since": write_moment(mark.at),
        }
        entry = evidence.entry_about(ports, record, kind, detail)
        await ports.queue.mark(found.approval_id, mark, next_at=next_at, entry=entry)

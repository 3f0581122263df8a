"""How an approval ends without a vote: withdrawn by its agent, or past its time.

The run in Temporal asks where an approval is, and has it expired; while Temporal is
away, the sweeper does the same from SQL.

Source: DESIGN, chapter 7 (Votes).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from broker import evidence
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from broker.core.words.decision import Reason
from broker.core.words.errors import NotFoundError, UnavailableError

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
    """End an approval that is past its expiry, by the database's clock.

    Raises:
        NotFoundError: there is no such approval.
    """
    found = await standing(ports, approval_id)
    if found.state is ApprovalState.PENDING and found.left_s <= 0:
        await _expired(ports, found.action_id)
        found = await ports.desk.find(approval_id) or found
    return found


async def expire_due(ports: Ports) -> int:
    """End every approval that is past its expiry; return how many there were."""
    due = await ports.desk.due(limit=EXPIRED_AT_ONCE_MAX)
    ended = 0
    for action_id in due:
        # One that cannot be ended now must not keep the others waiting.
        with contextlib.suppress(UnavailableError):
            await _expired(ports, action_id)
            ended += 1
    return ended


async def _expired(ports: Ports, action_id: str) -> None:
    record = await ports.store.action(action_id)
    if record is not None:
        reason = Reason("approval_expired", "nobody signed in time")
        await evidence.keep_unexecuted(ports, record, reason, ActionState.EXPIRED)

"""The run of one approval: keeps its time, and decides nothing.

It looks, waits until it is told something or the time is up, and looks again. Once the
broker says that it is approved, it has the action settled until that has an end. Its
input is an approval's id, and so is all that it ever sends; whoever forges a run, or
tells one a lie, makes it look once more.

Source: docs/adr/0002 (workflow code imports core only); DESIGN, chapter 7 (Votes).
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

# Taken from the process as they are: words without state or effects, which importing
# anew for every run would cost more than all else that a run does.
with workflow.unsafe.imports_passed_through():
    from broker.core.approvals.messages import TELL, TOLD_MAX, WORKFLOW
    from broker.core.words.action import ActionState
    from broker.core.words.approval import ApprovalState
    from workflows.messages import EXPIRE, LOOK, NO_SUCH_APPROVAL, SETTLE, Standing

LOOK_S_MAX = 10
"""Longest answer of the broker to where an approval is, in seconds."""

SETTLED_S_MAX = 60
"""Longest answer to settling, the tool's own time and other brokers included."""

BEAT_S_MAX = 6
"""A worker that has not said for so long that it still waits is taken for dead."""

SETTLE_AGAIN_S_MAX = 60
"""Longest wait before an action that has no end yet is settled again, in seconds."""

LOOK_AGAIN_S_MAX = 7 * 86_400
"""A run looks once a week even if nothing happens and there is time left."""

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)
_OPEN = frozenset(
    {ActionState.PENDING_APPROVAL, ActionState.READY, ActionState.EXECUTING}
)


@workflow.defn(name=WORKFLOW)
class Approval:
    """One approval, from the question to the end of its action."""

    @workflow.init
    def __init__(self, approval_id: str) -> None:
        """Begin with nothing told."""
        self._approval_id = approval_id
        self._told = 0

    @workflow.run
    async def run(self, approval_id: str) -> str:
        """Keep the approval's time; return the state in which its action ended."""
        try:
            return await self._kept(approval_id)
        except ActivityError as error:
            if _is_unknown(error):
                # Somebody started a run for nothing; there is nothing to keep.
                return NO_SUCH_APPROVAL
            raise

    @workflow.update(name=TELL)
    def tell(self) -> None:
        """Take in that something happened; what, the broker says."""
        self._told += 1

    @tell.validator
    def _not_too_often(self) -> None:
        if self._told >= TOLD_MAX:
            msg = "this run was told enough; it looks at the clock all the same"
            raise ApplicationError(msg)

    async def _kept(self, approval_id: str) -> str:
        told = self._told
        standing = await self._ask(LOOK)
        tries = 0
        while ActionState(standing.action) in _OPEN:
            if standing.approval == ApprovalState.PENDING:
                in_time = await self._news(told, within_s=standing.left_s)
                told = self._told
                # Once the time is up, "expire" answers as "look" does, and has done
                # what is due by then: a reminder, a further role, or the end.
                standing = await self._ask(LOOK if in_time else EXPIRE)
            else:
                if tries:
                    wait_s = min(SETTLE_AGAIN_S_MAX, 2 ** min(tries, 10))
                    await self._news(told, within_s=wait_s)
                told = self._told
                tries += 1
                standing = await self._ask(SETTLE)
            if workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(approval_id)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return standing.action

    async def _ask(self, activity: str) -> Standing:
        """Ask the broker until it answers; it may be away for long."""
        most_s = SETTLED_S_MAX if activity == SETTLE else LOOK_S_MAX
        standing: Standing = await workflow.execute_activity(
            activity,
            self._approval_id,
            result_type=Standing,
            start_to_close_timeout=timedelta(seconds=most_s),
            heartbeat_timeout=timedelta(seconds=BEAT_S_MAX),
            retry_policy=_RETRY,
        )
        return standing

    async def _news(self, told: int, *, within_s: float) -> bool:
        """Wait until told more than ``told`` times; False if the time is up first."""
        # At least a second: an answer of "just now" must not make the run spin.
        within_s = min(max(within_s, 1.0), LOOK_AGAIN_S_MAX)
        try:
            await workflow.wait_condition(
                lambda: self._told > told, timeout=timedelta(seconds=within_s)
            )
        except TimeoutError:
            return False
        return True


def _is_unknown(error: ActivityError) -> bool:
    cause = error.cause
    return isinstance(cause, ApplicationError) and cause.type == NO_SUCH_APPROVAL

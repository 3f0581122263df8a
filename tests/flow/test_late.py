"""What comes too late: a refusal beside a running call, an answer nobody can judge."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from broker import evidence, flow
from broker.core.approve import ACTED_ON_S_MAX
from broker.core.words.action import ActionState
from broker.core.words.decision import Reason
from broker.outcomes import SENT_AFTER_END
from broker.ports import Claim
from broker.unknown import reconcile
from broker.unknown.reconcile import NEEDS_PERSON, By
from tests.support.approvals.voters import LARGE, approve, large_refund
from tests.support.flow.executor import FakeExecutor
from tests.support.flow.house import House
from tests.support.flow.unknowns import later

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.words.action import ActionRecord
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Warrant
    from broker.ports import Ran

REASON = Reason("revoked", "decided by somebody who saw it before it was claimed")


@dataclass
class Meanwhile(FakeExecutor):
    """An executor during whose refunds something else happens."""

    then: Callable[[Warrant], Awaitable[None]] | None = field(default=None)

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:
        """Have it happen once the request is on its way."""
        ran = await super().run(warrant, timeout_s=timeout_s)
        if self.then is not None and warrant.tool == "orders.refund":
            await self.then(warrant)
        return ran


def during(house: House, then: Callable[[Warrant], Awaitable[None]]) -> None:
    """Let something happen while each refund runs."""
    house.executor = Meanwhile(paid=house.executor.paid, then=then)
    house.ports = replace(house.ports, executor=house.executor)


async def refused(house: House, record: ActionRecord, claim: Claim | None) -> bool:
    """Refuse an action as a task does that looked at it a while ago."""
    state = ActionState.REFUSED
    return await evidence.keep_unexecuted(
        house.ports, record, REASON, state, claim=claim
    )


async def test_a_refusal_decided_before_the_claim_does_not_give_back_money_on_its_way(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    seen = await house.ports.store.action(record.request.action_id)
    assert seen is not None
    ended = []

    async def refuse(_: Warrant) -> None:
        ended.append(await refused(house, seen, None))

    during(house, refuse)
    done = await flow.settle(house.ports, record.request.action_id)
    assert ended == [False]
    assert done is not None
    assert done.state is ActionState.DONE
    assert house.executor.amounts() == [LARGE]
    assert (await house.posted(), await house.held()) == (LARGE, 0)


async def test_a_claim_whose_warrant_was_replaced_ends_nothing_any_more(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    ended = []

    async def refuse(warrant: Warrant) -> None:
        # The same replica, and the warrant that it had before it was taken over.
        now = await house.ports.store.action(warrant.action_id)
        assert now is not None
        old = Claim(now, house.ports.replica, house.ports.ids.new(), now.created_at)
        ended.append(await refused(house, now, old))
        own = replace(old, warrant_id=warrant.warrant_id, replica="another")
        ended.append(await refused(house, now, own))

    during(house, refuse)
    done = await flow.settle(house.ports, record.request.action_id)
    assert ended == [False, False]
    assert done is not None
    assert done.state is ActionState.DONE
    assert await house.posted() == LARGE


async def test_a_receipt_of_what_had_ended_as_not_sent_raises_an_alarm(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)

    async def tamper(warrant: Warrant) -> None:
        async with house.admin() as owner:
            await owner.execute(
                "UPDATE action SET state = 'refused', lease_replica = NULL,"
                " lease_until = NULL WHERE action_id = $1",
                warrant.action_id,
            )

    during(house, tamper)
    await flow.settle(house.ports, record.request.action_id)
    entries = await house.entries(record.request.action_id)
    alarms = [e["detail"] for e in entries if e["kind"] == "record.alarm"]
    assert [alarm["alarm"] for alarm in alarms] == [SENT_AFTER_END]
    assert alarms[0]["state"] == "refused"


class Emptied:
    """A shelf from which one tool is gone, or takes other arguments now."""

    def __init__(self, house: House, name: str, *, gone: bool) -> None:
        self._shelf, self._name, self._gone = house.ports.shelf, name, gone
        house.ports = replace(house.ports, shelf=self)

    def tool(self, name: str) -> Tool | None:
        tool = self._shelf.tool(name)
        if name != self._name or tool is None:
            return tool
        if self._gone:
            return None
        schema = {"type": "object", "required": ["new"], "properties": {"new": {}}}
        return replace(tool, arguments=schema, digest="f" * 64)

    def tools(self) -> list[Tool]:
        return list(self._shelf.tools())


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "other arguments"])
async def test_a_refund_whose_tool_changed_before_its_answer_was_read_is_unknown(
    house: House,
    gone: bool,  # noqa: FBT001  (pytest's)
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.fault = "lost"
    answer = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert answer.record is not None
    action_id = answer.record.request.action_id
    house.executor.fault = ""
    Emptied(house, "orders.refund", gone=gone)
    await house.lapse()
    record = await flow.settle(house.ports, action_id)
    assert record is not None
    assert record.state is ActionState.UNKNOWN
    assert await house.held() == 1_000
    entries = await house.entries(action_id)
    assert entries[-1]["detail"]["alarms"] == ["manifest_changed"]
    # Nobody but a person can tell, and people are told so.
    found = await reconcile.reconcile(house.ports, action_id)
    assert found.by is By.PERSON
    entries = await house.entries(action_id)
    assert entries[-1]["detail"]["alarm"] == NEEDS_PERSON


async def test_a_read_whose_tool_is_gone_before_its_answer_has_failed(
    house: House,
) -> None:
    interaction = await house.interaction()
    house.executor.fault = "lost"
    answer = await flow.submit(house.ports, house.ask("customers.get", interaction))
    assert answer.record is not None
    Emptied(house, "customers.get", gone=True)
    await house.lapse()
    record = await flow.settle(house.ports, answer.record.request.action_id)
    assert record is not None
    assert (record.state, record.outcome and record.outcome.code) == (
        ActionState.FAILED,
        "manifest_changed",
    )


async def test_what_was_approved_is_not_executed_days_after_its_time(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    assert record.expires_at is not None
    left_s = (record.expires_at - house.ports.clock.now()).total_seconds()
    later(house, left_s + ACTED_ON_S_MAX)
    ended = await flow.settle(house.ports, record.request.action_id)
    assert ended is not None
    assert ended.state is ActionState.REFUSED
    assert house.executor.amounts() == []
    assert await house.held() == 0
    entries = await house.entries(record.request.action_id)
    assert entries[-1]["detail"]["code"] == "approval_lapsed"

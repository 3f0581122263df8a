"""What a hijacked agent did is taken back in a person's name, after it was revoked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import explain, flow, sweeper
from broker.api.actions import own_action, own_actions
from broker.approving import asking
from broker.approving.voting import card
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny, Escalate
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ConflictError, ForbiddenError, NotFoundError
from broker.undo import undo
from tests.support.approvals.voters import (
    approve,
    change_person,
    change_row,
    voter,
)
from tests.support.flow.house import AGENT_ID, PEOPLE
from tests.support.flow.unknowns import later

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from tests.support.flow.house import House

WHY = "the agent was hijacked"
ALICE = f"person:{PEOPLE['alice']}"


async def refunded(house: House, amount: int = 1_000) -> str:
    interaction = await house.interaction()
    await house.read_order(interaction)
    answer = await flow.submit(house.ports, house.refund(interaction, amount))
    assert answer.record is not None
    assert answer.record.state is ActionState.DONE
    return answer.record.request.action_id


async def end_agent(house: House, status: str = "revoked", **more: Any) -> None:
    row = await house.registry.get("agent", AGENT_ID)
    assert row is not None
    await change_row(house, row, status=status, **more)
    await house.revoke(f"agent:{AGENT_ID}")


async def ordered(house: House, action_id: str, who: str = "alice") -> ActionRecord:
    answer = await undo(house.ports, voter(house, who), action_id, reason=WHY)
    assert answer.record is not None, answer.decision
    return answer.record


async def settled(house: House, record: ActionRecord) -> ActionState:
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    return done.state


@pytest.mark.parametrize("status", ["suspended", "revoked"])
async def test_what_an_agent_did_is_taken_back_after_it_was_stopped(
    house: House, status: str
) -> None:
    first = await refunded(house)
    interaction = await house.interaction()
    await end_agent(house, status)
    again = await flow.submit(house.ports, house.refund(interaction, 500))
    assert isinstance(again.decision, Deny)
    record = await ordered(house, first)
    assert record.state is ActionState.PENDING_APPROVAL
    await sweeper.revoked(house.ports)
    await approve(house, "bob", record.approval_id)
    await sweeper.revoked(house.ports)
    assert await settled(house, record) is ActionState.DONE
    [warrant] = house.executor.reversed
    assert warrant.person_id == PEOPLE["alice"]
    assert {scope for scope, _ in warrant.epochs} == {"global:dev", ALICE}
    decision, *_ = await house.entries(record.request.action_id)
    assert decision["detail"]["ordered_by"] == ALICE


async def test_an_order_goes_on_when_the_agent_is_revoked_in_the_middle(
    house: House,
) -> None:
    first = await refunded(house)
    record = await ordered(house, first)
    await approve(house, "bob", record.approval_id)
    await end_agent(house)
    await sweeper.revoked(house.ports)
    assert await settled(house, record) is ActionState.DONE
    assert len(house.executor.reversed) == 1


async def test_an_order_ends_with_the_person_who_gave_it(house: House) -> None:
    first = await refunded(house)
    await end_agent(house)
    record = await ordered(house, first)
    await approve(house, "bob", record.approval_id)
    await house.revoke(ALICE)
    assert await settled(house, record) is ActionState.REFUSED
    second = await ordered(house, first, "carol")
    await house.revoke(f"person:{PEOPLE['carol']}")
    await sweeper.revoked(house.ports)
    ended = await house.ports.store.action(second.request.action_id)
    assert ended is not None
    assert (ended.state, house.executor.reversed) == (ActionState.REFUSED, [])


@pytest.mark.parametrize("lost", [{"status": "suspended"}, {"roles": ["owner"]}])
async def test_an_order_is_not_executed_for_whoever_may_not_give_it_any_more(
    house: House, lost: dict[str, Any]
) -> None:
    first = await refunded(house)
    record = await ordered(house, first)
    await approve(house, "bob", record.approval_id)
    # Their row alone, as if the epoch's move had been lost.
    await change_person(house, "alice", **lost)
    assert await settled(house, record) is ActionState.REFUSED
    entries = await house.entries(record.request.action_id)
    assert entries[-1]["detail"]["code"] == "orderer_inactive"
    assert house.executor.reversed == []


async def test_neither_who_ordered_it_nor_the_agents_owner_signs_it(
    house: House,
) -> None:
    first = await refunded(house)
    await end_agent(house, owner=PEOPLE["bob"])
    record = await ordered(house, first)
    for who in ("alice", "bob"):
        with pytest.raises(ForbiddenError):
            await approve(house, who, record.approval_id)


async def test_no_agent_sees_answers_or_withdraws_what_a_person_ordered(
    house: House,
) -> None:
    first = await refunded(house)
    record = await ordered(house, first)
    agent, mine = house.caller(), record.request.action_id
    assert (await own_action(house.ports, agent, first)).request.action_id == first
    with pytest.raises(NotFoundError):
        await own_action(house.ports, agent, mine)
    seen = await own_actions(house.ports, agent, limit=50)
    assert mine not in {one.request.action_id for one in seen}
    with pytest.raises(ConflictError, match="no agent answers"):
        await asking.ask(house.ports, voter(house, "bob"), record.approval_id, "Why?")
    shown = (await card(house.ports, voter(house, "bob"), record.approval_id))["asked"]
    assert (shown["ordered_by"], shown["takes_back"]) == (PEOPLE["alice"], first)


async def test_what_the_agent_used_up_does_not_keep_it_from_being_taken_back(
    house: House,
) -> None:
    first = await refunded(house)
    await end_agent(house)
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE budget SET posted = 1000000000 WHERE scope ->> 'agent' = $1",
            AGENT_ID,
        )
    record = await ordered(house, first)
    assert record.state is ActionState.PENDING_APPROVAL


async def test_an_order_needs_neither_the_agents_grant_nor_its_open_conversation(
    house: House,
) -> None:
    first = await refunded(house)
    await end_agent(house, tools=["orders.get"], tier_max=1)
    async with house.admin() as owner:
        await owner.execute("UPDATE interaction SET closed_at = now()")
    later(house, 60)
    record = await ordered(house, first)
    assert record.state is ActionState.PENDING_APPROVAL


async def test_a_person_orders_nothing_with_a_token_that_was_voided(
    house: House,
) -> None:
    first = await refunded(house)
    await house.revoke(ALICE)
    answer = await undo(house.ports, voter(house, "alice"), first, reason=WHY)
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "revoked"
    bare = replace(voter(house, "bob"), expires_at=house.ports.clock.now())
    answer = await undo(house.ports, bare, first, reason=WHY)
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "token_expired"


async def test_all_that_was_paid_is_refunded_and_taken_back(house: House) -> None:
    house.executor.paid = 1_000
    first = await refunded(house, 1_000)
    record = await ordered(house, first)
    await approve(house, "bob", record.approval_id)
    assert await settled(house, record) is ActionState.DONE


async def test_a_new_policy_carries_an_order_although_the_agent_was_revoked(
    house: House,
) -> None:
    first = await refunded(house)
    await end_agent(house)
    record = await ordered(house, first)
    row = await house.registry.get("policy", "main")
    assert row is not None
    await change_row(house, row, version=int(row.body["version"]) + 1)
    explained = await explain.explained(
        house.ports, await explain.of_action(house.ports, record.request.action_id)
    )
    assert isinstance(explained.decision, Escalate)
    await sweeper.outdated(house.ports)
    await approve(house, "bob", record.approval_id)
    assert await settled(house, record) is ActionState.DONE
    kinds = [one["kind"] for one in await house.entries(record.request.action_id)]
    assert EntryKind.CARRIED in kinds

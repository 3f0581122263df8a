"""Agents that act on each other's authority, on the whole path and a real database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from broker import flow, sweeper
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny
from broker.core.words.errors import ForbiddenError
from broker.core.words.subject import Epochs, Grant
from broker.undo import undo
from tests.support.approvals.voters import (
    LARGE,
    PAID_PLENTY,
    approve,
    change_row,
    voter,
)
from tests.support.flow.house import AGENT_ID, PEOPLE, put_row
from tests.support.identities import key_of

if TYPE_CHECKING:
    from broker.case import Ask
    from tests.support.flow.house import House

CHILD_ID = "0197a000-0000-7000-8000-00000000a002"
PARENT, CHILD = f"agent:{AGENT_ID}", f"agent:{CHILD_ID}"
SMALL = 2_500


async def change_agent(house: House, agent_id: str, **fields: Any) -> None:
    """Put the next revision of an agent, without any epoch moving."""
    row = await house.registry.get("agent", agent_id)
    assert row is not None
    await change_row(house, row, **fields)


@pytest_asyncio.fixture
async def family(house: House) -> House:
    """Return a house in which the agent may delegate to another one."""
    row = await house.registry.get("agent", AGENT_ID)
    assert row is not None
    body = dict(row.body) | {
        "name": "helper",
        "owner": PEOPLE["bob"],
        "keys": [],
    }
    await put_row(house, "agent", CHILD_ID, body)
    await change_agent(house, AGENT_ID, delegates=[CHILD_ID])
    house.executor.paid = PAID_PLENTY
    return house


def by_child(house: House, ask: Ask, **changes: Any) -> Ask:
    """Return what an agent asks for as the other agent would, on its authority."""
    fields: dict[str, Any] = {
        "subject_id": CHILD_ID,
        "instance_id": "i2",
        "kid": key_of("helper").kid,
        "principal": PARENT,
        "actors": (CHILD,),
        "epochs": Epochs(
            (
                ("global:dev", 0),
                (PARENT, 0),
                (CHILD, 0),
                ("instance:i1", 0),
                ("grant:g1", 0),
                ("grant:link", 0),
            )
        ),
    }
    return replace(ask, caller=house.caller(**fields | changes))


async def submitted(house: House, ask: Ask) -> flow.Answer:
    return await flow.submit(house.ports, ask)


async def test_a_child_acts_in_its_parents_interaction_and_the_record_names_both(
    family: House,
) -> None:
    where = await family.interaction()
    asked = by_child(family, family.ask("customers.get", where))
    answer = await submitted(family, asked)
    assert answer.record is not None
    assert answer.record.state is ActionState.DONE
    stored = await family.ports.store.action(answer.record.request.action_id)
    assert stored is not None
    assert (stored.requester.principal, stored.requester.actors) == (PARENT, (CHILD,))
    assert set(stored.requester.barred) == {PEOPLE["olivia"]}
    for entry in await family.entries(stored.request.action_id):
        assert entry["context"]["agent"] == CHILD_ID
        assert entry["detail"]["delegation"] == {
            "principal": PARENT,
            "actors": [CHILD],
        }


async def test_a_child_has_no_interaction_of_its_own_under_its_parents_authority(
    family: House,
) -> None:
    mine = await family.interaction(agent=CHILD_ID)
    answer = await submitted(
        family, by_child(family, family.ask("customers.get", mine))
    )
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "no_such_interaction"


async def test_what_a_child_takes_counts_for_its_parent_as_well(family: House) -> None:
    """Nobody gets a second budget by delegating: both must have room, both pay."""
    where = await family.interaction()
    await family.read_order(where)
    answer = await submitted(family, by_child(family, family.refund(where, LARGE)))
    assert answer.record is not None
    assert answer.record.state is ActionState.PENDING_APPROVAL, answer
    async with family.admin() as owner:
        rows = await owner.fetch(HELD, LARGE)
    assert {row["agent"] for row in rows} == {AGENT_ID, CHILD_ID}


async def test_an_agent_has_no_more_room_through_its_children(family: House) -> None:
    """What its children hold is held of its own: one room, however it is asked for."""
    where = await family.interaction()
    await family.read_order(where)
    limit = next(
        rule.limit
        for rule in (await family.ports.authority.policy()).budgets
        if rule.rule_id == "agent-day"
    )
    assert limit is not None
    async with family.admin() as owner:
        await submitted(family, family.refund(where, LARGE, key="first"))
        # As if the parent had spent its day but for less than one more refund.
        await owner.execute(SPENT, limit - 2 * LARGE + 1, AGENT_ID)
    ask = family.refund(where, LARGE, key="second")
    for one in (ask, by_child(family, ask)):
        answer = await submitted(family, one)
        assert isinstance(answer.decision, Deny), answer
        assert {r.code for r in answer.decision.reasons} & {
            "over_budget",
            "forbidden_by_rule",
        }


async def test_the_same_call_through_parent_and_child_is_one_action(
    family: House,
) -> None:
    where = await family.interaction()
    await family.read_order(where)
    ask = family.refund(where, LARGE)
    first = await submitted(family, ask)
    second = await submitted(family, by_child(family, ask))
    assert first.record is not None
    assert second.record is not None
    assert second.repeated
    assert second.record.request.action_id == first.record.request.action_id


async def test_a_count_is_used_up_by_whoever_acts_under_it(family: House) -> None:
    where = await family.interaction()
    counts = (("g1", 2),)
    ask = family.ask("customers.get", where)
    mine = replace(ask, caller=family.caller(counts=counts))
    theirs = by_child(family, ask, counts=(*counts, ("link", 9)))
    assert (await submitted(family, mine)).record is not None
    assert (await submitted(family, theirs)).record is not None
    for spent in (mine, theirs):
        answer = await submitted(family, spent)
        assert isinstance(answer.decision, Deny)
        assert answer.decision.reasons[0].rule == "token_count"


@pytest.mark.parametrize(
    ("grant", "code"),
    [
        (Grant(tier_max=2), "above_token_grant"),
        (Grant(amount_max_minor_units=SMALL - 1, currency="USD"), "above_token_grant"),
        (Grant(customer_ref="somebody-else"), "other_customer"),
    ],
)
async def test_what_the_token_does_not_cover_is_not_asked_of_anybody(
    family: House, grant: Grant, code: str
) -> None:
    where = await family.interaction()
    await family.read_order(where)
    ask = by_child(family, family.refund(where, SMALL), grant=grant)
    answer = await submitted(family, ask)
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == code


async def test_a_tool_that_the_parent_lost_is_not_there_for_its_child(
    family: House,
) -> None:
    where = await family.interaction()
    await change_agent(family, AGENT_ID, tools=["orders.get"])
    with pytest.raises(ForbiddenError):
        await submitted(family, by_child(family, family.ask("customers.get", where)))


async def test_a_ceiling_of_the_parent_is_its_childs_ceiling(family: House) -> None:
    where = await family.interaction()
    await family.read_order(where)
    await change_agent(family, AGENT_ID, tier_max=2)
    answer = await submitted(family, by_child(family, family.refund(where, SMALL)))
    assert isinstance(answer.decision, Deny)
    assert answer.decision.reasons[0].code == "tier_above_ceiling"


async def test_a_standing_approval_covers_a_chain_only_if_it_names_all_of_it(
    family: House,
) -> None:
    """The one of the demo names the parent: its child waits for a person."""
    where = await family.interaction()
    await family.read_order(where)
    answer = await submitted(family, by_child(family, family.refund(where, SMALL)))
    assert answer.record is not None
    assert answer.record.state is ActionState.PENDING_APPROVAL


async def test_neither_owner_nor_the_employee_at_the_end_may_sign(
    family: House,
) -> None:
    """The child's owner is bob, the parent's olivia; alice lent the authority."""
    where = await family.interaction()
    await family.read_order(where)
    chain = {"principal": f"person:{PEOPLE['alice']}", "actors": (CHILD, PARENT)}
    answer = await submitted(
        family, by_child(family, family.refund(where, LARGE), **chain)
    )
    assert answer.record is not None
    for name in ("alice", "bob"):
        with pytest.raises(ForbiddenError):
            await approve(family, name, answer.record.approval_id)
    stored = await family.ports.store.action(answer.record.request.action_id)
    assert stored is not None
    assert stored.state is ActionState.PENDING_APPROVAL


@pytest.mark.parametrize(
    "scope", [PARENT, "instance:i1", "grant:g1", "grant:link", CHILD, "global:dev"]
)
async def test_what_a_child_has_pending_ends_with_anybody_above_it(
    family: House, scope: str
) -> None:
    where = await family.interaction()
    await family.read_order(where)
    answer = await submitted(family, by_child(family, family.refund(where, LARGE)))
    assert answer.record is not None
    await family.revoke(scope)
    await sweeper.revoked(family.ports)
    stored = await family.ports.store.action(answer.record.request.action_id)
    assert stored is not None
    assert stored.state is ActionState.REFUSED
    assert await family.held() == 0


async def test_an_approved_action_is_not_executed_once_a_link_is_gone(
    family: House,
) -> None:
    """Also where somebody took the permission away and no epoch moved."""
    where = await family.interaction()
    await family.read_order(where)
    answer = await submitted(family, by_child(family, family.refund(where, LARGE)))
    assert answer.record is not None
    await approve(family, "alice", answer.record.approval_id)
    await change_agent(family, AGENT_ID, delegates=[])
    done = await flow.settle(family.ports, answer.record.request.action_id)
    assert done is not None
    assert done.state is ActionState.REFUSED
    assert done.outcome is not None
    assert done.outcome.code == "chain_broken"
    assert LARGE not in family.executor.amounts()


HELD = """
SELECT scope ->> 'agent' AS agent FROM budget
 WHERE rule_id = 'agent-day' AND held = $1
"""
SPENT = """
UPDATE budget SET posted = posted + $1, version = version + 1
 WHERE rule_id = 'agent-day' AND scope ->> 'agent' = $2
"""


async def test_what_was_done_through_a_chain_is_taken_back_by_none_who_had_a_part(
    family: House,
) -> None:
    where = await family.interaction()
    await family.read_order(where)
    answer = await submitted(family, by_child(family, family.refund(where, LARGE)))
    assert answer.record is not None
    await approve(family, "alice", answer.record.approval_id)
    first = answer.record.request.action_id
    await flow.settle(family.ports, first)
    await family.revoke(CHILD)
    await change_agent(family, CHILD_ID, status="revoked")
    asked = await undo(family.ports, voter(family, "carol"), first, reason="hijacked")
    assert asked.record is not None, asked
    assert asked.record.state is ActionState.PENDING_APPROVAL
    # Bob owns the agent that did it, and Olivia the one that lent it the authority.
    assert {PEOPLE["carol"], PEOPLE["olivia"]} <= {*asked.record.requester.barred}
    with pytest.raises(ForbiddenError):
        await approve(family, "bob", asked.record.approval_id)
    await approve(family, "alice", asked.record.approval_id)
    done = await flow.settle(family.ports, asked.record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE

"""Executing exactly once: crashes, races, lost answers, revocations."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broker import flow, sweeper
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny, Permit
from broker.core.words.errors import (
    ConflictError,
    ExecutorUnavailableError,
    LedgerUnavailableError,
)
from broker.core.words.subject import Epochs
from broker.registry.records import Change
from tests.support.approvals.voters import LARGE, approve, large_refund
from tests.support.flow.house import AGENT_ID, House
from tests.support.flow.unknowns import later


async def test_fifty_equal_calls_at_once_are_one_action_and_one_refund(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    answers = await asyncio.gather(
        *(flow.submit(house.ports, house.refund(interaction, 1_000)) for _ in range(50))
    )
    ids = {a.record.request.action_id for a in answers if a.record is not None}
    assert len(ids) == 1
    assert house.executor.amounts() == [1_000]


async def test_a_new_key_permits_an_intended_second_refund(house: House) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    await flow.submit(house.ports, house.refund(interaction, 1_000, key="a"))
    await flow.submit(house.ports, house.refund(interaction, 1_000, key="b"))
    await flow.submit(house.ports, house.refund(interaction, 1_000, key="a"))
    assert house.executor.amounts() == [1_000, 1_000]


async def test_one_key_for_two_different_calls_is_a_conflict(house: House) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    await flow.submit(house.ports, house.refund(interaction, 1_000, key="a"))
    with pytest.raises(ConflictError):
        await flow.submit(house.ports, house.refund(interaction, 1_001, key="a"))
    assert house.executor.amounts() == [1_000]


async def test_an_executor_that_is_down_leaves_nothing_held_and_no_trace_of_the_call(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.down = True
    with pytest.raises(ExecutorUnavailableError):
        await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert await house.held() == 0
    house.executor.down = False
    answer = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert not answer.repeated
    assert house.executor.amounts() == [1_000]


async def test_an_upstream_that_does_not_answer_leaves_the_money_held_and_unknown(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.fault = "no_answer"
    answer = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert answer.record is not None
    assert answer.record.state is ActionState.UNKNOWN
    assert await house.held() == 1_000
    again = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert again.repeated
    assert len([w for w in house.executor.runs if w.tool == "orders.refund"]) == 1


async def test_a_lost_answer_is_found_again_in_the_edges_journal(house: House) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.fault = "lost"
    answer = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert answer.record is not None
    assert answer.record.state is ActionState.EXECUTING
    await house.lapse()
    record = await flow.settle(house.ports, answer.record.request.action_id)
    assert record is not None
    assert record.state is ActionState.DONE
    assert house.executor.amounts() == [1_000]
    assert await house.posted() == 1_000


async def end_agent(house: House) -> None:
    """Store a revision of the agent's row that says that it is revoked."""
    row = await house.registry.get("agent", AGENT_ID)
    assert row is not None
    body = dict(row.body) | {"status": "revoked"}
    change = Change("agent", AGENT_ID, body, row.by, row.at, row.revision)
    await house.registry.put(change, house.entry())


async def test_what_was_sent_is_recorded_though_the_agent_was_revoked_since(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.fault = "lost"
    answer = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert answer.record is not None
    await house.revoke(f"agent:{AGENT_ID}")
    await end_agent(house)
    await house.lapse()
    record = await flow.settle(house.ports, answer.record.request.action_id)
    assert record is not None
    assert record.state is ActionState.DONE
    assert (await house.posted(), await house.held()) == (1_000, 0)
    assert house.executor.amounts() == [1_000]


async def test_a_crash_before_sending_is_resumed_with_a_new_warrant(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.dies = True
    with pytest.raises(asyncio.CancelledError):
        await flow.submit(house.ports, house.refund(interaction, 1_000))
    house.executor.dies = False
    await house.lapse()
    [action_id] = await house.ports.store.interrupted(limit=10)
    records = await asyncio.gather(
        *(flow.settle(house.ports, action_id) for _ in range(5))
    )
    assert {r.state for r in records if r} >= {ActionState.DONE}
    assert house.executor.amounts() == [1_000]


async def test_a_yes_is_not_lost_because_nothing_could_be_sent_at_that_moment(
    house: House,
) -> None:
    record = await large_refund(house)
    action_id = record.request.action_id
    await approve(house, "alice", record.approval_id)
    house.executor.fault = "before_send"
    for _ in range(3):
        left = await flow.settle(house.ports, action_id)
        assert left is not None
        assert left.state is ActionState.EXECUTING
        assert await house.held() == LARGE
        await house.lapse()
    house.executor.fault = ""
    done = await flow.settle(house.ports, action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    assert house.executor.amounts() == [LARGE]
    warrants = [w.warrant_id for w in house.executor.runs if w.action_id == action_id]
    assert len({*warrants}) == len(warrants) == 4


async def test_once_the_approval_has_expired_nothing_is_tried_any_more(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    house.executor.fault = "before_send"
    await flow.settle(house.ports, record.request.action_id)
    await house.lapse()
    assert record.expires_at is not None
    left = record.expires_at - house.ports.clock.now()
    later(house, left.total_seconds() + 60)
    failed = await flow.settle(house.ports, record.request.action_id)
    assert failed is not None
    assert failed.state is ActionState.FAILED
    assert (await house.held(), await house.posted()) == (0, 0)


async def test_a_revocation_between_decision_and_execution_stops_it(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.dies = True
    with pytest.raises(asyncio.CancelledError):
        await flow.submit(house.ports, house.refund(interaction, 1_000))
    house.executor.dies = False
    await house.revoke(f"agent:{AGENT_ID}")
    await house.lapse()
    [action_id] = await house.ports.store.interrupted(limit=10)
    record = await flow.settle(house.ports, action_id)
    assert record is not None
    assert record.state is ActionState.REFUSED
    assert record.outcome is not None
    assert record.outcome.code == "revoked"
    assert house.executor.amounts() == []
    assert await house.held() == 0


async def test_a_revoked_agent_is_denied_and_its_waiting_actions_end(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    waiting = await flow.submit(house.ports, house.refund(interaction, 20_000))
    await house.revoke(f"agent:{AGENT_ID}")
    denied = await flow.submit(house.ports, house.refund(interaction, 100))
    assert isinstance(denied.decision, Deny)
    assert denied.decision.reasons[0].code == "revoked"
    await sweeper.revoked(house.ports)
    assert waiting.record is not None
    after = await house.ports.store.action(waiting.record.request.action_id)
    assert after is not None
    assert after.state is ActionState.REFUSED
    assert await house.held() == 0


@pytest.mark.parametrize(("hours", "fresh"), [(-1, True), (0.05, False)])
async def test_a_wrong_clock_neither_ends_nor_saves_what_waits(
    house: House,
    hours: float,
    fresh: bool,  # noqa: FBT001
) -> None:
    scope = f"agent:{AGENT_ID}"
    interaction = await house.interaction()
    await house.read_order(interaction)
    ask = house.refund(interaction, 20_000)
    if fresh:
        await house.revoke(scope)
        again = Epochs((("global:dev", 0), (scope, 1)))
        ask = replace(ask, caller=house.caller(epochs=again))
    waiting = await flow.submit(house.jumped(hours), ask)
    assert waiting.record is not None
    if not fresh:
        await house.revoke(scope)
    await sweeper.revoked(house.ports)
    after = await house.ports.store.action(waiting.record.request.action_id)
    assert after is not None
    ended = after.state is ActionState.REFUSED
    assert ended is not fresh


async def test_nothing_is_decided_while_the_signer_is_away(house: House) -> None:
    interaction = await house.interaction()
    house.keeper.error = LedgerUnavailableError("the signer is away")
    with pytest.raises(LedgerUnavailableError):
        await flow.submit(house.ports, house.ask("customers.get", interaction))
    assert house.executor.runs == []


async def test_two_hundred_calls_of_a_hijacked_agent_move_no_more_than_was_signed_for(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    asks = [
        house.refund(interaction, 100 + 37 * n % 4_900, key=f"k{n}") for n in range(200)
    ]
    for batch in range(0, 200, 20):
        await asyncio.gather(
            *(flow.submit(house.ports, ask) for ask in asks[batch : batch + 20])
        )
    assert sum(house.executor.amounts()) <= 20_000


async def test_a_token_that_was_narrowed_to_a_cap_cannot_ask_for_more(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    caller = house.caller()
    grant = replace(caller.grant, amount_max_minor_units=500, currency="USD")
    narrowed = replace(caller, grant=grant)
    over = await flow.submit(
        house.ports, replace(house.refund(interaction, 501), caller=narrowed)
    )
    within = await flow.submit(
        house.ports, replace(house.refund(interaction, 500), caller=narrowed)
    )
    assert isinstance(over.decision, Deny)
    assert isinstance(within.decision, Permit)

"""Unknown outcomes: what the edge learns late is recorded, the rest is kept."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from broker import flow, sweeper
from broker.core.words.action import ActionState
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.warrant import SentState
from broker.effects.keeping.unknown import ASK_FIRST_S, ASK_PAUSE_S_MAX
from broker.registry.records import Change
from broker.unknown import again
from broker.unknown.again import ASKED_AT_ONCE_MAX, NOT_SENT_ALARM
from broker.unknown.reconcile import NEEDS_PERSON
from tests.support.flow.executor import answered
from tests.support.flow.house import AGENT_ID
from tests.support.flow.unknowns import (
    Declared,
    agree,
    pass_pause,
    ports_of,
    unclear_refund,
)

if TYPE_CHECKING:
    from tests.support.flow.house import House


async def state_of(house: House, action_id: str) -> ActionState:
    found = await house.ports.store.action(action_id)
    assert found is not None
    return found.state


async def asked(house: House) -> None:
    """Let the pause pass, and sweep."""
    await pass_pause(house)
    await sweeper.unclear(house.ports)


async def kinds(house: House, action_id: str) -> list[str]:
    return [entry["kind"] for entry in await house.entries(action_id)]


async def test_an_answer_that_the_edge_learned_late_resolves_the_action_by_itself(
    house: House,
) -> None:
    action_id = await unclear_refund(house, 1_000)
    answered(house.executor, action_id, amount=1_000)
    await asked(house)
    assert await state_of(house, action_id) is ActionState.DONE
    assert (await house.held(), await house.posted()) == (0, 1_000)
    last = (await house.entries(action_id))[-1]
    assert last["kind"] == EntryKind.RESOLVED
    assert last["detail"]["outcome"] == "done"
    assert last["detail"]["posted_minor_units"] == 1_000
    assert len([w for w in house.executor.runs if w.tool == "orders.refund"]) == 1
    await agree(house)


async def test_the_sweeper_asks_by_itself(house: House) -> None:
    action_id = await unclear_refund(house, 1_000)
    answered(house.executor, action_id, amount=1_000)
    await pass_pause(house)
    sweeping = asyncio.create_task(sweeper.sweep_for_ever(house.ports))
    try:
        async with asyncio.timeout(10 * sweeper.SWEEP_EVERY_S):
            while await house.held():  # noqa: ASYNC110  (nothing tells)
                await asyncio.sleep(0.05)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
    assert await state_of(house, action_id) is ActionState.DONE


async def test_a_late_answer_counts_though_the_agent_was_revoked_since(
    house: House,
) -> None:
    action_id = await unclear_refund(house, 1_000)
    await house.revoke(f"agent:{AGENT_ID}")
    row = await house.registry.get("agent", AGENT_ID)
    assert row is not None
    body = dict(row.body) | {"status": "revoked"}
    change = Change("agent", AGENT_ID, body, row.by, row.at, row.revision)
    await house.registry.put(change, house.entry())
    answered(house.executor, action_id, amount=900)
    await asked(house)
    assert await state_of(house, action_id) is ActionState.DONE
    assert (await house.held(), await house.posted()) == (0, 900)
    await agree(house)


async def test_a_late_refusal_gives_the_money_back(house: House) -> None:
    action_id = await unclear_refund(house, 1_000)
    answered(house.executor, action_id, status=422)
    await asked(house)
    assert await state_of(house, action_id) is ActionState.FAILED
    assert (await house.held(), await house.posted()) == (0, 0)
    await agree(house)


@pytest.mark.parametrize("status", [None, 500])
async def test_what_stays_unclear_stays_unknown_and_held(
    house: House, status: int | None
) -> None:
    Declared(house)
    action_id = await unclear_refund(house, 1_000)
    if status is not None:
        answered(house.executor, action_id, status=status)
    before = await kinds(house, action_id)
    await asked(house)
    assert await state_of(house, action_id) is ActionState.UNKNOWN
    assert (await house.held(), await house.posted()) == (1_000, 0)
    assert await kinds(house, action_id) == [
        *before,
        EntryKind.LOOKED_UP,
        EntryKind.ALARM,
    ]
    [open_] = await house.ports.unknown.listed(limit=10)
    assert open_.edge_said == ("sent" if status is None else f"answered {status}")
    await agree(house)


async def test_not_sent_after_sent_voids_nothing_and_raises_one_alarm(
    house: House,
) -> None:
    Declared(house)
    action_id = await unclear_refund(house, 1_000)
    # As an edge says whose journal was lost.
    house.executor.receipts.clear()
    for _ in range(2):
        await asked(house)
    assert await state_of(house, action_id) is ActionState.UNKNOWN
    assert (await house.held(), await house.posted()) == (1_000, 0)
    entries = await house.entries(action_id)
    alarms = [e["detail"]["alarm"] for e in entries if e["kind"] == EntryKind.ALARM]
    assert alarms == [NOT_SENT_ALARM, NEEDS_PERSON]
    [open_] = await house.ports.unknown.listed(limit=10)
    assert open_.edge_said == SentState.NOT_SENT
    assert NOT_SENT_ALARM in open_.alarms
    await agree(house)


async def test_pauses_grow_up_to_a_most_and_while_nobody_is_there_they_do_not(
    house: House,
) -> None:
    await unclear_refund(house, 1_000)
    await sweeper.unclear(house.ports)
    assert await pause_s(house) is None, "it was asked before its first pause passed"
    await pass_pause(house)
    house.executor.down = True
    with pytest.raises(ExecutorUnavailableError):
        await again.due(house.ports)
    house.executor.down = False
    pauses = []
    for _ in range(14):
        assert len(await again.due(house.ports)) == 1
        assert await again.due(house.ports) == []
        pauses.append(await pause_s(house))
        await pass_pause(house)
    assert pauses[:3] == [2 * ASK_FIRST_S, 4 * ASK_FIRST_S, 8 * ASK_FIRST_S]
    assert pauses[-1] == ASK_PAUSE_S_MAX


async def pause_s(house: House) -> int | None:
    sql = "SELECT round(extract(epoch FROM ask_at - now())) FROM action WHERE asks > 0"
    value = await house.database.value(sql)
    return None if value is None else int(value)


async def test_one_sweep_asks_about_so_many_and_two_replicas_about_different_ones(
    house: House,
) -> None:
    ids = {await unclear_refund(house, 100 + n) for n in range(ASKED_AT_ONCE_MAX + 1)}
    await pass_pause(house)
    first, second = await asyncio.gather(
        again.due(house.ports), again.due(ports_of(house, "broker-1"))
    )
    assert max(len(first), len(second)) <= ASKED_AT_ONCE_MAX
    assert not {*first} & {*second}
    rest = await again.due(house.ports)
    assert {*first, *second, *rest} == ids


async def test_an_action_that_was_resolved_meanwhile_is_left_alone(
    house: House,
) -> None:
    action_id = await unclear_refund(house, 1_000)
    answered(house.executor, action_id, amount=1_000)
    both = await asyncio.gather(
        *(again.ask_again(house.ports, action_id) for _ in range(2))
    )
    assert sorted(both) == [again.Found.GONE, again.Found.RESOLVED]
    assert (await kinds(house, action_id)).count(EntryKind.RESOLVED) == 1
    assert await house.posted() == 1_000
    settled = await flow.settle(house.ports, action_id)
    assert settled is not None
    assert settled.state is ActionState.DONE

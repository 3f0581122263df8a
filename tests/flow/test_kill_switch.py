"""While the kill switch is on nothing is decided, executed or left to wait."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from broker import flow, sweeper
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny
from broker.registry.emergency.kill_switch import (
    KIND,
    ROW_ID,
    KillSwitch,
    kill_switch_body,
)
from broker.registry.records import Change
from tests.support.approvals.voters import approve, large_refund, state_of

if TYPE_CHECKING:
    from broker.flow import Answer
    from tests.support.flow.house import House

HOLDS_S_MAX = 1.0


async def turn(house: House, *, on: bool, scope: str = "") -> None:
    """Store a revision of the switch, as the API does for those who may."""
    row = await house.registry.get(KIND, ROW_ID)
    change = Change(
        KIND,
        ROW_ID,
        kill_switch_body(KillSwitch(on=on)),
        ("person:carol",),
        house.ports.clock.now(),
        row.revision if row else 0,
        revokes=(scope,) if scope else (),
    )
    await house.registry.put(change, house.entry())


def denied(answer: Answer) -> str:
    assert isinstance(answer.decision, Deny)
    return answer.decision.reasons[0].code


async def test_no_agent_reads_or_acts_until_it_is_lifted(house: House) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    await turn(house, on=True)
    runs = len(house.executor.runs)
    for ask in (
        house.ask("customers.get", interaction),
        house.refund(interaction, 1_000),
    ):
        assert denied(await flow.submit(house.ports, ask)) == "stopped"
        assert denied(await flow.decide(house.ports, ask)) == "stopped"
    assert len(house.executor.runs) == runs
    await turn(house, on=False)
    answer = await flow.submit(house.ports, house.refund(interaction, 1_000))
    assert answer.record is not None
    assert answer.record.state is ActionState.DONE


async def test_what_was_approved_before_is_not_executed_while_it_is_on(
    house: House,
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    began = time.monotonic()
    await turn(house, on=True)
    after = await flow.settle(house.ports, record.request.action_id)
    assert time.monotonic() - began < HOLDS_S_MAX
    assert after is not None
    assert after.state is ActionState.REFUSED
    assert after.outcome is not None
    assert after.outcome.code == "stopped"
    assert house.executor.amounts() == []
    assert await house.held() == 0


async def test_what_waits_for_people_is_refused_by_the_sweep(house: House) -> None:
    records = [await large_refund(house, 6_000 + number) for number in range(3)]
    environment = records[0].environment
    await turn(house, on=True, scope=f"global:{environment}")
    await sweeper.revoked(house.ports)
    states = await asyncio.gather(*(state_of(house, record) for record in records))
    assert set(states) == {ActionState.REFUSED}
    assert await house.held() == 0


async def test_a_row_that_somebody_wrote_stops_nobody_and_lifts_nothing(
    house: House,
) -> None:
    interaction = await house.interaction()
    async with house.admin() as owner:
        insert = (
            "INSERT INTO authority (kind, id, revision, jws) SELECT $1, $2, $3, jws"
            " FROM authority WHERE kind = 'policy' LIMIT 1"
        )
        await owner.execute(insert, KIND, ROW_ID, 1)
    ask = house.ask("customers.get", interaction)
    assert not isinstance((await flow.submit(house.ports, ask)).decision, Deny)
    await turn(house, on=True)
    async with house.admin() as owner:
        await owner.execute(insert, KIND, ROW_ID, 99)
    assert denied(await flow.submit(house.ports, ask)) == "stopped"

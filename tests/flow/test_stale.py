"""Totals that move between the decision and its recording: read and decide again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.core.words.action import ActionState
from broker.core.words.decision import Deny, Escalate, Permit
from broker.flow import DECISIONS_MAX
from broker.ports import Stored, StoredWord
from tests.support.flow.house import House

if TYPE_CHECKING:
    from broker.ports import NewAction, Store


@dataclass
class MovingStore:
    """A store that says of the first ``stale`` actions that their totals moved."""

    store: Store
    stale: int
    word: StoredWord = StoredWord.STALE
    over: tuple[str, ...] = ()
    offered: list[NewAction] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def submit(self, new: NewAction) -> Stored:
        self.offered.append(new)
        if len(self.offered) <= self.stale:
            return Stored(self.word, new.record.request.action_id, self.over)
        return await self.store.submit(new)


async def refund_with(house: House, stale: int, **fault: Any) -> tuple[Any, Any]:
    """Ask for a refund that a standing approval covers; return answer and store."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    moving = MovingStore(house.ports.store, stale, **fault)
    ports = replace(house.ports, store=moving)
    return await flow.submit(ports, house.refund(interaction, 2_500)), moving


@pytest.mark.parametrize("stale", range(DECISIONS_MAX))
async def test_an_action_is_decided_again_until_the_totals_stand_still(
    house: House, stale: int
) -> None:
    answer, moving = await refund_with(house, stale)
    assert isinstance(answer.decision, Permit)
    assert answer.record.state is ActionState.DONE
    assert len(moving.offered) == stale + 1
    assert house.executor.amounts() == [2_500]
    assert await house.posted() == 2_500


async def test_totals_that_never_stand_still_end_in_a_denial_that_is_recorded(
    house: House,
) -> None:
    answer, moving = await refund_with(house, DECISIONS_MAX)
    assert isinstance(answer.decision, Deny)
    assert [reason.code for reason in answer.decision.reasons] == ["totals_moving"]
    # The last one offered is the denial itself.
    assert len(moving.offered) == DECISIONS_MAX + 1
    assert answer.record.state is ActionState.REFUSED
    kinds = [e["kind"] for e in await house.entries(answer.record.request.action_id)]
    assert kinds == ["authorize.decision"]
    assert house.executor.amounts() == []
    assert await house.held() == 0


async def test_a_standing_approval_that_somebody_used_up_meanwhile_is_read_again(
    house: House,
) -> None:
    interaction = await house.interaction()
    await house.read_order(interaction)
    offered: list[NewAction] = []

    class UsedUp(MovingStore):
        async def submit(self, new: NewAction) -> Stored:
            offered.append(new)
            if len(offered) == 1:
                # Another replica's four refunds come in between.
                for number in range(4):
                    ask = house.refund(interaction, 5_000, key=f"k{number}")
                    await flow.submit(house.ports, ask)
            return await self.store.submit(new)

    ports = replace(house.ports, store=UsedUp(house.ports.store, 0))
    answer = await flow.submit(ports, house.refund(interaction, 2_500))
    assert isinstance(answer.decision, Escalate)
    assert len(offered) == 2
    assert house.executor.amounts() == [5_000] * 4

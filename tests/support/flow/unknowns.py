"""Actions that were sent and got no clear answer, and the time that passes after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from broker import flow
from broker.core.jwk import Algorithm
from broker.core.words.action import ActionState
from broker.effects.limits.books import Books
from tests.support.identities import key_of

if TYPE_CHECKING:
    from broker.ports import Ports
    from tests.support.flow.house import House


async def unclear_refund(house: House, amount: int) -> str:
    """Ask for a refund that is sent and gets no answer; return its id."""
    interaction = await house.interaction()
    await house.read_order(interaction)
    house.executor.fault = "no_answer"
    answer = await flow.submit(house.ports, house.refund(interaction, amount))
    house.executor.fault = ""
    assert answer.record is not None
    assert answer.record.state is ActionState.UNKNOWN, answer
    return answer.record.request.action_id


async def pass_pause(house: House) -> None:
    """Let the pause before the next question pass, as time would."""
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE action SET ask_at = now() - interval '1 second'"
            " WHERE state = 'unknown'"
        )


def ports_of(house: House, replica: str) -> Ports:
    """Return the ports of another replica."""
    return replace(house.ports, replica=replica)


async def agree(house: House) -> None:
    """Require that budgets and the log say the same."""
    keeper: Any = house.keeper
    key = key_of("entry", Algorithm.EDDSA)
    books = Books(house.database, house.ledger, key=key, keeper=keeper)
    _, found = await books.compare()
    assert list(found) == []

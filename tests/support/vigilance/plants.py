"""Canaries on a house's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.approving import canaries
from broker.core.vigilance.scenes import Flaw, scene
from broker.effects.keeping.vigilance import PostgresVigil
from broker.effects.scribe import Scribe
from tests.support.flow.house import AGENT_ID

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from tests.support.flow.house import House


def vigil(house: House) -> PostgresVigil:
    scribe = house.ports.journal
    assert isinstance(scribe, Scribe)
    return PostgresVigil(house.database, house.registry, entries=scribe)


def seed_of(flaw: Flaw, *, below: int = 200_000, after: int = 0) -> str:
    """Return a seed whose canary has this flaw and needs one supervisor."""
    for number in range(after, after + 100_000):
        made = scene(f"seed-{number}")
        if made.flaw is flaw and 11_000 < made.arguments["amount_minor_units"] < below:
            return f"seed-{number}"
    raise AssertionError(flaw)


async def planted(
    house: House, flaw: Flaw = Flaw.OVER_PAID, *, after: int = 0, below: int = 90_000
) -> ActionRecord:
    """Plant a canary like the newest action of the house's agent."""
    seed = seed_of(flaw, below=below, after=after)
    action_id = await canaries.plant(
        house.ports, vigil(house), agent_id=AGENT_ID, seed=seed
    )
    assert action_id is not None
    found = await house.ports.store.action(action_id)
    assert found is not None
    return found

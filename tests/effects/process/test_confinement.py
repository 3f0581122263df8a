"""How connectors are confined is an entry; what they may not run without is Tier 3."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from broker.core.warrants.sandbox import Sandbox
from broker.core.words.effect import Tier
from broker.core.words.entry import AuditEntry
from broker.effects.process.confinement import Confinement

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class World:
    """A clock, ids, a shelf of two tools, a log and whoever hears alarms."""

    def __init__(self) -> None:
        self.logged: list[AuditEntry] = []
        self.alarms: list[str] = []

    def now(self) -> datetime:
        return NOW

    def new(self) -> str:
        return "e1"

    def tool(self, name: str) -> Any:
        tiers = {"read": Tier.INTERNAL, "pay": Tier.CONSEQUENTIAL}
        return SimpleNamespace(tier=tiers[name]) if name in tiers else None

    async def record(self, entry: AuditEntry) -> None:
        self.logged.append(entry)

    def confinement(self) -> Confinement:
        here: Any = self
        return Confinement(
            here,
            here,
            here,
            here,
            whose=("t", "dev", "b-0"),
            alarm=lambda word, _: self.alarms.append(word),
        )


async def test_what_the_runner_says_becomes_an_entry_of_this_installation():
    world = World()
    await world.confinement().record(Sandbox("strict", landlock_abi=6))
    (entry,) = world.logged
    assert entry.kind.value == "execute.sandbox"
    assert (entry.tenant, entry.environment, entry.replica) == ("t", "dev", "b-0")
    assert entry.detail["posture"] == "strict"
    assert world.alarms == []


async def test_a_sandbox_that_is_switched_off_is_recorded_and_raises_an_alarm():
    world = World()
    await world.confinement().record(Sandbox("off"))
    assert world.logged[0].detail["switched_off"] is True
    assert world.alarms == ["sandbox_switched_off"]


def test_a_tool_of_tier_3_and_one_that_nobody_knows_never_run_unconfined():
    known = World().confinement()
    assert not known.consequential("read")
    assert known.consequential("pay")
    assert known.consequential("unheard-of")

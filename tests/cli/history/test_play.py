"""A history is drawn from its seed alone, by the flow itself."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.cli.history.play import DAYS, SEED, History, World, played
from broker.cli.history.shop import Wish, visits
from broker.core.words.action import ENDED, ActionState
from broker.core.words.entry import PayloadRef
from broker.ports import PayloadDraft, Sealed

if TYPE_CHECKING:
    from collections.abc import Mapping


class OpenVault:
    """A vault in which everything can be read, and sealed the same each time."""

    async def seal(self, value: Mapping[str, Any], ref: PayloadDraft) -> Sealed:
        data = json.dumps(value, sort_keys=True).encode()
        sha256 = hashlib.sha256(data).hexdigest()
        made = PayloadRef(
            ref.payload_id,
            ref.subject,
            ref.purpose,
            ref.retention,
            ref.data_class,
            sha256,
        )
        return Sealed(made, data)

    async def keyed_hash(self, value: Any, *, subject: str, purpose: str) -> str:
        return hashlib.sha256(repr((value, subject, purpose)).encode()).hexdigest()

    def reference(self, *parts: str) -> str:
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@pytest.fixture
def open_world(world: World) -> World:
    """Return a world whose histories can be read."""
    return replace(world, vault=OpenVault())


def content(history: History) -> list[Any]:
    """Return everything that a history would leave behind."""
    kept = history.kept
    rows = [kept.interactions, kept.turns, kept.actions, kept.approvals, kept.votes]
    money = [history.money.taken, history.money.budgets()]
    return [*map(repr, (*rows, *money, kept.payloads, kept.entries))]


async def test_the_same_seed_gives_the_same_history_and_another_seed_another(
    open_world: World,
) -> None:
    one, same, other = [
        content(await played(open_world, seed=seed, days=2)) for seed in (5, 5, 6)
    ]
    assert one == same
    assert one != other


async def test_a_history_has_what_a_company_sees(open_world: World) -> None:
    history = await played(open_world, days=6)
    actions = history.kept.actions.values()
    states = Counter(row["state"] for row in actions)
    assert set(states) <= {state.value for state in ENDED}
    assert states[ActionState.DONE.value] > 150
    assert states[ActionState.REFUSED.value] > 3
    asked = Counter(row["state"] for row in history.kept.approvals.values())
    assert asked["approved"] > 20
    assert asked["rejected"] > 0
    decisions = Counter(row["decision"] for row in actions)
    assert set(decisions) == {"permit", "escalate", "deny"}
    held = [
        json.loads(one.data)
        for one in history.kept.payloads
        if one.ref.data_class == "request"
    ]
    assert any(one["findings"] for one in held)
    assert all(one["simulated"] and one["decided"] for one in held)
    assert all(row["dedupe"] is None for row in actions)
    assert not any(row["standing_approval"] for row in actions)


def test_sixty_days_are_drawn_and_end_before_today(world: World) -> None:
    midnight = world.loaded_at.replace(hour=0, minute=0, second=0, microsecond=0)
    coming = [*visits(world.shop, seed=SEED, first=midnight, days=DAYS)]
    assert len({visit.at.date() for visit in coming}) == DAYS
    assert {visit.wish for visit in coming} == set(Wish)
    assert 600 < len(coming) < 900

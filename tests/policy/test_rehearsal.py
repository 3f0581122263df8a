"""Replay and shadow on what really was recorded: nothing is lost or touched."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow, rehearsal, sweeper
from broker.core.words.action import ActionState
from broker.core.words.entry import AuditEntry, EntryKind
from broker.registry.policy.cedar_text import PolicyError
from broker.registry.records import Change
from broker.rehearsal import PAGE_MAX, SHADOW_LAG_S, SHADOW_PAGES_MAX, first_id
from broker.watch.replay import Flip, Tally
from tests.support.approvals.voters import LARGE, VERY_LARGE, large_refund
from tests.support.flow.house import AGENT_ID, ENVIRONMENT, PEOPLE, TENANT, House
from tests.support.policies import made_of, publish

if TYPE_CHECKING:
    from collections.abc import Mapping

SAME = made_of("rules.cedar", "", "// the same")
# The threshold between one supervisor and two, moved from 1,000.00 to 2,000.00.
WRONG = made_of("appetite.toml", '"1000.00"', '"2000.00"', every=True)
TWO_TO_ONE = Flip(
    "escalate 2 supervisor", "escalate 1 supervisor", "orders.refund", AGENT_ID, "USD"
)


async def busy_day(house: House) -> int:
    """Let an agent do a bit of everything; return how many actions were recorded."""
    await large_refund(house)
    await large_refund(house, VERY_LARGE)
    # To a card that nobody showed: a guard holds it.
    await large_refund(house, LARGE + 1, to="gift_card_1234567")
    interaction = await house.interaction()
    await house.read_order(interaction)
    for amount in (2_500, 600_000):
        await flow.submit(house.ports, house.refund(interaction, amount))
    for number in range(6):
        # Four fit into the standing approval, and the rest waits for a person.
        await flow.submit(
            house.ports, house.refund(interaction, 4_500, key=f"{number}")
        )
    # More than what was paid for the order.
    house.executor.paid = 3_000
    await house.read_order(interaction)
    await flow.submit(house.ports, house.refund(interaction, 280_000, key="over"))
    return int(await house.database.value("SELECT count(*) FROM action"))


async def replayed(house: House, content: Mapping[str, Any]) -> Tally:
    """Replay everything, as somebody who asks for page after page does."""
    candidate = rehearsal.candidate_of(content, house.ports)
    now = house.ports.clock.now()
    after, until = first_id(now - timedelta(days=1)), first_id(now + timedelta(days=1))
    tally, more = Tally(), True
    while more:
        found = await rehearsal.replayed(
            house.ports, candidate, after=after, until=until
        )
        tally.add(found.tally)
        after, more = found.after, found.more
    return tally


async def set_shadow(house: House, content: Mapping[str, Any] | None) -> None:
    now = house.ports.clock.now()
    entry = AuditEntry(
        entry_id=house.ports.ids.new(),
        kind=EntryKind.AUTHORITY,
        at=now,
        tenant=TENANT,
        environment=ENVIRONMENT,
    )
    last = await house.registry.get("policy", "shadow")
    body = dict(content or {}) | {
        "version": 0,
        "author": PEOPLE["carol"],
        "status": "on" if content is not None else "off",
    }
    by, after = (f"person:{PEOPLE['carol']}",), last.revision if last else 0
    change = Change("policy", "shadow", body, by, now - timedelta(seconds=60), after)
    await house.registry.put(change, entry)


def later(house: House) -> Any:
    """Return the house's ports as they are once the shadow may look."""

    class Later:
        def now(self) -> Any:
            return house.ports.clock.now() + timedelta(seconds=SHADOW_LAG_S + 1)

    return replace(house.ports, clock=Later())


async def test_every_recorded_decision_is_made_again_by_the_same_policy(
    house: House,
) -> None:
    recorded = await busy_day(house)
    found = await replayed(house, SAME)
    assert (found.flips, found.left_out) == ({}, {})
    assert found.replayed == recorded
    assert {"permit", "deny", "escalate 1 supervisor", "escalate 2 supervisor"} == {
        *found.outcomes
    }


async def test_a_wrong_change_is_caught_with_its_money_before_it_is_published(
    house: House,
) -> None:
    await busy_day(house)
    found = await replayed(house, WRONG)
    assert found.flips == {TWO_TO_ONE: (1, VERY_LARGE)}
    assert await house.held() > 0


async def test_pages_of_a_replay_join_without_gap_or_overlap(house: House) -> None:
    recorded = await busy_day(house)
    after = first_id(house.ports.clock.now() - timedelta(days=1))
    until = first_id(house.ports.clock.now() + timedelta(days=1))
    seen: list[str] = []
    while True:
        page = await house.ports.policies.past.page(after=after, until=until, limit=4)
        seen += [one.action_id for one in page.records]
        after = page.last
        if not page.full:
            break
    assert len(seen) == len({*seen}) == recorded
    assert seen == sorted(seen)


async def test_what_was_erased_or_changed_is_left_out_and_counted(
    house: House,
) -> None:
    await large_refund(house)
    recorded = (await replayed(house, SAME)).replayed
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE payload SET sealed = 'changed' WHERE payload_id IN"
            " (SELECT request_payload FROM action LIMIT 1)"
        )
    found = await replayed(house, SAME)
    assert (found.replayed, found.left_out) == (recorded - 1, {"unreadable": 1})
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE subject_key SET wrapped = NULL, destroyed_at = now()"
            " WHERE purpose = 'action'"
        )
    found = await replayed(house, SAME)
    assert (found.replayed, found.left_out) == (0, {"erased": recorded})


async def test_an_action_that_was_asked_anew_is_replayed_as_it_was_asked_last(
    house: House,
) -> None:
    await large_refund(house, VERY_LARGE)
    await publish(house, ("context.amount > 500000", "context.amount > 400000"))
    await sweeper.outdated(house.ports)
    found = await replayed(house, WRONG)
    assert found.flips == {TWO_TO_ONE: (1, VERY_LARGE)}


async def test_a_shadow_counts_every_action_once_whoever_sweeps(
    house: House, other: House
) -> None:
    await set_shadow(house, WRONG)
    recorded = await busy_day(house)
    # Too young to be looked at yet.
    assert await rehearsal.follow(house.ports) == 0
    await asyncio.gather(
        *(rehearsal.follow(later(place)) for place in (house, other) * 3)
    )
    shadow = await house.ports.authority.shadow()
    assert shadow is not None
    count = await house.ports.policies.shadows.count(shadow.revision)
    assert count is not None
    assert count.tally.replayed == recorded
    assert count.tally.flips == {TWO_TO_ONE: (1, VERY_LARGE)}
    await large_refund(house, VERY_LARGE + 1)
    await rehearsal.follow(later(other))
    count = await house.ports.policies.shadows.count(shadow.revision)
    assert count is not None
    assert count.tally.flips == {TWO_TO_ONE: (2, 2 * VERY_LARGE + 1)}
    # Another revision begins anew, and none counts nothing.
    await set_shadow(house, None)
    assert await rehearsal.follow(later(house)) == 0
    assert await house.ports.authority.shadow() is None


async def test_a_shadow_that_cannot_be_read_fails_no_action(house: House) -> None:
    await set_shadow(house, {"cedar": "permit nonsense", "hold": {}})
    record = await large_refund(house)
    assert record.state is ActionState.PENDING_APPROVAL
    assert await house.ports.authority.shadow() is None
    assert await rehearsal.follow(later(house)) == 0


async def test_one_sweep_of_the_shadow_takes_so_many_pages(house: House) -> None:
    await set_shadow(house, SAME)
    asked: list[int] = []

    class Endless:
        async def page(self, *, after: str, until: str, limit: int) -> Any:
            asked.append(limit)
            page = await house.ports.policies.past.page(
                after=after, until=until, limit=1
            )
            return replace(page, last=house.ports.ids.new(), full=True)

    room = replace(house.ports.policies, past=Endless())
    await rehearsal.follow(replace(later(house), policies=room))
    assert asked == [PAGE_MAX] * SHADOW_PAGES_MAX


async def test_every_decision_names_its_policy_version_rules_and_clauses(
    house: House,
) -> None:
    await busy_day(house)
    rows = await house.database.rows("SELECT action_id, decision FROM action")
    words = set()
    for row in rows:
        entries = await house.entries(str(row["action_id"]))
        detail = entries[0]["detail"]
        assert detail["policy_version"] == 1
        words.add(detail["decision"])
        for reason in detail["reasons"]:
            assert set(reason) == {"code", "rule", "clause"}
        if detail["decision"] != "deny" and detail["verdict"] == "clean":
            assert all(one["rule"] and one["clause"] for one in detail["reasons"])
        claims = [e for e in entries if e["kind"] == "execute.claim"]
        assert all(e["detail"]["policy_version"] == 1 for e in claims)
    assert words == {"permit", "deny", "escalate"}


async def test_a_candidate_that_does_not_validate_is_no_candidate(
    house: House,
) -> None:
    with pytest.raises(PolicyError):
        rehearsal.candidate_of({"cedar": "permit nonsense"}, house.ports)

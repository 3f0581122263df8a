"""Reminder and escalation: done once, by whoever looks, as was signed from birth."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow
from broker.approving import claiming, ending, listing, voting
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.decision import Quorum, Rung
from broker.core.words.errors import (
    ApprovalClaimedError,
    ForbiddenError,
    NotFoundError,
)
from tests.support.approvals.voters import (
    LARGE,
    approve,
    change_person,
    change_row,
    large_refund,
    look_and_sign,
    state_of,
    voter,
)
from tests.support.flow.house import PEOPLE
from tests.support.policies import publish

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from broker.ports import Ports
    from tests.support.flow.house import House

# The demo's rows ask supervisors for a day; here compliance is asked after two hours.
PASSED_ON = (
    '@role("supervisor") @expires_s("86400")',
    (
        '@role("supervisor") @expires_s("86400") @remind_s("3600")'
        ' @escalate("compliance:7200")'
    ),
)


async def passed_on(house: House, *, hours_ago: float = 0) -> ActionRecord:
    """Return a refund that was asked so long ago, under a policy that passes it on."""
    row = await house.registry.get("policy", "main")
    assert row is not None
    if "@remind_s" not in row.body["cedar"]:
        cedar = row.body["cedar"].replace(*PASSED_ON)
        await publish(house, (row.body["cedar"], cedar))
        # Carol wrote the seed's policy, and so could not sign what it asks.
        await publish_by(house, "olivia")
        await change_person(
            house, "carol", roles=["compliance"], approval_limits={"USD": 500_000}
        )
    then = replace(house, ports=house.jumped(-hours_ago))
    return await large_refund(then)


async def publish_by(house: House, name: str) -> None:
    """Publish the policy in force again, as somebody else's."""
    row = await house.registry.get("policy", "main")
    assert row is not None
    version = int(row.body["version"]) + 1
    await change_row(house, row, version=version, author=PEOPLE[name])


async def notices(house: House, approval_id: str) -> list[tuple[str, str, str]]:
    """Return (kind, role, person) of each notice, in order."""
    found = await house.database.rows(
        "SELECT kind, role, person_id FROM approval_notice WHERE approval_id = $1"
        " ORDER BY notice_id",
        approval_id,
    )
    return [(row["kind"], row["role"], row["person_id"]) for row in found]


async def at(house: House, name: str, record: ActionRecord, *, hours: float) -> Any:
    """Return a vote that this person makes so many hours from now."""
    later: Ports = house.jumped(hours)
    there = replace(house, ports=later)
    return await approve(there, name, record.approval_id)


async def test_the_ladder_is_part_of_what_is_signed_from_the_beginning(
    house: House,
) -> None:
    record = await passed_on(house)
    assert record.asked is not None
    assert record.asked.quorum == Quorum(
        1, "supervisor", 86_400, remind_s=3_600, ladder=(Rung("compliance", 7_200),)
    )
    again = await house.ports.store.action(record.request.action_id)
    assert again is not None
    assert again.asked == record.asked


async def test_who_is_asked_later_sees_and_signs_it_from_then_on(house: House) -> None:
    record = await passed_on(house)
    who = voter(house, "carol")
    with pytest.raises(NotFoundError):
        await voting.card(house.ports, who, record.approval_id)
    with pytest.raises(NotFoundError):
        await at(house, "carol", record, hours=1.9)
    counted = await at(house, "carol", record, hours=2.1)
    assert counted.state is ApprovalState.APPROVED
    await flow.settle(house.ports, record.request.action_id)
    assert house.executor.amounts() == [LARGE]


async def test_those_who_were_asked_first_may_sign_to_the_end(house: House) -> None:
    record = await passed_on(house)
    counted = await at(house, "alice", record, hours=20)
    assert counted.state is ApprovalState.APPROVED


async def test_a_reminder_and_an_escalation_are_noted_once_by_however_many_replicas(
    house: House, other: House
) -> None:
    record = await passed_on(house, hours_ago=3)
    approval_id = record.approval_id
    places = (house, other) * 4
    await asyncio.gather(*(ending.expire_due(place.ports) for place in places))
    await asyncio.gather(*(ending.expire(p.ports, approval_id) for p in places))
    assert await notices(house, approval_id) == [
        ("asked", "supervisor", ""),
        ("reminder", "supervisor", ""),
        ("escalated", "compliance", ""),
    ]
    [waiting] = await listing.pending(house.ports, voter(house, "carol"))
    assert waiting.refusal is None
    kinds = [e["kind"] for e in await house.entries(record.request.action_id)]
    assert kinds[1:] == ["approve.reminded", "approve.escalated"]
    # Nothing is due any more before the expiry.
    found = await ending.standing(house.ports, approval_id)
    assert found.due_s == pytest.approx(found.left_s, abs=1)
    assert await ending.expire_due(house.ports) == 0


async def test_before_its_time_nothing_is_noted_and_the_run_is_told_when(
    house: House,
) -> None:
    record = await passed_on(house)
    found = await ending.expire(house.ports, record.approval_id)
    assert 3_500 < found.due_s <= 3_600
    assert found.left_s > 86_000
    assert await notices(house, record.approval_id) == [("asked", "supervisor", "")]
    assert await listing.pending(house.ports, voter(house, "carol")) == []


async def test_an_escalation_during_a_vote_loses_neither(
    house: House, other: House
) -> None:
    for _ in range(2):
        record = await passed_on(house, hours_ago=3)
        approval_id = record.approval_id
        signed = await look_and_sign(house, "alice", approval_id, VoteWord.APPROVE)
        who = voter(house, "alice")
        passing = [ending.expire(other.ports, approval_id) for _ in range(3)]
        counted, _ = await asyncio.gather(
            voting.cast(house.ports, who, approval_id, signed),
            asyncio.gather(*passing),
        )
        assert counted.state is ApprovalState.APPROVED
        assert await state_of(house, record) is ActionState.READY
        told = await notices(house, approval_id)
        assert len({*told}) == len(told)
        assert [told[0][0], told[-1][0]] == ["asked", "ended"]
        await ending.withdraw(house.ports, record)


async def test_a_claim_neither_stops_an_escalation_nor_outlasts_itself(
    house: House,
) -> None:
    record = await passed_on(house, hours_ago=3)
    approval_id = record.approval_id
    await claiming.claim(house.ports, voter(house, "alice"), approval_id)
    await ending.expire(house.ports, approval_id)
    told = await notices(house, approval_id)
    # The reminder is for who works on it, the further role hears of it all the same.
    assert ("reminder", "supervisor", PEOPLE["alice"]) in told
    assert ("escalated", "compliance", "") in told
    with pytest.raises(ApprovalClaimedError):
        await approve(house, "carol", approval_id)
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET claimed_until = now()")
    counted = await approve(house, "carol", approval_id)
    assert counted.state is ApprovalState.APPROVED


async def test_two_roles_that_vote_while_it_is_passed_on_are_one_approval(
    house: House, other: House
) -> None:
    record = await passed_on(house, hours_ago=3)
    approval_id = record.approval_id
    votes = [
        (place, name, await look_and_sign(house, name, approval_id, VoteWord.APPROVE))
        for place, name in ((house, "alice"), (other, "carol"))
    ]
    answers = await asyncio.gather(
        ending.expire(other.ports, approval_id),
        *(
            voting.cast(place.ports, voter(place, name), approval_id, signed)
            for place, name, signed in votes
        ),
        return_exceptions=True,
    )
    counted = [one for one in answers if isinstance(one, voting.Counted)]
    assert counted
    assert {one.state for one in counted} == {ApprovalState.APPROVED}
    await asyncio.gather(
        *(flow.settle(p.ports, record.request.action_id) for p in (house, other))
    )
    assert house.executor.amounts() + other.executor.amounts() == [LARGE]


async def test_a_row_that_says_it_was_passed_on_lets_nobody_sign(house: House) -> None:
    record = await passed_on(house)
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET escalated = '{compliance}'")
    with pytest.raises(NotFoundError):
        await approve(house, "carol", record.approval_id)


@pytest.mark.control("6.3")
async def test_the_author_of_the_policy_that_asked_may_not_sign(house: House) -> None:
    await publish_by(house, "bob")
    record = await large_refund(house)
    for word in VoteWord:
        signed = await look_and_sign(house, "bob", record.approval_id, word)
        with pytest.raises(ForbiddenError, match="wrote the policy"):
            await voting.cast(
                house.ports, voter(house, "bob"), record.approval_id, signed
            )
    # Who writes the next one, which changes nothing, has signed as good as before.
    await approve(house, "alice", record.approval_id)
    await publish_by(house, "alice")
    await flow.settle(house.ports, record.request.action_id)
    assert house.executor.amounts() == [LARGE]

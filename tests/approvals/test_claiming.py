"""Claims keep two people from one card, and nobody from a no or from their right."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from broker.approving import claiming, listing, voting
from broker.approving.claiming import AWAY_S_MAX
from broker.core.approvals.timetable import CLAIM_S, CLAIM_TOTAL_S_MAX
from broker.core.words.approval import ApprovalState
from broker.core.words.errors import (
    ApprovalClaimedError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from broker.effects.approvals.queue import CLAIMS_HELD_MAX
from tests.approvals.test_escalation import notices
from tests.support.approvals.voters import (
    VERY_LARGE,
    approve,
    change_person,
    large_refund,
    reject,
    voter,
)
from tests.support.flow.house import PEOPLE

if TYPE_CHECKING:
    from tests.support.flow.house import House


async def lapse(house: House) -> None:
    """Let every claim end, as time would."""
    async with house.admin() as owner:
        await owner.execute("UPDATE approval SET claimed_until = now()")


async def test_of_many_who_claim_at_once_one_works_on_it(
    house: House, other: House
) -> None:
    record = await large_refund(house)
    answers = await asyncio.gather(
        *(
            claiming.claim(place.ports, voter(place, name), record.approval_id)
            for place, name in ((house, "alice"), (other, "bob")) * 5
        ),
        return_exceptions=True,
    )
    lost = [a for a in answers if isinstance(a, Exception)]
    assert len(lost) == 5
    assert {type(a) for a in lost} == {ApprovalClaimedError}
    assert [n[0] for n in await notices(house, record.approval_id)] == [
        "asked",
        "claimed",
    ]


async def test_a_claim_keeps_a_yes_of_others_waiting_and_never_a_no(
    house: House,
) -> None:
    record = await large_refund(house, VERY_LARGE)
    approval_id = record.approval_id
    found = await claiming.claim(house.ports, voter(house, "alice"), approval_id)
    assert found.until is not None
    left = found.until - house.ports.clock.now()
    assert timedelta(seconds=CLAIM_S - 20) < left <= timedelta(seconds=CLAIM_S)
    card = await voting.card(house.ports, voter(house, "bob"), approval_id)
    assert card["now"]["claim"]["by"] == PEOPLE["alice"]
    assert not card["now"]["claim"]["you"]
    with pytest.raises(ApprovalClaimedError, match="somebody else"):
        await approve(house, "bob", approval_id)
    # Who has voted does not work on it any more.
    await approve(house, "alice", approval_id)
    await claiming.claim(house.ports, voter(house, "alice"), approval_id)
    counted = await reject(house, "bob", approval_id)
    assert counted.state is ApprovalState.REJECTED


async def test_after_its_lease_a_claim_keeps_nobody_waiting(house: House) -> None:
    record = await large_refund(house)
    alice, bob = voter(house, "alice"), voter(house, "bob")
    await claiming.claim(house.ports, alice, record.approval_id)
    await lapse(house)
    [waiting] = await listing.pending(house.ports, bob)
    assert waiting.desk.claimed_by == ""
    await claiming.claim(house.ports, bob, record.approval_id)
    await lapse(house)
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED


async def test_nobody_keeps_a_yes_waiting_by_claiming_again_and_again(
    house: House,
) -> None:
    record = await large_refund(house, VERY_LARGE)
    alice, waits = voter(house, "alice"), record.approval_id

    async def passes(seconds: int) -> None:
        async with house.admin() as owner:
            await owner.execute(
                "UPDATE approval_notice SET made_at = made_at - $1::integer"
                " * interval '1 second' WHERE kind = 'claimed'",
                seconds,
            )

    await claiming.claim(house.ports, alice, waits)
    # Who has voted has no more work with it, but could claim it.
    await approve(house, "alice", waits)
    await passes(CLAIM_TOTAL_S_MAX - 60)
    found = await claiming.claim(house.ports, alice, waits)
    assert found.until is not None
    assert (found.until - house.ports.clock.now()).total_seconds() <= 60
    await passes(60)
    with pytest.raises(ConflictError, match="30 minutes"):
        await claiming.claim(house.ports, alice, waits)
    await lapse(house)
    counted = await approve(house, "bob", waits)
    assert counted.state is ApprovalState.APPROVED


async def test_a_row_that_says_it_is_claimed_for_ever_keeps_nobody_waiting(
    house: House,
) -> None:
    record = await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(
            "UPDATE approval SET claimed_by = $1, claimed_until = now()"
            " + ($2::integer + 30) * interval '1 second'",
            PEOPLE["bob"],
            CLAIM_S,
        )
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED


async def test_a_claim_is_given_back_by_whom_it_belongs_to(house: House) -> None:
    record = await large_refund(house)
    alice, bob = voter(house, "alice"), voter(house, "bob")
    await claiming.claim(house.ports, alice, record.approval_id)
    assert not await claiming.release(house.ports, bob, record.approval_id)
    assert await claiming.release(house.ports, alice, record.approval_id)
    assert not await claiming.release(house.ports, alice, record.approval_id)
    await approve(house, "bob", record.approval_id)
    with pytest.raises(ConflictError, match="ended"):
        await claiming.claim(house.ports, alice, record.approval_id)


async def test_who_may_not_sign_claims_nothing(house: House) -> None:
    record = await large_refund(house, 210_000)
    with pytest.raises(ForbiddenError, match="limit"):
        await claiming.claim(house.ports, voter(house, "alice"), record.approval_id)
    with pytest.raises(NotFoundError):
        await claiming.claim(house.ports, voter(house, "carol"), record.approval_id)


async def test_nobody_works_on_more_than_so_many_at_once(house: House) -> None:
    record = await large_refund(house)
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO approval SELECT (jsonb_populate_record(b, jsonb_build_object("
            "  'approval_id', gen_random_uuid(), 'claimed_by', $1::text,"
            "  'claimed_until', now() + interval '1 minute'))).*"
            " FROM approval b, generate_series(1, $2)",
            PEOPLE["alice"],
            CLAIMS_HELD_MAX,
        )
    who = voter(house, "alice")
    with pytest.raises(ConflictError, match="as many"):
        await claiming.claim(house.ports, who, record.approval_id)
    one = (await house.ports.queue.claims(PEOPLE["alice"]))[0]
    await claiming.release(house.ports, who, one.approval_id)
    await claiming.claim(house.ports, who, record.approval_id)


async def test_a_deputy_gets_claims_and_reminders_and_no_rights(house: House) -> None:
    small, large = await large_refund(house), await large_refund(house, VERY_LARGE)
    bob = voter(house, "bob")
    for record in (small, large):
        await claiming.claim(house.ports, bob, record.approval_id)
    await change_person(house, "alice", approval_limits={"USD": 50_000})
    until = house.ports.clock.now() + timedelta(days=3)
    handed = await claiming.leave(house.ports, bob, deputy=PEOPLE["alice"], until=until)
    # What she may not sign is given back for everybody.
    assert handed == 1
    found = {
        record.approval_id: await house.ports.desk.find(record.approval_id)
        for record in (small, large)
    }
    assert [one and one.claimed_by for one in found.values()] == [PEOPLE["alice"], ""]
    assert (await notices(house, small.approval_id))[-1] == (
        "handed_over",
        "",
        PEOPLE["alice"],
    )
    with pytest.raises(ForbiddenError, match="limit"):
        await approve(house, "alice", large.approval_id)
    away = await claiming.away(house.ports, bob)
    assert away is not None
    assert (away.deputy, away.until) == (PEOPLE["alice"], until)
    # Away or not, his right is his.
    await approve(house, "bob", large.approval_id)
    await claiming.come_back(house.ports, bob)
    assert await claiming.away(house.ports, bob) is None


async def test_reminders_follow_deputies_to_one_who_is_there_and_end_in_no_circle(
    house: House,
) -> None:
    a, b, c = (PEOPLE[name] for name in ("alice", "bob", "carol"))

    async def stands_in(*away: tuple[str, str], hours: int = 1) -> str:
        async with house.admin() as owner:
            await owner.execute("DELETE FROM approval_away")
            await owner.executemany(
                "INSERT INTO approval_away VALUES"
                " ($1, $2, now() + $3::integer * interval '1 hour')",
                [(*one, hours) for one in away],
            )
            return str(await owner.fetchval("SELECT stands_in_for($1)", a))

    assert await stands_in() == a
    assert await stands_in((a, b)) == b
    assert await stands_in((a, b), (b, c)) == c
    assert await stands_in((a, b), (b, c), hours=-1) == a
    # Two went away at the same moment, each for the other: the role is reminded.
    assert await stands_in((a, b), (b, a)) == ""


async def test_an_absence_has_an_end_and_a_deputy_who_can_stand_in(
    house: House,
) -> None:
    alice, now = voter(house, "alice"), house.ports.clock.now()
    soon, bob = now + timedelta(days=1), PEOPLE["bob"]
    too_far = now + timedelta(seconds=AWAY_S_MAX + 60)
    for deputy, until, pointer in (
        (bob, now - timedelta(seconds=1), "/until"),
        (bob, too_far, "/until"),
        (PEOPLE["alice"], soon, "/deputy"),
        (PEOPLE["carol"], soon, "/deputy"),
        (house.ports.ids.new(), soon, "/deputy"),
    ):
        with pytest.raises(InvalidError) as refused:
            await claiming.leave(house.ports, alice, deputy=deputy, until=until)
        assert refused.value.pointer == pointer
    last = now + timedelta(seconds=AWAY_S_MAX)
    assert await claiming.leave(house.ports, alice, deputy=bob, until=last) == 0
    with pytest.raises(InvalidError, match="away as well"):
        await claiming.leave(
            house.ports, voter(house, "bob"), deputy=PEOPLE["alice"], until=soon
        )

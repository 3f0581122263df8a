"""One person says yes so often within an hour, and no as often as it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.approving import voting
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import ApprovalsCappedError
from tests.support.approvals.voters import (
    approve,
    change_row,
    large_refund,
    look_and_sign,
    reject,
    voter,
)

if TYPE_CHECKING:
    from broker.core.words.action import ActionRecord
    from tests.support.flow.house import House


async def capped(house: House, most: int) -> list[ActionRecord]:
    """Let a policy count so many yeses in an hour; return refunds that wait."""
    row = await house.registry.get("policy", "main")
    assert row is not None
    votes = {"approvals_per_hour": most}
    version = int(row.body["version"]) + 1
    await change_row(house, row, version=version, votes=votes)
    return [await large_refund(house, 20_000 + number) for number in range(most + 2)]


async def test_past_the_cap_a_yes_is_refused_and_a_no_is_not(house: House) -> None:
    first, second, third, fourth = await capped(house, 2)
    await approve(house, "alice", first.approval_id)
    await approve(house, "alice", second.approval_id)
    with pytest.raises(ApprovalsCappedError, match="2 approvals") as refused:
        await approve(house, "alice", third.approval_id)
    assert (refused.value.code, refused.value.status) == ("approvals-capped", 429)
    assert refused.value.retry_after_s
    details = [e["detail"] for e in await house.entries(third.request.action_id)]
    assert [d["refused"] for d in details if "refused" in d] == ["approvals_capped"]
    counted = await reject(house, "alice", third.approval_id)
    assert counted.state is ApprovalState.REJECTED
    # It is one person's cap, and an hour's.
    await approve(house, "bob", fourth.approval_id)
    async with house.admin() as owner:
        await owner.execute("UPDATE vote SET cast_at = now() - interval '61 minutes'")
    [again, *_] = await capped(house, 2)
    await approve(house, "alice", again.approval_id)


async def test_of_yeses_sent_at_once_only_as_many_count_as_the_cap_lets(
    house: House, other: House
) -> None:
    records = await capped(house, 2)
    who = voter(house, "alice")
    signed = [
        await look_and_sign(house, "alice", one.approval_id, VoteWord.APPROVE)
        for one in records
    ]
    answers = await asyncio.gather(
        *(
            voting.cast(place.ports, who, one.approval_id, vote)
            for place, one, vote in zip(
                (house, other) * 2, records, signed, strict=True
            )
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(a, voting.Counted) for a in answers) == 2
    assert sum(isinstance(a, ApprovalsCappedError) for a in answers) == 2
    async with house.admin() as owner:
        assert await owner.fetchval("SELECT count(*) FROM vote") == 2


async def test_yeses_of_one_person_are_counted_one_after_the_other(
    house: House, other: House
) -> None:
    records = await capped(house, 1)
    who = voter(house, "alice")
    signed = [
        await look_and_sign(house, "alice", one.approval_id, VoteWord.APPROVE)
        for one in records[:2]
    ]
    async with house.admin() as owner:
        counting = owner.transaction()
        await counting.start()
        await owner.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", who.subject_id
        )
        casting = [
            asyncio.create_task(voting.cast(place.ports, who, one.approval_id, vote))
            for place, one, vote in zip((house, other), records, signed, strict=False)
        ]
        done, _ = await asyncio.wait(casting, timeout=0.5)
        assert not done
        await counting.rollback()
    answers = await asyncio.gather(*casting, return_exceptions=True)
    assert sum(isinstance(a, voting.Counted) for a in answers) == 1
    assert sum(isinstance(a, ApprovalsCappedError) for a in answers) == 1

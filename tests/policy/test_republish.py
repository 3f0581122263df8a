"""A published policy decides waiting actions again: carried, asked anew, refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker import flow, republish, sweeper
from broker.api.internal import _json
from broker.approving import ending, voting
from broker.core.words.action import ENDED, ActionState
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.errors import ApprovalStaleError, ConflictError
from broker.republish import REPUBLISHED_AT_ONCE_MAX, Again
from tests.support.approvals.voters import (
    LARGE,
    VERY_LARGE,
    approve,
    change_person,
    large_refund,
    look_and_sign,
    state_of,
    voter,
)
from tests.support.policies import (
    MORE_THAN_100,
    NO_REFUNDS,
    REWORDED,
    TWO_FROM_100,
    publish,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.action import ActionRecord
    from tests.support.flow.house import House


async def now(house: House, record: ActionRecord) -> ActionRecord:
    found = await house.ports.store.action(record.request.action_id)
    assert found is not None
    return found


async def end_of(house: House, approval_id: str) -> ApprovalState:
    found = await house.ports.desk.find(approval_id)
    assert found is not None
    return found.state


async def last(house: House, record: ActionRecord) -> dict[str, Any]:
    entries = await house.entries(record.request.action_id)
    return entries[-1]


async def test_an_unchanged_question_is_carried_with_its_votes(house: House) -> None:
    record = await large_refund(house, VERY_LARGE)
    await approve(house, "bob", record.approval_id)
    # Another threshold than the one that matters here, and another budget.
    await publish(house, ("context.amount > 500000", "context.amount > 400000"))
    await sweeper.outdated(house.ports)
    after = await now(house, record)
    assert (after.approval_id, after.digest) == (record.approval_id, record.digest)
    assert (after.state, after.policy_version) == (ActionState.PENDING_APPROVAL, 2)
    entry = await last(house, record)
    assert entry["kind"] == "approve.carried"
    assert entry["detail"]["policy_version_before"] == 1
    assert entry["detail"]["policy_version"] == 2
    assert entry["detail"]["approval"] == record.approval_id
    assert await house.held() == VERY_LARGE
    await change_person(house, "alice", approval_limits={"USD": 500_000})
    counted = await approve(house, "alice", record.approval_id)
    assert counted.state is ApprovalState.APPROVED
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE


async def test_a_changed_question_is_asked_anew_and_the_old_votes_do_not_count(
    house: House,
) -> None:
    record = await large_refund(house)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    await publish(house, TWO_FROM_100, MORE_THAN_100)
    await sweeper.outdated(house.ports)
    after = await now(house, record)
    assert after.state is ActionState.PENDING_APPROVAL
    assert after.approval_id != record.approval_id
    assert after.asked is not None
    assert after.asked.quorum.approvers_min == 2
    assert await end_of(house, record.approval_id) is ApprovalState.STALE
    assert await end_of(house, after.approval_id) is ApprovalState.PENDING
    assert await house.held() == LARGE
    entry = await last(house, record)
    assert entry["kind"] == "approve.asked"
    assert entry["detail"]["replaces"] == record.approval_id
    assert (entry["detail"]["policy_version_before"], entry["detail"]["quorum"]) == (
        1,
        2,
    )
    assert [one["rule"] for one in entry["detail"]["reasons"]] == ["company.C2"]
    with pytest.raises(ApprovalStaleError, match="asked anew") as stale:
        await voting.cast(
            house.ports, voter(house, "alice"), record.approval_id, signed
        )
    assert after.approval_id in stale.value.hint
    await approve(house, "alice", after.approval_id)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL
    await approve(house, "bob", after.approval_id)
    done = await flow.settle(house.ports, record.request.action_id)
    assert done is not None
    assert done.state is ActionState.DONE
    assert house.executor.amounts() == [LARGE]
    assert await house.held() == 0


async def test_a_vote_before_the_sweeper_comes_meets_the_new_question(
    house: House,
) -> None:
    record = await large_refund(house)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    await publish(house, TWO_FROM_100, MORE_THAN_100)
    with pytest.raises(ApprovalStaleError, match="asked anew"):
        await voting.cast(
            house.ports, voter(house, "alice"), record.approval_id, signed
        )
    after = await now(house, record)
    assert after.policy_version == 2
    assert await house.ports.desk.votes(record.approval_id) == ((), frozenset())


async def test_a_vote_on_an_unchanged_question_counts_before_the_sweeper_comes(
    house: House,
) -> None:
    record = await large_refund(house)
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)
    await publish(house, REWORDED)
    counted = await voting.cast(
        house.ports, voter(house, "alice"), record.approval_id, signed
    )
    assert counted.state is ApprovalState.APPROVED
    assert (await now(house, record)).policy_version == 2


async def test_what_is_now_denied_is_refused_and_gives_its_money_back(
    house: House,
) -> None:
    record = await large_refund(house)
    await publish(house, NO_REFUNDS)
    await sweeper.outdated(house.ports)
    after = await now(house, record)
    assert after.state is ActionState.REFUSED
    assert after.outcome is not None
    assert after.outcome.code == "forbidden_by_rule"
    assert await end_of(house, record.approval_id) is ApprovalState.STALE
    assert await house.held() == 0
    detail = (await last(house, record))["detail"]
    assert detail["reasons"] == [
        {"code": "forbidden_by_rule", "rule": "company.C3", "clause": "C3"}
    ]
    assert (detail["policy_version_before"], detail["policy_version"]) == (1, 2)


async def test_what_is_now_permitted_stays_asked(house: House) -> None:
    record = await large_refund(house)
    await publish(house, ("context.approved || context.standing", "context.proof"))
    assert await republish.again(house.ports, record) is Again.CARRIED
    after = await now(house, record)
    assert (after.state, after.approval_id) == (
        ActionState.PENDING_APPROVAL,
        record.approval_id,
    )
    detail = (await last(house, record))["detail"]
    assert (detail["decision"], detail["policy_version"]) == ("permit", 2)


async def test_a_new_budget_counts_what_waits_already_or_refuses_it(
    house: House,
) -> None:
    first = await large_refund(house)
    second = await large_refund(house)
    tight = {
        "id": "tool-day",
        "per": ["tool"],
        "unit": "USD",
        "window": "day",
        "limit": LARGE,
    }
    await publish(house, budgets=[tight])
    await sweeper.outdated(house.ports)
    states = sorted([await state_of(house, first), await state_of(house, second)])
    assert states == [ActionState.PENDING_APPROVAL, ActionState.REFUSED]
    assert await house.held() == LARGE
    sql = "SELECT sum(held) FROM budget WHERE rule_id = 'tool-day'"
    assert await house.database.value(sql) == LARGE
    ends = [(await now(house, one)).outcome for one in (first, second)]
    assert [one.code for one in ends if one is not None] == ["over_budget"]


async def test_a_lowered_limit_leaves_what_is_held_already(house: House) -> None:
    record = await large_refund(house)
    await publish(house, limits={"agent-day": 100})
    await sweeper.outdated(house.ports)
    assert await state_of(house, record) is ActionState.PENDING_APPROVAL
    assert await house.held() == LARGE


async def test_what_was_approved_and_not_yet_sent_is_asked_anew(house: House) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    await publish(house, TWO_FROM_100, MORE_THAN_100)
    after = await flow.settle(house.ports, record.request.action_id)
    assert after is not None
    assert after.state is ActionState.PENDING_APPROVAL
    assert after.approval_id != record.approval_id
    assert await end_of(house, record.approval_id) is ApprovalState.STALE
    assert house.executor.amounts() == []
    assert await house.held() == LARGE


async def test_deciding_twice_or_by_two_replicas_asks_once(
    house: House, other: House
) -> None:
    record = await large_refund(house)
    await publish(house, TWO_FROM_100, MORE_THAN_100)
    words = await asyncio.gather(
        *(republish.again(place.ports, record) for place in (house, other) * 3)
    )
    assert sorted(words) == sorted([Again.ASKED, *[Again.GONE] * 5])
    asked = "SELECT count(*) FROM approval WHERE action_id = $1"
    assert await house.database.value(asked, record.request.action_id) == 2
    told = await house.database.rows("SELECT kind, key FROM outbox")
    assert len(told) == len({(row["kind"], row["key"]) for row in told}) == 3


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_replica_that_dies_while_it_asks_anew_leaves_it_to_the_next(
    house: House, other: House, dies: str
) -> None:
    record = await large_refund(house)
    await publish(house, TWO_FROM_100, MORE_THAN_100)

    class Dying:
        async def redecide(self, new: Any) -> Any:
            if dies == "after":
                await house.ports.policies.waiting.redecide(new)
            raise asyncio.CancelledError

    room = replace(house.ports.policies, waiting=Dying())  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await republish.again(replace(house.ports, policies=room), record)
    await sweeper.outdated(other.ports)
    await sweeper.outdated(other.ports)
    kinds = [e["kind"] for e in await house.entries(record.request.action_id)]
    assert kinds.count("approve.asked") == 1
    assert (await now(house, record)).policy_version == 2
    assert await house.held() == LARGE


async def test_two_replicas_carry_a_question_once(house: House, other: House) -> None:
    record = await large_refund(house)
    await publish(house, REWORDED)
    words = await asyncio.gather(
        *(republish.again(place.ports, record) for place in (house, other) * 3)
    )
    assert sorted(words) == sorted([Again.CARRIED, *[Again.GONE] * 5])
    kinds = [e["kind"] for e in await house.entries(record.request.action_id)]
    assert kinds.count("approve.carried") == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_vote_that_races_with_a_new_policy_never_signs_the_old_question(
    house: House, other: House, seed: int
) -> None:
    record = await large_refund(house)
    action_id = record.request.action_id
    signed = await look_and_sign(house, "alice", record.approval_id, VoteWord.APPROVE)

    async def later(work: Any, after_s: float) -> Any:
        await asyncio.sleep(after_s)
        return await work

    await asyncio.gather(
        later(publish(house, TWO_FROM_100, MORE_THAN_100), 0),
        later(
            voting.cast(other.ports, voter(other, "alice"), record.approval_id, signed),
            seed * 0.004,
        ),
        later(sweeper.outdated(house.ports), 0.01),
        later(flow.settle(other.ports, action_id), 0.005 * seed),
        return_exceptions=True,
    )
    await sweeper.outdated(house.ports)
    after = await flow.settle(house.ports, action_id)
    assert after is not None
    moved = house.executor.amounts() + other.executor.amounts()
    if after.state is ActionState.DONE:
        # Vote, quorum and claim were all before the new version.
        assert (after.policy_version, moved) == (1, [LARGE])
        assert await house.held() == 0
    else:
        assert after.state is ActionState.PENDING_APPROVAL
        assert after.asked is not None
        assert (after.asked.quorum.approvers_min, moved) == (2, [])
        assert await end_of(house, record.approval_id) is ApprovalState.STALE
        assert await house.held() == LARGE


async def test_settling_that_races_with_a_ban_ends_once(
    house: House, other: House
) -> None:
    record = await large_refund(house)
    await approve(house, "alice", record.approval_id)
    action_id = record.request.action_id
    await asyncio.gather(
        publish(house, NO_REFUNDS),
        flow.settle(other.ports, action_id),
        sweeper.outdated(house.ports),
        flow.settle(house.ports, action_id),
        return_exceptions=True,
    )
    after = await flow.settle(house.ports, action_id)
    assert after is not None
    assert after.state in ENDED
    moved = house.executor.amounts() + other.executor.amounts()
    assert moved == ([LARGE] if after.state is ActionState.DONE else [])
    assert await house.held() == 0


async def test_the_run_of_a_replaced_approval_hears_that_it_is_over(
    house: House,
) -> None:
    record = await large_refund(house)
    await publish(house, TWO_FROM_100, MORE_THAN_100)
    await republish.again(house.ports, record)
    old = await ending.standing(house.ports, record.approval_id)
    assert (_json(old)["approval"], _json(old)["action"]) == ("stale", "refused")
    with pytest.raises(ApprovalStaleError):
        await voting.card(house.ports, voter(house, "alice"), record.approval_id)


async def test_one_sweep_decides_so_many_again_and_not_one_more(house: House) -> None:
    class Crowded:
        asked = 0

        async def outdated(self, *, limit: int, **_: Any) -> Sequence[str]:
            ids = [house.ports.ids.new() for _ in range(REPUBLISHED_AT_ONCE_MAX + 1)]
            self.asked = len(ids[:limit])
            return ids[:limit]

    beside: list[int] = []

    class Counting:
        inside = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(house.ports.store, name)

        async def action(self, action_id: str) -> None:
            self.inside += 1
            beside.append(self.inside)
            await asyncio.sleep(0)
            self.inside -= 1

    crowd = Crowded()
    room = replace(house.ports.policies, waiting=crowd)  # type: ignore[arg-type]
    ports = replace(house.ports, policies=room, store=Counting())
    await sweeper.outdated(ports)
    assert crowd.asked == len(beside) == REPUBLISHED_AT_ONCE_MAX
    assert max(beside) == sweeper.REPUBLISHED_BESIDE_MAX


async def test_a_conflicting_end_wins_over_a_new_policy(house: House) -> None:
    record = await large_refund(house)
    await publish(house, TWO_FROM_100, MORE_THAN_100)
    assert await ending.withdraw(house.ports, record)
    assert await republish.again(house.ports, record) is Again.GONE
    with pytest.raises(ConflictError, match="withdrawn"):
        await approve(house, "alice", record.approval_id)

"""Canaries: asked like any other, never executed, and counted for whoever decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from broker import flow, republish
from broker.approving import canaries, voting
from broker.approving.canaries import DAY_S, JUDGED_AT_ONCE_MAX, Score
from broker.core.vigilance.scenes import Flaw
from broker.core.words.action import ActionKind, ActionState
from broker.core.words.errors import ForbiddenError
from broker.registry.vigilance.rows import Right, right_body
from tests.support.approvals.customers import CONFIRMS, asks_the_customer
from tests.support.approvals.office import open_office
from tests.support.approvals.voters import approve, large_refund, reject, voter
from tests.support.flow.house import AGENT_ID, PEOPLE, put_row
from tests.support.policies import publish
from tests.support.vigilance.plants import planted, seed_of, vigil

if TYPE_CHECKING:
    from tests.support.flow.house import House


def shape(value: Any) -> Any:
    """Return what a JSON is made of, without what it says."""
    match value:
        case dict():
            return {name: shape(one) for name, one in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case _:
            return type(value).__name__


async def judged(house: House) -> None:
    for one in await vigil(house).unjudged(limit=JUDGED_AT_ONCE_MAX):
        await canaries.judge(house.ports, vigil(house), one)


async def test_even_a_full_approval_leads_to_no_claim_no_money_and_no_warrant(
    house: House,
) -> None:
    await large_refund(house)
    held = await house.held()
    for flaw in Flaw:
        record = await planted(house, flaw)
        assert record.request.kind is ActionKind.CANARY
        counted = await approve(house, "alice", record.approval_id, reason="looks fine")
        assert counted.state.value == "approved"
        for _ in range(2):
            after = await flow.settle(house.ports, record.request.action_id)
            assert after is not None
            assert after.state is ActionState.REFUSED
            assert after.warrant_id == ""
    assert house.executor.amounts() == []
    assert await house.held() == held
    assert (
        await house.database.value(
            "SELECT count(*) FROM reservation r JOIN action a USING (action_id)"
            " WHERE a.kind = 'canary'"
        )
        == 0
    )


@pytest.mark.parametrize(
    "change",
    [
        "state = 'ready'",
        "state = 'executing', lease_until = now(), warrant_id = gen_random_uuid()",
        "warrant_id = gen_random_uuid()",
        "state = 'done'",
    ],
)
async def test_the_database_itself_lets_no_canary_be_executed(
    house: House, change: str
) -> None:
    await large_refund(house)
    record = await planted(house)
    async with house.admin() as owner:
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(
                f"UPDATE action SET {change} WHERE action_id = $1",  # noqa: S608
                record.request.action_id,
            )


async def test_a_canary_looks_like_any_other_in_lists_cards_and_answers(
    house: House,
) -> None:
    real = await large_refund(house)
    canary = await planted(house, Flaw.OVER_PAID)
    async with open_office(house) as office:
        listed = (await office.call("alice", "GET", "/v1/approvals")).json()
        rows = {one["approval"]: one for one in listed["approvals"]}
        both = (real.approval_id, canary.approval_id)
        assert shape(rows[both[0]]) == shape(rows[both[1]])
        assert "canary" not in str(listed)
        cards = []
        for approval in both:
            answer = await office.call("alice", "GET", f"/v1/approvals/{approval}")
            cards.append(answer.json())
        one, other = (card["asked"] for card in cards)
        # What was said differs from conversation to conversation.
        for card in (one, other):
            for name in ("customer_said", "agent_said", "findings"):
                card.pop(name)
        assert shape(one) == shape(other)
        assert {*cards[0]} == {*cards[1]}
        assert "canary" not in str(cards)
        mine = await office.house.ports.store.newest(agent_id=AGENT_ID, limit=50)
        assert canary.request.action_id not in mine
        assert real.request.action_id in mine


async def test_looking_at_a_canary_asks_the_database_the_same(house: House) -> None:
    real = await large_refund(house)
    canary = await planted(house, Flaw.OVER_PAID)
    asked: list[int] = []
    for record in (real, canary):
        await voting.card(house.ports, voter(house, "alice"), record.approval_id)
        before = house.database.value, house.database.row, house.database.rows
        count = 0

        def counting(inner: Any) -> Any:
            async def call(*args: Any) -> Any:
                nonlocal count
                count += 1
                return await inner(*args)

            return call

        for name, inner in zip(("value", "row", "rows"), before, strict=True):
            setattr(house.database, name, counting(inner))
        await voting.card(house.ports, voter(house, "alice"), record.approval_id)
        for name, inner in zip(("value", "row", "rows"), before, strict=True):
            setattr(house.database, name, inner)
        asked.append(count)
    assert asked[0] == asked[1]


async def test_who_caught_and_who_missed_is_logged_and_counted_from_signed_votes(
    house: House,
) -> None:
    await large_refund(house)
    caught, missed = await planted(house), await planted(house, after=5_000)
    await reject(house, "alice", caught.approval_id)
    await approve(house, "alice", missed.approval_id, reason="fine")
    await judged(house)
    await judged(house)
    found, _ = await canaries.score(house.ports, vigil(house), PEOPLE["alice"])
    assert found == Score(PEOPLE["alice"], seen=2, missed=1)
    for record, word in ((caught, True), (missed, False)):
        entries = await house.entries(record.request.action_id)
        said = [one["detail"] for one in entries if one["kind"] == "approve.canary"]
        assert [(one["person"], one["caught"]) for one in said] == [
            (PEOPLE["alice"], word)
        ]
    # A vote that somebody wrote to the table is none.
    async with house.admin() as owner:
        await owner.execute(
            "INSERT INTO vote (vote_id, approval_id, person_id, word, payload_id, at)"
            " SELECT gen_random_uuid(), approval_id, $1, 'approve', payload_id, at"
            " FROM vote LIMIT 1",
            PEOPLE["bob"],
        )
    found, _ = await canaries.score(house.ports, vigil(house), PEOPLE["bob"])
    assert found.seen == 0


async def test_whoever_misses_too_many_may_not_approve_until_two_give_it_back(
    house: House,
) -> None:
    real = await large_refund(house)
    for number in range(4):
        record = await planted(house, after=number * 5_000)
        await approve(house, "alice", record.approval_id, reason="fine")
    await judged(house)
    people = await house.ports.authority.approvers()
    assert people[PEOPLE["alice"]].suspended
    with pytest.raises(ForbiddenError, match="suspended"):
        await approve(house, "alice", real.approval_id)
    told = await house.database.rows("SELECT role FROM notice WHERE kind = 'suspended'")
    assert sorted(row["role"] for row in told) == ["owner", "security"]
    async with open_office(house) as office:
        path = f"/v1/admin/canaries/rights/{PEOPLE['alice']}/give-back"
        why = {"reason": "talked it over"}
        shown = (await office.call("carol", "GET", "/v1/admin/canaries")).json()
        (line,) = shown["people"]
        assert (line["canaries"], line["caught"], line["suspended"]) == (4, 0, True)
        assert line["evidence"] >= line["alarm_at"]
        # Off, nobody's habits are shown.
        assert line["decided"] is None
        first = await office.call("carol", "POST", path, json=why)
        assert first.json()["suspended"] is True
        # Whoever it is about sees their own line, and nobody else's.
        own = await office.call("alice", "GET", "/v1/admin/canaries")
        assert [one["person"] for one in own.json()["people"]] == [PEOPLE["alice"]]
        other = await office.call("bob", "GET", "/v1/admin/canaries")
        assert other.json()["people"] == []
        again = await office.call("carol", "POST", path, json=why)
        assert again.status_code == 403
        assert (await office.call("bob", "POST", path, json=why)).status_code == 403
    given = Right(PEOPLE["alice"], suspended=False, missed=4, seen=4)
    assert right_body(given)["status"] == "given_back"
    # A no was theirs all the while.
    counted = await reject(house, "alice", real.approval_id)
    assert counted.state.value == "rejected"


async def test_a_right_whose_row_says_nothing_is_suspended(house: House) -> None:
    await put_row(house, "approval_right", PEOPLE["bob"], {"status": "fine"})
    people = await house.ports.authority.approvers()
    assert people[PEOPLE["bob"]].suspended
    assert not people[PEOPLE["alice"]].suspended


async def test_nothing_is_planted_while_they_are_off_and_one_when_it_is_due(
    house: House,
) -> None:
    await large_refund(house)
    await canaries.watch(house.ports, vigil(house))
    sql = "SELECT count(*) FROM action WHERE kind = 'canary'"
    assert await house.database.value(sql) == 0
    body = {
        "status": "on",
        "notice_shown": "intranet, 1 November",
        "agent": AGENT_ID,
        "per_day": 1,
        "asked_by": PEOPLE["carol"],
    }
    await put_row(house, "canaries", "main", body)
    for _ in range(3):
        await canaries.watch(house.ports, vigil(house))
    assert await house.database.value(sql) <= 1
    async with house.admin() as owner:
        left = await owner.fetchval(
            "SELECT extract(epoch FROM next_at - now())::float8 FROM canary_clock"
        )
    assert DAY_S * 0.4 < left < DAY_S * 1.6


async def test_where_the_customer_confirms_as_well_nothing_is_planted(
    house: House,
) -> None:
    await large_refund(house)
    seeds = [seed_of(flaw, below=90_000) for flaw in (Flaw.OVER_PAID, Flaw.OTHER_PAYEE)]
    await asks_the_customer(house)
    for seed in seeds:
        made = await canaries.plant(
            house.ports, vigil(house), agent_id=AGENT_ID, seed=seed
        )
        assert made is None
    await publish(house, CONFIRMS[::-1])
    for seed in seeds:
        assert await canaries.plant(
            house.ports, vigil(house), agent_id=AGENT_ID, seed=seed
        )


async def test_a_new_policy_takes_a_canary_back_and_reserves_nothing(
    house: House,
) -> None:
    await large_refund(house)
    record = await planted(house)
    held = await house.held()
    assert await republish.again(house.ports, record) is republish.Again.REFUSED
    after = await house.ports.store.action(record.request.action_id)
    assert after is not None
    assert after.state is ActionState.CANCELLED
    assert await house.held() == held


async def test_canaries_are_in_no_replay_and_no_habit(house: House) -> None:
    await large_refund(house)
    record = await planted(house)
    await approve(house, "alice", record.approval_id, reason="fine")
    low, high = (
        "0" * 8 + "-0000-7000-8000-" + "0" * 12,
        "f" * 8 + "-ffff-7fff-bfff-" + "f" * 12,
    )
    page = await house.ports.policies.past.page(after=low, until=high, limit=100)
    assert page.records
    assert record.request.action_id not in {one.action_id for one in page.records}
    assert await vigil(house).habits() == []

"""The desk, fake and real: a vote is stored with what it leads to, once, in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio

from broker.core.approvals.votes import Voter, verify_vote
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState, Vote, VoteWord
from broker.core.words.entry import AuditEntry, EntryKind, PayloadRef
from broker.core.words.identity import RegisteredKey
from broker.core.words.money import Money
from broker.effects.clock import RandomIds
from broker.ports import Ballot, CastWord, Desk, OnDesk, PayloadDraft, Sealed
from tests.support.approvals.desk import FakeDesk
from tests.support.approvals.voters import (
    LARGE,
    change_person,
    large_refund,
    signed_vote,
)
from tests.support.flow.house import ENVIRONMENT, PEOPLE, TENANT, House, open_house
from tests.support.flow.template import pg_template
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["pg_template"]

IDS = RandomIds()
DIGEST = "d" * 64
DRAFT = PayloadDraft(IDS.new(), "s", "action", "action", "vote")


def now() -> datetime:
    return datetime.now(UTC)


class Rig(Protocol):
    """A desk, and how a test plays the rest of the world."""

    @property
    def desk(self) -> Desk:
        """Return the desk."""

    async def ask(self, amount: int = LARGE) -> str:
        """Let an approval wait; return its id."""

    async def expire(self, approval_id: str) -> None:
        """Let its time be up."""

    async def forge(self, approval_id: str) -> str:
        """Put a row there that nobody signed; return its id."""

    async def ballot(self, vote: Vote, text: str, **more: Any) -> Ballot:
        """Return a ballot with this vote."""

    async def digest(self, approval_id: str) -> str:
        """Return what is asked."""

    async def suspend(self, name: str) -> None:
        """Suspend a person."""


@dataclass
class FakeRig:
    """Everything in memory."""

    desk: FakeDesk

    async def ask(self, amount: int = LARGE) -> str:
        row = OnDesk(
            approval_id=IDS.new(),
            action_id=IDS.new(),
            action_state=ActionState.PENDING_APPROVAL,
            state=ApprovalState.PENDING,
            tool="orders.refund",
            agent_id="a",
            customer_ref="ref",
            role="supervisor",
            approvers_min=1,
            amount=Money(amount, "USD"),
            barred=frozenset({"o"}),
            votes=0,
            created_at=now(),
            expires_at=now() + timedelta(days=1),
            left_s=0,
        )
        self.desk.put(row)
        return row.approval_id

    async def expire(self, approval_id: str) -> None:
        self.desk.put(replace(self.desk.rows[approval_id], expires_at=now()))

    async def forge(self, approval_id: str) -> str:
        vote_id = IDS.new()
        self.desk.forge(approval_id, vote_id)
        return vote_id

    async def ballot(self, vote: Vote, text: str, **more: Any) -> Ballot:
        ref = PayloadRef(IDS.new(), "s", "action", "action", "vote", "0" * 64)
        return made(vote, Sealed(ref, text.encode()), None, more)

    async def digest(self, approval_id: str) -> str:
        return DIGEST

    async def suspend(self, name: str) -> None:
        self.desk.keys = {**self.desk.keys, PEOPLE[name]: Voter()}


@dataclass
class RealRig:
    """A house on PostgreSQL."""

    house: House
    asked: int = 0

    @property
    def desk(self) -> Desk:
        return self.house.ports.desk

    async def ask(self, amount: int = LARGE) -> str:
        self.asked += 1
        record = await large_refund(self.house, amount + self.asked)
        return record.approval_id

    async def expire(self, approval_id: str) -> None:
        async with self.house.admin() as owner:
            await owner.execute(
                "UPDATE approval SET created_at = now() - interval '1 hour',"
                " expires_at = now() WHERE approval_id = $1",
                approval_id,
            )

    async def forge(self, approval_id: str) -> str:
        vote_id = IDS.new()
        async with self.house.admin() as owner:
            await owner.execute(
                "INSERT INTO vote SELECT $1, $2, $3, 'approve', payload_id, now()"
                " FROM payload LIMIT 1",
                vote_id,
                approval_id,
                PEOPLE["bob"],
            )
        return vote_id

    async def ballot(self, vote: Vote, text: str, **more: Any) -> Ballot:
        vault = self.house.ports.vault
        draft = replace(DRAFT, payload_id=IDS.new())
        payload = await vault.seal({"jws": text}, draft)
        outcome = None
        if more.get("state") is ApprovalState.REJECTED:
            draft = replace(DRAFT, payload_id=IDS.new())
            outcome = await vault.seal({"word": "refused"}, draft)
        return made(vote, payload, outcome, more)

    async def digest(self, approval_id: str) -> str:
        found = await self.house.ports.store.approval(approval_id)
        assert found is not None
        return found[0].digest

    async def suspend(self, name: str) -> None:
        await change_person(self.house, name, status="suspended")


def made(
    vote: Vote, payload: Sealed, outcome: Sealed | None, more: dict[str, Any]
) -> Ballot:
    entry = AuditEntry(IDS.new(), EntryKind.VOTE, now(), TENANT, ENVIRONMENT)
    return Ballot(
        vote=vote,
        state=more.get("state", ApprovalState.PENDING),
        seen=frozenset(more.get("seen", ())),
        payload=payload,
        outcome=outcome,
        entries=(entry,),
    )


# A sync fixture, because making the template database runs a loop of its own.
@pytest.fixture(params=["fake", "real"])
def lent_to_desk(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    if request.param == "fake":
        return None
    return (
        request.getfixturevalue("pg_broker_dsn"),
        request.getfixturevalue("pg_dsn"),
    )


@pytest_asyncio.fixture
async def rig(lent_to_desk: tuple[str, str] | None) -> AsyncIterator[Rig]:
    if lent_to_desk is None:
        slots = {
            person_id: Voter((RegisteredKey(key_of(name).public()),))
            for name, person_id in PEOPLE.items()
        }
        yield FakeRig(FakeDesk(now=now, keys=slots))
        return
    broker_dsn, owner_dsn = lent_to_desk
    async with open_house(broker_dsn, owner_dsn=owner_dsn) as house:
        yield RealRig(house)


async def ballot(
    rig: Rig,
    approval_id: str,
    name: str = "alice",
    word: VoteWord = VoteWord.APPROVE,
    **more: Any,
) -> Ballot:
    text = signed_vote(
        name,
        word,
        approval_id=approval_id,
        digest=await rig.digest(approval_id),
        at=now(),
    )
    voter = Voter((RegisteredKey(key_of(name).public()),))
    vote = verify_vote(text, person_id=PEOPLE[name], voter=voter)
    return await rig.ballot(vote, text, **more)


async def test_a_vote_that_was_counted_stands_among_the_votes(rig: Rig) -> None:
    approval_id = await rig.ask()
    mine = await ballot(rig, approval_id)
    assert await rig.desk.cast(mine) == (CastWord.COUNTED, ApprovalState.PENDING)
    votes, seen = await rig.desk.votes(approval_id)
    assert [*votes] == [mine.vote]
    assert seen == {mine.vote.vote_id}
    found = await rig.desk.find(approval_id)
    assert found is not None
    assert (found.votes, found.state) == (1, ApprovalState.PENDING)


async def test_the_same_vote_again_changes_nothing(rig: Rig) -> None:
    approval_id = await rig.ask()
    mine = await ballot(rig, approval_id)
    await rig.desk.cast(mine)
    again = replace(mine, state=ApprovalState.APPROVED)
    assert await rig.desk.cast(again) == (CastWord.REPEATED, ApprovalState.PENDING)
    found = await rig.desk.find(approval_id)
    assert found is not None
    assert (found.votes, found.state) == (1, ApprovalState.PENDING)


@pytest.mark.parametrize(
    ("leads", "action"),
    [
        (ApprovalState.APPROVED, ActionState.READY),
        (ApprovalState.REJECTED, ActionState.REFUSED),
    ],
)
async def test_a_vote_moves_approval_and_action_together(
    rig: Rig, leads: ApprovalState, action: ActionState
) -> None:
    approval_id = await rig.ask()
    mine = await ballot(rig, approval_id, state=leads)
    assert await rig.desk.cast(mine) == (CastWord.COUNTED, leads)
    found = await rig.desk.find(approval_id)
    assert found is not None
    assert (found.state, found.action_state) == (leads, action)
    late = await ballot(rig, approval_id, "bob", seen=[mine.vote.vote_id])
    assert await rig.desk.cast(late) == (CastWord.CLOSED, leads)


async def test_a_vote_that_looked_at_other_votes_is_not_stored(rig: Rig) -> None:
    approval_id = await rig.ask()
    first = await ballot(rig, approval_id)
    await rig.desk.cast(first)
    blind = await ballot(rig, approval_id, "bob", state=ApprovalState.APPROVED)
    assert await rig.desk.cast(blind) == (CastWord.MOVED, ApprovalState.PENDING)
    assert len((await rig.desk.votes(approval_id))[0]) == 1
    aware = replace(blind, seen=frozenset({first.vote.vote_id}))
    assert await rig.desk.cast(aware) == (CastWord.COUNTED, ApprovalState.APPROVED)


async def test_a_row_that_nobody_signed_is_seen_and_does_not_count(rig: Rig) -> None:
    approval_id = await rig.ask()
    forged = await rig.forge(approval_id)
    votes, seen = await rig.desk.votes(approval_id)
    assert [*votes] == []
    assert seen == {forged}
    mine = await ballot(rig, approval_id)
    assert (await rig.desk.cast(mine))[0] is CastWord.MOVED
    mine = replace(mine, seen=seen)
    assert (await rig.desk.cast(mine))[0] is CastWord.COUNTED


async def test_after_the_expiry_nothing_is_counted_and_it_is_due(rig: Rig) -> None:
    approval_id = await rig.ask()
    assert await rig.desk.due(limit=9) == []
    await rig.expire(approval_id)
    mine = await ballot(rig, approval_id, state=ApprovalState.APPROVED)
    assert await rig.desk.cast(mine) == (CastWord.EXPIRED, ApprovalState.PENDING)
    found = await rig.desk.find(approval_id)
    assert found is not None
    assert (found.left_s, found.votes) == (0, 0)
    assert await rig.desk.due(limit=9) == [found.approval_id]
    assert await rig.desk.due(limit=0) == []


async def test_what_is_not_there_is_unknown(rig: Rig) -> None:
    approval_id, nowhere = await rig.ask(), IDS.new()
    mine = await ballot(rig, approval_id)
    lost = replace(mine, vote=replace(mine.vote, approval_id=nowhere))
    assert await rig.desk.cast(lost) == (CastWord.UNKNOWN, None)
    assert await rig.desk.find(nowhere) is None
    assert await rig.desk.votes(nowhere) == ((), frozenset())
    await rig.desk.hello(nowhere)


async def test_of_many_at_once_exactly_one_vote_ends_it(rig: Rig) -> None:
    approval_id = await rig.ask()
    ballots = [
        await ballot(rig, approval_id, name, state=ApprovalState.APPROVED)
        for name in ("alice", "bob") * 5
    ]
    words = [
        word for word, _ in await asyncio.gather(*(rig.desk.cast(b) for b in ballots))
    ]
    assert words.count(CastWord.COUNTED) == 1
    assert set(words) == {CastWord.COUNTED, CastWord.CLOSED}


async def test_only_an_active_person_has_keys(rig: Rig) -> None:
    voter = await rig.desk.voter(PEOPLE["alice"])
    assert [slot.key.kid for slot in voter.own] == [key_of("alice").kid]
    await rig.suspend("alice")
    assert await rig.desk.voter(PEOPLE["alice"]) == Voter()
    assert await rig.desk.voter(IDS.new()) == Voter()


async def test_a_view_of_the_same_card_within_a_minute_is_one(rig: Rig) -> None:
    first, second = await rig.ask(), await rig.ask()
    looks = [(first, "alice", "0"), (first, "alice", "0"), (first, "bob", "0")]
    looks += [(first, "alice", "1"), (second, "alice", "0")]
    kept = [
        await rig.desk.viewed(
            approval_id,
            person_id=PEOPLE[name],
            shown=shown * 64,
            entry=AuditEntry(IDS.new(), EntryKind.VIEW, now(), TENANT, ENVIRONMENT),
        )
        for approval_id, name, shown in looks
    ]
    assert kept == [True, False, True, True, True]

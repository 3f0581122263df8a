"""Voting: what people are shown, how they vote, and what their votes mean.

A person signs a vote with their own key; this module decides what the vote means and
has vote, verdict and log entries stored in one transaction. It executes nothing: an
approved action is settled by the workflow (flow.settle, through the internal endpoint),
which is told through the outbox and keeps the time. While Temporal is away, asking and
voting go on and settlement waits (ending.py has the clock).

Source: DESIGN, chapters 3 (invariants 5 and 11) and 7 (Votes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Never, assert_never

from broker import case as cases
from broker import deciding, evidence, republish
from broker.approving import views
from broker.approving.ballots import Asked, Signed, ballot_of, note_refused
from broker.core import approve
from broker.core.approvals import card as cards
from broker.core.approvals.votes import check_fresh, verify_vote
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState, VoteWord
from broker.core.words.decision import Reason
from broker.core.words.errors import (
    ApprovalClaimedError,
    ApprovalsCappedError,
    ApprovalStaleError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from broker.core.words.moment import write_moment
from broker.ports import CastWord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import Approver, Tally, Vote
    from broker.core.words.subject import Caller
    from broker.ports import OnDesk, Ports

CAST_TRIES_MAX: Final = 8
"""How often a vote is counted again because other votes came in meanwhile."""

CAPPED_RETRY_S: Final = 60
"""When a person who said yes too often may try again; the hour slides."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a vote led to: where the approval is, and how many signatures it has."""

    approval_id: str
    vote_id: str
    state: ApprovalState
    approved: int
    approvers_min: int


# ------------------------------------------------------------------------ for people


async def card(
    ports: Ports,
    caller: Caller,
    approval_id: str,
    *,
    shown_to: views.Onlooker | None = None,
) -> dict[str, Any]:
    """Return the card: what is asked, its digest, and how things stand.

    Whom it is shown to is recorded; None is nobody.

    Raises:
        NotFoundError: there is no such approval for this person's roles.
        ApprovalStaleError: the action cannot be executed any more.
    """
    person = await person_of(ports, caller)
    asked = await asked_of(ports, approval_id, person)
    shown = await _shown(ports, asked)
    case = await cases.with_totals(ports, asked.case)
    tally, _ = await _tally(ports, asked)
    refusal = approve.may_sign(person, asked.request, at=ports.clock.now())
    if shown_to is not None:
        await views.note(ports, asked, cards.shown(shown), shown_to)
    state = asked.desk.state
    now = cards.meanwhile(tally, case.lines, quorum=asked.request.quorum)
    return {
        "asked": shown,
        "shown": cards.shown(shown),
        "reason_needed": cards.reason_needed(asked.record),
        "now": now
        | {"state": state.value, "action": asked.desk.action_state.value}
        | {"claim": claim_json(asked.desk, person.person_id)},
        "you": {
            "may_approve": state is ApprovalState.PENDING and refusal is None,
            "why_not": _reason_json(refusal),
        },
    }


async def cast(
    ports: Ports,
    caller: Caller,
    approval_id: str,
    signed: str,
    *,
    only: VoteWord | None = None,
) -> Counted:
    """Count a vote that this person signed; the same vote again changes nothing.

    ``only`` is what the vote has to say, if anything else must not count here.

    Raises:
        NotFoundError: there is no such approval for this person's roles.
        ForbiddenError: the vote is not signed by this person, or they may not sign.
        InvalidError: the vote is malformed, old, or lacks a reason that is needed.
        ApprovalStaleError: it was signed for something else than what is asked now.
        ConflictError: the approval has ended, or a newer vote of theirs was counted.
        ApprovalClaimedError: it is a yes, and somebody else works on it.
        ApprovalsCappedError: it is a yes, and this person said yes too often.
    """
    await ports.journal.ready()
    person = await person_of(ports, caller)
    asked = await asked_of(ports, approval_id, person)
    voter = await ports.desk.voter(person.person_id)
    vote = verify_vote(signed, person_id=person.person_id, voter=voter)
    if only not in {None, vote.word}:
        msg = f"only votes that {only} are counted here"
        raise InvalidError(msg, pointer="/vote")
    one = Signed(signed, vote, await _shown(ports, asked))
    _check_vote(asked, one)
    now = ports.clock.now()
    refusal = approve.may_sign(person, asked.request, at=now, word=vote.word)
    if refusal is not None:
        await note_refused(ports, asked, vote, refusal)
        raise ForbiddenError(refusal.text, hint="somebody else must sign this")
    return await count(ports, asked, one)


async def count(ports: Ports, asked: Asked, one: Signed) -> Counted:
    """Count a vote of somebody who may give it, beside those that stand by then."""
    for _ in range(CAST_TRIES_MAX):
        counted = await _cast_once(ports, asked, one)
        if counted is not None:
            return counted
    msg = "other votes keep coming in"
    raise UnavailableError(msg, hint="send the same vote again", retry_after_s=1)


async def _cast_once(ports: Ports, asked: Asked, one: Signed) -> Counted | None:
    """Count the vote beside those that stand; None if others came in meanwhile."""
    vote, now = one.vote, ports.clock.now()
    people = await ports.authority.approvers()
    votes, seen = await ports.desk.votes(vote.approval_id)
    before = approve.latest_votes(asked.request, votes, people=people)
    mine = before.get(vote.person_id)
    if vote.vote_id in seen or (mine is not None and mine.word is vote.word):
        tally, state = await _tally(ports, asked)
        return _counted(asked, vote, state, tally)
    if mine is not None and (mine.at, mine.vote_id) > (vote.at, vote.vote_id):
        msg = "a newer vote of this person was counted"
        raise ConflictError(msg, hint="look at it again, and sign anew")
    check_fresh(vote, now=now)
    tally = approve.tally(asked.request, (*votes, vote), people=people, now=now)
    if tally.state is ApprovalState.EXPIRED:
        await _closed(ports, vote.approval_id)
    ballot = await ballot_of(ports, asked, one, tally, seen)
    word, _ = await ports.desk.cast(ballot)
    match word:
        case CastWord.COUNTED:
            return _counted(asked, vote, tally.state, tally)
        case CastWord.REPEATED | CastWord.MOVED:
            # Looked at again, it is either among the votes that stand, or beside them.
            return None
        case CastWord.CLAIMED:
            return await _claimed(ports, vote.approval_id)
        case CastWord.CAPPED:
            return await _capped(ports, asked, vote)
        case CastWord.CLOSED | CastWord.EXPIRED | CastWord.UNKNOWN:
            return await _closed(ports, vote.approval_id)
        case _:
            assert_never(word)


# -------------------------------------------------------------------------- the parts


async def person_of(ports: Ports, caller: Caller) -> Approver:
    """Return who asks, by their signed row.

    Raises:
        ForbiddenError: the caller is no active person.
    """
    people = await ports.authority.approvers()
    person = people.get(caller.subject_id)
    if person is None or not person.active:
        msg = "only people who are registered here look at approvals"
        raise ForbiddenError(msg)
    return person


async def asked_of(ports: Ports, approval_id: str, person: Approver) -> Asked:
    """Return an approval with its case, decided by the policy in force.

    Raises:
        NotFoundError: there is no such approval for this person's roles now.
        ApprovalStaleError: the action cannot be executed any more.
    """
    return await opened(ports, approval_id, lambda one: _sees(ports, person, one))


async def opened(
    ports: Ports, approval_id: str, sees: Callable[[ActionRecord], bool]
) -> Asked:
    """Return an approval as ``asked_of`` does, for whoever sees its action."""
    found = await ports.desk.find(approval_id)
    record = await ports.store.action(found.action_id) if found else None
    if found is not None and record is not None and sees(record):
        record = await _up_to_date(ports, found, record)
    asks = record.asked if record else None
    if (
        found is None
        or record is None
        or asks is None
        or record.approval_id != approval_id
        or not sees(record)
    ):
        msg = "there is no such approval for you"
        raise NotFoundError(msg)
    case = await cases.reopened(ports, record)
    over = case if isinstance(case, Reason) else cases.stands(case, record)
    if over is not None or isinstance(case, Reason):
        await _over(ports, found, record, over)
    request = deciding.asked(case, record)
    assert request is not None  # noqa: S101  (asks and approval_id were there)
    return Asked(found, record, case, request)


def _sees(ports: Ports, person: Approver, record: ActionRecord) -> bool:
    """Return whether one of a person's roles is asked by now."""
    if record.asked is None:
        return False
    since, now = approve.asked_since(record), ports.clock.now()
    asked = approve.roles_of(record.asked.quorum, since=since, moment=now)
    return not asked.isdisjoint(person.roles)


async def _up_to_date(
    ports: Ports, found: OnDesk, record: ActionRecord
) -> ActionRecord:
    """Have what waits decided by the policy in force before anybody signs it.

    Raises:
        ApprovalStaleError: It asks something else now, or nothing any more.
    """
    replaced = found.state is ApprovalState.STALE
    mine = record.approval_id == found.approval_id
    if mine and found.state is ApprovalState.PENDING:
        policy = await ports.authority.policy()
        if policy.book.version != record.policy_version:
            await republish.again(ports, record)
            record = await ports.store.action(found.action_id) or record
            replaced = record.approval_id != found.approval_id
    if record.approval_id == found.approval_id or not replaced:
        return record
    msg = "the policy changed, and this action is asked anew"
    raise ApprovalStaleError(msg, hint=f"look at approval {record.approval_id}")


async def _over(
    ports: Ports, found: OnDesk, record: ActionRecord, reason: Reason | None
) -> Never:
    """End a pending action that nobody's signature can save, and say so."""
    assert reason is not None  # noqa: S101
    if found.state is ApprovalState.PENDING:
        await evidence.keep_unexecuted(ports, record, reason, ActionState.REFUSED)
    msg = f"this action cannot be executed any more: {reason.text}"
    raise ApprovalStaleError(msg, hint="there is nothing left to sign")


async def _shown(ports: Ports, asked: Asked) -> dict[str, Any]:
    where = asked.case.interaction.interaction_id
    record: Mapping[str, Any] = {}
    for kind, object_id in asked.case.bound.objects[:1]:
        record = await ports.desk.record(where, kind=kind, object_id=object_id)
    name = await ports.desk.name(where)
    if asked.record.scene is not None:
        # Looked for like any other: what is shown of a canary takes no less.
        name, record = asked.record.scene["name"], asked.record.scene["record"]
    return cards.asked(
        asked.record,
        asked.request,
        tool=asked.case.tool,
        customer=cards.Customer(asked.case.interaction, name, record),
        said=await ports.desk.said(where),
        questions=await ports.queue.questions(asked.request.approval_id),
    )


def _check_vote(asked: Asked, one: Signed) -> None:
    """Require that the vote answers what is asked now, as it was shown."""
    vote, request = one.vote, asked.request
    if vote.approval_id != request.approval_id:
        msg = "the vote was signed for another approval"
        raise ForbiddenError(msg, pointer="/vote")
    again = "look at it again, and sign anew"
    if vote.digest != request.digest:
        signed, now = _short(vote.digest), _short(request.digest)
        msg = f"digest {signed} was signed, {now} is asked"
        raise ApprovalStaleError(msg, hint=again)
    if vote.word is VoteWord.REJECT:
        # A no is never made to cost another look.
        return
    if vote.shown != cards.shown(one.shown):
        msg = "the card changed since it was shown"
        raise ApprovalStaleError(msg, hint=again)
    if cards.reason_needed(asked.record) and not vote.reason.strip():
        msg = "a guard found something: say why it may be done nevertheless"
        raise InvalidError(msg, pointer="/vote/reason")


async def _tally(ports: Ports, asked: Asked) -> tuple[Tally, ApprovalState]:
    """Return what the votes mean, and where the approval is by now."""
    people = await ports.authority.approvers()
    votes, _ = await ports.desk.votes(asked.request.approval_id)
    now = ports.clock.now()
    tally = approve.tally(asked.request, votes, people=people, now=now)
    found = await ports.desk.find(asked.request.approval_id)
    return tally, found.state if found else tally.state


async def _closed(ports: Ports, approval_id: str) -> Never:
    found = await ports.desk.find(approval_id)
    ended = found is not None and found.state is not ApprovalState.PENDING
    state = found.state.value if found is not None and ended else "expired"
    msg = f"this approval has ended: {state}"
    raise ConflictError(msg, hint="there is nothing left to sign")


async def _claimed(ports: Ports, approval_id: str) -> Never:
    found = await ports.desk.find(approval_id)
    until = found.claimed_until if found else None
    msg = "somebody else works on this approval"
    hint = f"wait until {write_moment(until)}" if until else "send the same vote again"
    raise ApprovalClaimedError(msg, hint=f"{hint}; a no needs no wait")


async def _capped(ports: Ports, asked: Asked, vote: Vote) -> Never:
    most = asked.case.view.policy.approvals_per_hour
    refusal = Reason("approvals_capped", f"more than {most} approvals within an hour")
    await note_refused(ports, asked, vote, refusal)
    raise ApprovalsCappedError(
        refusal.text,
        hint="somebody else may approve it; to reject it is always possible",
        retry_after_s=CAPPED_RETRY_S,
    )


def claim_json(desk: OnDesk, person_id: str) -> dict[str, Any] | None:
    """Return who works on an approval, as JSON; None if nobody does."""
    if not desk.claimed_by or desk.claimed_until is None:
        return None
    return {
        "by": desk.claimed_by,
        "until": write_moment(desk.claimed_until),
        "you": desk.claimed_by == person_id,
    }


def _counted(asked: Asked, vote: Vote, state: ApprovalState, tally: Tally) -> Counted:
    return Counted(
        approval_id=vote.approval_id,
        vote_id=vote.vote_id,
        state=state,
        approved=len(tally.counted),
        approvers_min=asked.request.quorum.approvers_min,
    )


def _reason_json(reason: Reason | None) -> dict[str, str] | None:
    return {"code": reason.code, "text": reason.text} if reason else None


def _short(digest: str) -> str:
    return f"{digest[:4]}..{digest[-4:]}"

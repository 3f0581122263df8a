"""What a vote leaves behind: its payload, its verdict, and the entries of both.

Everything here builds values; the desk makes each set durable in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from broker import evidence
from broker.core.sealed import action as stored
from broker.core.words.action import Outcome, OutcomeWord
from broker.core.words.approval import ApprovalState
from broker.core.words.entry import EntryKind
from broker.ports import Ballot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.case import Case
    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import ApprovalRequest, Tally, Vote
    from broker.core.words.decision import Reason
    from broker.ports import OnDesk, Ports


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval with the case that it is about, rebuilt from signed rows."""

    desk: OnDesk
    record: ActionRecord
    case: Case
    request: ApprovalRequest


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified vote, as it was sent, beside the card as it is now."""

    text: str
    vote: Vote
    shown: Mapping[str, Any]


async def ballot_of(
    ports: Ports,
    asked: Asked,
    one: Signed,
    tally: Tally,
    seen: frozenset[str],
) -> Ballot:
    """Build what is stored in one transaction: vote, verdict, outcome, entries."""
    vote, case = one.vote, asked.case
    content = {"jws": one.text, "card": dict(one.shown)}
    payload = await evidence.seal(ports, case, content, "vote")
    entries = [
        await evidence.entry_of(
            ports, case, EntryKind.VOTE, _vote_json(one), (payload,)
        )
    ]
    outcome = None
    if tally.state is ApprovalState.APPROVED:
        ended: dict[str, Any] = {
            "approval": vote.approval_id,
            "state": tally.state.value,
            "digest": vote.digest,
            "counted": list(tally.counted),
        }
        if tally.customer:
            ended["customer"] = "confirmed"
        kind = EntryKind.APPROVAL_ENDED
        entries.append(await evidence.entry_of(ports, case, kind, ended, ()))
    elif tally.state is ApprovalState.REJECTED:
        refused = Outcome(OutcomeWord.REFUSED, "rejected", tally.reason, sent=False)
        outcome = await evidence.seal(
            ports, case, stored.outcome_payload(refused, ""), "outcome"
        )
        ended = {
            "outcome": refused.word.value,
            "code": refused.code,
            "sent": False,
            "approval": vote.approval_id,
            "rejected_by": tally.rejected_by,
        }
        kind = EntryKind.OUTCOME
        entries.append(await evidence.entry_of(ports, case, kind, ended, (outcome,)))
    return Ballot(
        vote=vote,
        state=tally.state,
        seen=seen,
        payload=payload,
        outcome=outcome,
        entries=tuple(entries),
        per_hour=case.view.policy.approvals_per_hour,
    )


async def note_refused(ports: Ports, asked: Asked, vote: Vote, refusal: Reason) -> None:
    """Log a vote that does not count: Temporal never hears of it, the log does."""
    detail = {
        "approval": vote.approval_id,
        "vote": vote.vote_id,
        "person": vote.person_id,
        "verdict": vote.word.value,
        "refused": refusal.code,
    }
    entry = await evidence.entry_of(ports, asked.case, EntryKind.VOTE, detail, ())
    await ports.journal.record(entry)


def _vote_json(one: Signed) -> dict[str, Any]:
    vote, who = one.vote, one.vote.confirms
    more = {"channel": who.channel_id, "level": who.level} if who else {}
    return more | {
        "approval": vote.approval_id,
        "vote": vote.vote_id,
        "person": vote.person_id,
        "person_kid": vote.kid,
        "verdict": vote.word.value,
        "digest": vote.digest,
        "shown": vote.shown,
        "typ": vote.typ,
        "strength": vote.strength,
        "session": vote.session or None,
        "vote_sha256": sha256(one.text.encode()).hexdigest(),
    }

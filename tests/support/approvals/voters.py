"""People who vote in tests: they look at a card and sign with their own key."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker import flow
from broker.approving import voting
from broker.core.approvals.votes import vote_claims
from broker.core.jws import sign
from broker.core.words.action import ActionState
from broker.core.words.approval import VOTE_TYP, Vote, VoteWord
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.subject import Caller, Epochs, Grant, SubjectKind
from broker.effects.clock import RandomIds
from broker.registry.records import Change
from tests.support.flow.executor import CARD
from tests.support.flow.house import ENVIRONMENT, PEOPLE, TENANT
from tests.support.identities import key_of

if TYPE_CHECKING:
    from datetime import datetime

    from broker.approving.voting import Counted
    from broker.core.words.action import ActionRecord
    from broker.registry.authority import AuthorityRow
    from tests.support.flow.house import House

IDS = RandomIds()
LARGE, VERY_LARGE, PAID_PLENTY = 20_000, 110_000, 300_000
"""Minor units that need one supervisor, and two; and enough paid for the latter."""


def voter(house: House, name: str) -> Caller:
    """Return a signed-in person."""
    return Caller(
        kind=SubjectKind.PERSON,
        subject_id=PEOPLE[name],
        tenant=TENANT,
        environment=ENVIRONMENT,
        token_id="t2",
        grant_id="g2",
        instance_id="i2",
        kid=key_of(name).kid,
        proof_of_possession=True,
        expires_at=house.ports.clock.now() + timedelta(minutes=5),
        epochs=Epochs((("global:dev", 0), (f"person:{PEOPLE[name]}", 0))),
        grant=Grant(),
    )


def signed_vote(
    name: str,
    word: VoteWord,
    *,
    approval_id: str,
    digest: str,
    at: datetime,
    **changes: Any,
) -> str:
    """Return a vote as this person's own key signs it; changes replace claims."""
    vote = Vote(
        vote_id=changes.pop("vote_id", None) or IDS.new(),
        approval_id=approval_id,
        person_id=PEOPLE[name],
        word=word,
        digest=digest,
        shown=changes.pop("shown", "0" * 64),
        strength="key",
        reason=changes.pop("reason", ""),
        at=at,
    )
    key = changes.pop("key", None) or key_of(name)
    return sign(vote_claims(vote) | changes, key=key, typ=VOTE_TYP)


async def look_and_sign(
    house: House, name: str, approval_id: str, word: VoteWord, **changes: Any
) -> str:
    """Return a vote over the card as this person sees it now."""
    card = await voting.card(house.ports, voter(house, name), approval_id)
    return signed_vote(
        name,
        word,
        approval_id=approval_id,
        at=changes.pop("at", None) or house.ports.clock.now(),
        **{"digest": card["asked"]["digest"], "shown": card["shown"]} | changes,
    )


async def vote(
    house: House, name: str, approval_id: str, word: VoteWord, **changes: Any
) -> Counted:
    """Let a person look, sign and vote."""
    signed = await look_and_sign(house, name, approval_id, word, **changes)
    return await voting.cast(house.ports, voter(house, name), approval_id, signed)


async def approve(house: House, name: str, approval_id: str, **changes: Any) -> Counted:
    """Let a person approve."""
    return await vote(house, name, approval_id, VoteWord.APPROVE, **changes)


async def reject(house: House, name: str, approval_id: str, **changes: Any) -> Counted:
    """Let a person reject."""
    return await vote(house, name, approval_id, VoteWord.REJECT, **changes)


async def large_refund(
    house: House, amount: int = LARGE, *, to: str = CARD
) -> ActionRecord:
    """Return a refund that waits for a person."""
    house.executor.paid = PAID_PLENTY
    interaction = await house.interaction()
    await house.read_order(interaction)
    answer = await flow.submit(house.ports, house.refund(interaction, amount, to=to))
    assert answer.record is not None
    assert answer.record.state is ActionState.PENDING_APPROVAL, answer
    return answer.record


async def state_of(house: House, record: ActionRecord) -> ActionState:
    """Return where an action is now."""
    found = await house.ports.store.action(record.request.action_id)
    assert found is not None
    return found.state


async def change_person(house: House, name: str, **changes: Any) -> None:
    """Publish a new revision of a person, with other fields."""
    row = await house.registry.get("person", PEOPLE[name])
    assert row is not None
    await change_row(house, row, **changes)


async def change_row(house: House, row: AuthorityRow, **changes: Any) -> None:
    """Publish a new revision of a row, with other fields."""
    now = house.ports.clock.now()
    entry = AuditEntry(
        entry_id=IDS.new(),
        kind=EntryKind.AUTHORITY,
        at=now,
        tenant=TENANT,
        environment=ENVIRONMENT,
    )
    body, by = dict(row.body) | changes, ("bootstrap",)
    change = Change(row.kind, row.row_id, body, by, now, row.revision)
    await house.registry.put(change, entry)

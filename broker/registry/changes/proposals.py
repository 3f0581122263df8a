"""A change that waits for a second person: a signed row with what would be signed then.

One waits for each agent or person at most, under an id made of theirs. It holds the
whole body that the row would have, and the revision that it was asked on: if the row
changes meanwhile, the question is void, because it was about another row.

Source: DESIGN, chapter 3 (invariant 11); RFC 9635 has no such thing, so the rules are
our own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.errors import ConflictError, ForbiddenError
from broker.core.words.moment import write_moment
from broker.registry.agents import OVERLAP_S_MAX
from broker.registry.people import Role, require_role
from broker.registry.reading import RowError, moment, number, only, text, uuid, word

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

CHANGE_KIND: Final = "change"
CHANGE_DAYS_MAX: Final = 7
"""How long a change may wait; then it has to be asked for again."""

SECONDERS: Final = frozenset({Role.SECURITY, Role.ADMIN, Role.COMPLIANCE})

_TARGETS = frozenset({"agent", "channel", "person"})
_FIELDS = frozenset(
    {
        "what", "kind", "id", "after", "body", "narrows", "overlap_s",
        "asked_by", "asked_at", "reason", "status", "ended_by",
    }
)  # fmt: skip


class ChangeStatus(StrEnum):
    """What became of a change; only an open one can still be decided."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What the newest signed row of a change says.

    ``what`` names the change as the log does. ``body`` is the row as it would be,
    ``after`` the revision that it was made from. ``overlap_s`` is how long an agent's
    present key goes on beside a new one, from the approval on.
    """

    what: str
    kind: str
    row_id: str
    after: int
    body: Mapping[str, Any]
    asked_by: str
    asked_at: datetime
    revision: int = 0
    reason: str = ""
    narrows: bool = False
    overlap_s: int = 0
    status: ChangeStatus = ChangeStatus.OPEN
    ended_by: str = ""

    @property
    def change_id(self) -> str:
        """Return the id of the change's own row."""
        return change_id(self.kind, self.row_id)

    @property
    def expires_at(self) -> datetime:
        """Return when it cannot be approved any more."""
        return self.asked_at + timedelta(days=CHANGE_DAYS_MAX)

    def waits(self, *, now: datetime, revision: int) -> bool:
        """Return whether it can still be approved, its target being at a revision."""
        return (
            self.status is ChangeStatus.OPEN
            and now < self.expires_at
            and revision == self.after
        )


def change_id(kind: str, row_id: str) -> str:
    """Return the id of the one change that may wait for a row."""
    return f"{kind}-{row_id}"


def parse_proposal(row: AuthorityRow) -> Proposal:
    """Read a change out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _FIELDS)
    would_be, narrows = body.get("body"), body.get("narrows")
    if not isinstance(would_be, dict) or not isinstance(narrows, bool):
        msg = "body or narrows is not what it must be"
        raise RowError(msg)
    found = Proposal(
        what=text(body, "what"),
        kind=word(body, "kind", _TARGETS),
        row_id=uuid(body, "id"),
        after=number(body, "after", low=0, high=2**31 - 1),
        body=would_be,
        asked_by=uuid(body, "asked_by"),
        asked_at=moment(body, "asked_at"),
        revision=row.revision,
        reason=text(body, "reason", empty=True),
        narrows=narrows,
        overlap_s=number(body, "overlap_s", low=0, high=OVERLAP_S_MAX),
        status=ChangeStatus(word(body, "status", {*ChangeStatus})),
        ended_by=text(body, "ended_by", empty=True),
    )
    if found.change_id != row.row_id:
        msg = "the change is another row's"
        raise RowError(msg)
    return found


def proposal_body(proposal: Proposal) -> dict[str, Any]:
    """Return the body that `parse_proposal` reads."""
    return {
        "what": proposal.what,
        "kind": proposal.kind,
        "id": proposal.row_id,
        "after": proposal.after,
        "body": dict(proposal.body),
        "narrows": proposal.narrows,
        "overlap_s": proposal.overlap_s,
        "asked_by": proposal.asked_by,
        "asked_at": write_moment(proposal.asked_at),
        "reason": proposal.reason,
        "status": proposal.status.value,
        "ended_by": proposal.ended_by,
    }


def approved(
    proposal: Proposal,
    actor: PersonRow,
    *,
    now: datetime,
    revision: int,
    interested: Collection[str],
) -> Proposal:
    """Return the change as approved by a second person.

    Args:
        proposal: The change.
        actor: Who approves.
        now: The moment.
        revision: At which revision its target is.
        interested: People who gain by it: they approve nothing here.

    Raises:
        ForbiddenError: They have no such role, asked for it, or gain by it.
        ConflictError: It has ended, waited too long, or its target has changed.
    """
    require_role(actor, SECONDERS)
    if actor.person_id == proposal.asked_by:
        msg = "somebody else must approve it"
        raise ForbiddenError(msg, hint="widening authority takes two people")
    if actor.person_id in interested:
        msg = "nobody approves what gives authority to them, or to an agent of theirs"
        raise ForbiddenError(msg, hint="ask another person of security")
    _check_open(proposal)
    if not proposal.waits(now=now, revision=revision):
        late = now >= proposal.expires_at
        msg = "it has waited too long" if late else "what it is about has changed"
        raise ConflictError(msg, hint="ask for it again")
    return replace(proposal, status=ChangeStatus.APPROVED, ended_by=actor.person_id)


def rejected(proposal: Proposal, actor: PersonRow) -> Proposal:
    """Return the change as refused, or as taken back by who asked.

    Raises:
        ForbiddenError: They have no role that lets them.
        ConflictError: It has ended.
    """
    require_role(actor, SECONDERS)
    _check_open(proposal)
    return replace(proposal, status=ChangeStatus.REJECTED, ended_by=actor.person_id)


def _check_open(proposal: Proposal) -> None:
    if proposal.status is not ChangeStatus.OPEN:
        msg = f"it was {proposal.status.value} already"
        raise ConflictError(msg)

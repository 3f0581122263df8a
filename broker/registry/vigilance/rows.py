"""The switch of canaries, and rights to approve that were suspended: signed rows.

Canaries watch people at work, so they are off until two people switch them on, one of
them of compliance or security, and say where the staff was told. One switches them off.
A right is suspended by the rule; two people give it back, and never to themselves.

Source: DESIGN, chapter 3 (invariant 11); GDPR articles 13 and 88.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.errors import ConflictError, ForbiddenError
from broker.registry.people import Role, check_may_narrow, may_narrow, require_role
from broker.registry.reading import RowError, number, only, text, word

if TYPE_CHECKING:
    from datetime import datetime

    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

SWITCH_KIND: Final = "canaries"
SWITCH_ID: Final = "main"
RIGHT_KIND: Final = "approval_right"
PER_DAY_MAX: Final = 48
DECIDERS: Final = frozenset({Role.SECURITY, Role.COMPLIANCE, Role.ADMIN})

_SWITCH = frozenset({"status", "notice_shown", "agent", "per_day", "asked_by"})
_RIGHT = frozenset({"status", "missed", "seen", "asked_by"})


@dataclass(frozen=True, slots=True)
class Canaries:
    """What the newest signed row of the switch says.

    ``notice_shown`` says where and when the staff was told; ``agent`` in whose name
    they ask; ``asked_by`` is who asked to switch them on, until a second one does.
    ``at`` is when that was said.
    """

    revision: int = 0
    status: str = "off"
    notice_shown: str = ""
    agent: str = ""
    per_day: int = 1
    asked_by: str = ""
    at: datetime | None = field(default=None, compare=False)

    @property
    def on(self) -> bool:
        """Return whether canaries are planted."""
        return self.status == "on"


@dataclass(frozen=True, slots=True)
class Right:
    """One person's right to approve: suspended after ``missed`` of ``seen``, or not."""

    person_id: str
    revision: int = 0
    suspended: bool = False
    missed: int = 0
    seen: int = 0
    asked_by: str = ""


def parse_canaries(row: AuthorityRow) -> Canaries:
    """Read the switch out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _SWITCH)
    found = Canaries(
        revision=row.revision,
        status=word(body, "status", {"off", "asked", "on"}),
        notice_shown=text(body, "notice_shown", empty=True),
        agent=text(body, "agent", empty=True),
        per_day=number(body, "per_day", low=1, high=PER_DAY_MAX),
        asked_by=text(body, "asked_by", empty=True),
        at=row.at,
    )
    if found.status != "off" and not (found.notice_shown and found.agent):
        msg = "canaries need a notice that was shown, and an agent"
        raise RowError(msg)
    return found


def canaries_body(switch: Canaries) -> dict[str, Any]:
    """Return the body that `parse_canaries` reads."""
    return {
        "status": switch.status,
        "notice_shown": switch.notice_shown,
        "agent": switch.agent,
        "per_day": switch.per_day,
        "asked_by": switch.asked_by,
    }


def switched_on(  # noqa: PLR0913  (what is asked, by name)
    now: Canaries,
    actor: PersonRow,
    *,
    asker: PersonRow | None = None,
    notice_shown: str,
    agent: str,
    per_day: int,
) -> Canaries:
    """Ask to switch canaries on, or confirm what somebody else asked.

    Args:
        now: What the newest row says.
        actor: Who says so now.
        asker: Who asked, as they are now; None if that was too long ago. If they may
            not any more, nobody has asked.
        notice_shown: Where and when the staff was told.
        agent: In whose name they ask.
        per_day: How many.

    Raises:
        ForbiddenError: This person may not, or asked it themselves.
        ConflictError: They are on, or something else was asked.
    """
    require_role(actor, DECIDERS)
    if now.on:
        msg = "canaries are on"
        raise ConflictError(msg, hint="switch them off first")
    asked = Canaries(
        now.revision, "asked", notice_shown, agent, per_day, actor.person_id
    )
    if now.status != "asked" or not _decides(asker):
        return asked
    if now.asked_by == actor.person_id:
        msg = "somebody else must confirm it"
        raise ForbiddenError(msg, hint="two people switch canaries on")
    if replace(asked, asked_by=now.asked_by) != now:
        msg = "something else was asked"
        raise ConflictError(msg, hint="say the same, or switch them off and ask anew")
    return replace(now, status="on")


def _decides(person: PersonRow | None) -> bool:
    return (
        person is not None and person.active and not DECIDERS.isdisjoint(person.roles)
    )


def switched_off(now: Canaries, actor: PersonRow) -> Canaries:
    """Switch canaries off, or take the question back; one person does.

    Raises:
        ForbiddenError: This person may not.
    """
    require_role(actor, DECIDERS)
    return replace(now, status="off", asked_by="")


def parse_right(row: AuthorityRow) -> Right:
    """Read a right out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _RIGHT)
    return Right(
        person_id=row.row_id,
        revision=row.revision,
        suspended=word(body, "status", {"suspended", "given_back"}) == "suspended",
        missed=number(body, "missed", low=0, high=10_000),
        seen=number(body, "seen", low=0, high=10_000),
        asked_by=text(body, "asked_by", empty=True),
    )


def right_body(right: Right) -> dict[str, Any]:
    """Return the body that `parse_right` reads."""
    return {
        "status": "suspended" if right.suspended else "given_back",
        "missed": right.missed,
        "seen": right.seen,
        "asked_by": right.asked_by,
    }


def given_back(
    now: Right, actor: PersonRow, *, asker: PersonRow | None = None
) -> Right:
    """Ask to give a right back, or confirm what somebody else asked.

    Args:
        now: What the newest row says.
        actor: Who says so now.
        asker: Who asked, as they are now; None if that was too long ago. If they may
            not any more, nobody has asked.

    Raises:
        ForbiddenError: It is their own, they may not, or asked it themselves.
        ConflictError: It is not suspended.
    """
    check_may_narrow(actor)
    if actor.person_id == now.person_id:
        msg = "nobody gives a right to themselves"
        raise ForbiddenError(msg, hint="ask two others")
    if not now.suspended:
        msg = "this right is not suspended"
        raise ConflictError(msg, hint="there is nothing to give back")
    if asker is None or not may_narrow(asker):
        return replace(now, asked_by=actor.person_id)
    if now.asked_by == actor.person_id:
        msg = "somebody else must confirm it"
        raise ForbiddenError(msg, hint="two people give a right back")
    return replace(now, suspended=False, asked_by="")

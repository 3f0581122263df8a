"""The kill switch: one signed row that stops every agent of an environment.

One person stops everything, at once. To let it go on takes two, and one of them is of
security: the first asks, the second confirms.

Source: DESIGN, chapter 3 (invariants 10 and 11).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.errors import ConflictError, ForbiddenError
from broker.registry.people import Role, check_may_narrow, require_role
from broker.registry.reading import RowError, only

if TYPE_CHECKING:
    from datetime import datetime

    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

KIND: Final = "kill_switch"
ROW_ID: Final = "main"
LIFTERS: Final = frozenset({Role.SECURITY, Role.ADMIN, Role.COMPLIANCE})


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """What the newest signed row says.

    ``revision`` is 0 while nobody ever used it. ``asked_by`` is the person who asked
    to lift it, empty while nobody has; ``asked_for_security`` says whether they are of
    security. ``at`` is when that was said.
    """

    revision: int = 0
    on: bool = False
    asked_by: str = ""
    asked_for_security: bool = False
    at: datetime | None = field(default=None, compare=False)


def parse_kill_switch(row: AuthorityRow) -> KillSwitch:
    """Read the switch out of a verified row.

    Raises:
        RowError: A field is missing, unknown or of another type.
    """
    body = row.body
    only(body, frozenset({"on", "asked_by", "asked_for_security"}))
    on, asked_by, security = (
        body.get("on"),
        body.get("asked_by"),
        body.get("asked_for_security"),
    )
    if (
        not isinstance(on, bool)
        or not isinstance(asked_by, str)
        or not isinstance(security, bool)
    ):
        msg = "on, asked_by or asked_for_security is not what it must be"
        raise RowError(msg)
    return KillSwitch(row.revision, on, asked_by, security, row.at)


def kill_switch_body(switch: KillSwitch) -> dict[str, Any]:
    """Return the body that `parse_kill_switch` reads."""
    return {
        "on": switch.on,
        "asked_by": switch.asked_by,
        "asked_for_security": switch.asked_for_security,
    }


def thrown(switch: KillSwitch, actor: PersonRow) -> KillSwitch:
    """Stop everything; stopping again takes back a request to lift it.

    Raises:
        ForbiddenError: This person may not narrow authority.
    """
    check_may_narrow(actor)
    return KillSwitch(switch.revision, on=True)


def lifted(
    switch: KillSwitch, actor: PersonRow, *, asker: PersonRow | None = None
) -> KillSwitch:
    """Ask to let everything go on, or confirm what somebody else asked.

    Args:
        switch: What the newest row says.
        actor: Who says so now.
        asker: Who asked, as they are now; None if that was too long ago. If they may
            not any more, nobody has asked.

    Raises:
        ConflictError: It is not on.
        ForbiddenError: This person may not, asked already, or neither of the two is of
            security.
    """
    require_role(actor, LIFTERS)
    if not switch.on:
        msg = "the kill switch is not on"
        raise ConflictError(msg, hint="nothing is stopped")
    security = Role.SECURITY in actor.roles
    if not switch.asked_by or not _may_lift(asker):
        return replace(switch, asked_by=actor.person_id, asked_for_security=security)
    if switch.asked_by == actor.person_id:
        msg = "somebody else must confirm it"
        raise ForbiddenError(msg, hint="two people lift the kill switch")
    asked_for_security = asker is not None and Role.SECURITY in asker.roles
    if not (security or asked_for_security):
        msg = "one of the two must be of security"
        raise ForbiddenError(msg, hint="ask a person of security to confirm it")
    return KillSwitch(switch.revision, on=False)


def _may_lift(person: PersonRow | None) -> bool:
    return person is not None and person.active and not LIFTERS.isdisjoint(person.roles)

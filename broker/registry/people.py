"""People: named, with roles and limits; and who of them may change what.

Two rules hold whatever a role says: nobody changes their own roles or limits, and
nobody widens an agent that they own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.approval import Approver
from broker.core.words.errors import ConflictError, ForbiddenError, InvalidError
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, is_currency
from broker.registry.reading import (
    RowError,
    items,
    number,
    only,
    person_name,
    read_keys,
    word,
    write_keys,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from broker.core.words.identity import RegisteredKey
    from broker.registry.agents import AgentRow
    from broker.registry.authority import AuthorityRow

CURRENCIES_MAX: Final = 16
ADMINISTRATORS_MIN: Final = 2
"""How many administrators there are before anybody can act alone against one."""

_FIELDS = frozenset(
    {"name", "roles", "approval_limits", "keys", "status", "console_votes"}
)


class Role(StrEnum):
    """What a person may do."""

    SUPERVISOR = "supervisor"
    SECURITY = "security"
    ADMIN = "admin"
    COMPLIANCE = "compliance"
    OWNER = "owner"


_NARROWERS: Final = frozenset({Role.SECURITY, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class PersonRow:
    """What the newest signed row of a person says.

    ``limits`` is how much they may approve at once, in minor units by currency.
    ``removed`` is an end: no role, limit or key is left.
    ``console_votes`` says whether the console may sign votes for them: only then does
    what the broker signs on their behalf count as theirs.
    """

    person_id: str
    revision: int
    name: str
    roles: frozenset[Role]
    limits: Mapping[str, int]
    keys: tuple[RegisteredKey, ...]
    active: bool
    console_votes: bool = False
    removed: bool = False

    @property
    def status(self) -> str:
        """Return active, suspended or removed."""
        if self.active:
            return "active"
        return "removed" if self.removed else "suspended"

    @property
    def administers(self) -> bool:
        """Return whether this person is an administrator who can act."""
        return self.active and Role.ADMIN in self.roles

    def approver(self) -> Approver:
        """Return what the approve stage needs to know about this person."""
        return Approver(
            person_id=self.person_id,
            roles=frozenset(role.value for role in self.roles),
            limits=self.limits,
            active=self.active,
        )


def parse_person(row: AuthorityRow) -> PersonRow:
    """Read a person out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _FIELDS)
    roles = items(body, "roles")
    if not {*roles} <= {*Role}:
        msg = f"roles are some of {', '.join(Role)}"
        raise RowError(msg)
    status = word(body, "status", {"active", "suspended", "removed"})
    return PersonRow(
        person_id=row.row_id,
        revision=row.revision,
        name=person_name(body),
        roles=frozenset(Role(role) for role in roles),
        limits=_limits(body),
        keys=read_keys(body),
        active=status == "active",
        console_votes=_flag(body, "console_votes"),
        removed=status == "removed",
    )


def person_body(person: PersonRow) -> dict[str, Any]:
    """Return the body that `parse_person` reads."""
    return {
        "name": person.name,
        "roles": sorted(role.value for role in person.roles),
        "approval_limits": dict(person.limits),
        "keys": write_keys(person.keys),
        "status": person.status,
        "console_votes": person.console_votes,
    }


def with_roles(
    person: PersonRow, *, add: Collection[Role] = (), drop: Collection[Role] = ()
) -> PersonRow:
    """Return the person with roles added or taken away.

    Raises:
        ConflictError: They were removed, or nothing would change.
    """
    _check_there(person)
    roles = (person.roles | {*add}) - {*drop}
    if roles == person.roles:
        msg = "nothing would change"
        raise ConflictError(msg)
    return replace(person, roles=roles)


def with_limits(person: PersonRow, limits: Mapping[str, int]) -> PersonRow:
    """Return the person with other limits; 0 takes a currency away.

    Raises:
        ConflictError: They were removed, or nothing would change.
        InvalidError: There are more than CURRENCIES_MAX.
    """
    _check_there(person)
    merged = {**person.limits, **limits}
    left = {currency: limit for currency, limit in sorted(merged.items()) if limit}
    if left == {**person.limits}:
        msg = "nothing would change"
        raise ConflictError(msg)
    if len(left) > CURRENCIES_MAX:
        msg = f"a person has limits in up to {CURRENCIES_MAX} currencies"
        raise InvalidError(msg, pointer="/approval_limits")
    return replace(person, limits=left)


def as_active(person: PersonRow) -> PersonRow:
    """Return a suspended person as active again.

    Raises:
        ConflictError: They are not suspended.
    """
    _check_there(person)
    if person.active:
        msg = "this person is not suspended"
        raise ConflictError(msg)
    return replace(person, active=True)


def as_removed(person: PersonRow) -> PersonRow:
    """Return the person without role, limit or key, for good.

    Raises:
        ConflictError: They were removed before.
    """
    _check_there(person)
    return replace(
        person,
        roles=frozenset(),
        limits={},
        keys=(),
        active=False,
        console_votes=False,
        removed=True,
    )


def widens(before: PersonRow, after: PersonRow) -> bool:
    """Return whether somebody can do more afterwards, in any one respect."""
    raised = any(
        limit > before.limits.get(currency, 0)
        for currency, limit in after.limits.items()
    )
    return raised or not after.roles <= before.roles or after.active > before.active


def bootstrap_closed(ever: Iterable[Collection[str]]) -> bool:
    """Return whether there have been enough administrators to change people by rules.

    ``ever`` are, for each person, the roles that they have ever had: an administrator
    who was removed does not open the way again.
    """
    administrators = sum(Role.ADMIN in roles for roles in ever)
    return administrators >= ADMINISTRATORS_MIN


def takes_two(
    before: PersonRow, after: PersonRow, everybody: Iterable[PersonRow]
) -> bool:
    """Return whether one person must not do this alone.

    What widens takes two. So does what would end one of the last ADMINISTRATORS_MIN
    administrators: otherwise one of the two could put the other one out.
    """
    if widens(before, after):
        return True
    if not before.administers or after.administers:
        return False
    administrators = sum(person.administers for person in everybody)
    return administrators <= ADMINISTRATORS_MIN


def _check_there(person: PersonRow) -> None:
    if person.removed:
        msg = "this person was removed"
        raise ConflictError(msg, hint="add them anew")


def check_may_see(actor: PersonRow) -> None:
    """Require a role that may look into the registry.

    Raises:
        ForbiddenError: This person has none.
    """
    require_role(actor, {Role.SECURITY, Role.ADMIN, Role.COMPLIANCE})


def check_may_narrow(actor: PersonRow) -> None:
    """Require a role that may take authority away; narrowing never waits for two.

    Raises:
        ForbiddenError: This person has none.
    """
    require_role(actor, _NARROWERS)


def may_narrow(person: PersonRow) -> bool:
    """Return whether a person may take authority away, as they are now."""
    return person.active and not _NARROWERS.isdisjoint(person.roles)


def check_may_widen(actor: PersonRow, agent: AgentRow) -> None:
    """Require a role that may give an agent authority, and no interest in that agent.

    Raises:
        ForbiddenError: This person has no such role, or owns the agent.
    """
    require_role(actor, {Role.SECURITY, Role.ADMIN})
    if actor.person_id == agent.owner:
        msg = "nobody widens an agent that they own"
        raise ForbiddenError(msg, hint="ask another person of security")


def check_may_change_use_case(actor: PersonRow, *, owner: str) -> None:
    """Require a role that may give a use case tools, and that it is not their own.

    Raises:
        ForbiddenError: This person has no such role, or answers for the use case.
    """
    require_role(actor, {Role.SECURITY, Role.ADMIN})
    if actor.person_id == owner:
        msg = "nobody widens a use case that they answer for"
        raise ForbiddenError(msg, hint="ask another person of security")


def check_may_change_person(actor: PersonRow, person_id: str) -> None:
    """Require an administrator, and that it is about somebody else.

    Raises:
        ForbiddenError: This person is none, or would change their own authority.
    """
    require_role(actor, {Role.ADMIN})
    if actor.person_id == person_id:
        msg = "nobody changes their own roles, limits or keys"
        raise ForbiddenError(msg, hint="ask another administrator")


def require_role(actor: PersonRow, roles: Collection[Role]) -> None:
    """Require one of some roles.

    Raises:
        ForbiddenError: This person has none of them, or is not active.
    """
    if not actor.active or actor.roles.isdisjoint(roles):
        msg = f"this needs a role of: {', '.join(sorted(roles))}"
        raise ForbiddenError(msg)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        msg = f"{name} is neither true nor false"
        raise RowError(msg)
    return value


def _limits(body: Mapping[str, Any]) -> dict[str, int]:
    limits = body.get("approval_limits")
    if (
        not isinstance(limits, dict)
        or len(limits) > CURRENCIES_MAX
        or not all(is_currency(currency) for currency in limits)
    ):
        msg = "approval_limits is no object of currencies"
        raise RowError(msg)
    return {
        currency: number(limits, currency, low=0, high=AMOUNT_MINOR_UNITS_MAX)
        for currency in sorted(limits)
    }

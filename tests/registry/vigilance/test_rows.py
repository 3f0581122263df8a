"""The switch takes two and a notice; a right comes back by two, never by oneself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.core.words.errors import ConflictError, ForbiddenError
from broker.registry.authority import AuthorityRow
from broker.registry.people import PersonRow, Role
from broker.registry.reading import RowError
from broker.registry.vigilance.rows import (
    PER_DAY_MAX,
    Canaries,
    Right,
    canaries_body,
    given_back,
    parse_canaries,
    parse_right,
    right_body,
    switched_off,
    switched_on,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
TERMS: dict[str, Any] = {"notice_shown": "intranet", "agent": "a", "per_day": 2}


def person(name: str, *roles: Role) -> PersonRow:
    return PersonRow(name, 1, name, frozenset(roles), {}, (), active=True)


CAROL, DORA = person("carol", Role.SECURITY), person("dora", Role.COMPLIANCE)
ALICE = person("alice", Role.SUPERVISOR)


def row(kind: str, body: dict[str, Any]) -> AuthorityRow:
    return AuthorityRow(kind, "main", 4, AT, ("x",), "demo", "dev", body)


def test_two_people_switch_canaries_on_and_one_switches_them_off() -> None:
    asked = switched_on(Canaries(), CAROL, **TERMS)
    assert (asked.on, asked.asked_by) == (False, "carol")
    with pytest.raises(ForbiddenError, match="somebody else"):
        switched_on(asked, CAROL, asker=CAROL, **TERMS)
    with pytest.raises(ConflictError, match="something else"):
        switched_on(asked, DORA, asker=CAROL, **(TERMS | {"per_day": 3}))
    with pytest.raises(ForbiddenError):
        switched_on(asked, ALICE, **TERMS)
    on = switched_on(asked, DORA, asker=CAROL, **TERMS)
    assert on.on
    with pytest.raises(ConflictError, match="are on"):
        switched_on(on, CAROL, **TERMS)
    with pytest.raises(ForbiddenError):
        switched_off(on, ALICE)
    assert switched_off(on, CAROL).status == "off"


@pytest.mark.parametrize("gone", [None, person("carol", Role.SUPERVISOR)])
def test_canaries_that_somebody_asked_for_who_may_not_any_more_are_asked_for_anew(
    gone: PersonRow | None,
) -> None:
    asked = switched_on(Canaries(), CAROL, **TERMS)
    again = switched_on(asked, DORA, asker=gone, **TERMS)
    assert (again.on, again.asked_by) == (False, "dora")


def test_two_people_give_a_right_back_and_neither_is_its_own() -> None:
    lost = Right("alice", suspended=True, missed=4, seen=4)
    asked = given_back(lost, CAROL)
    assert asked.suspended
    with pytest.raises(ForbiddenError, match="somebody else"):
        given_back(asked, CAROL, asker=CAROL)
    admin = person("alice", Role.ADMIN)
    with pytest.raises(ForbiddenError, match="themselves"):
        given_back(asked, admin, asker=CAROL)
    ed = person("ed", Role.ADMIN)
    assert not given_back(asked, ed, asker=CAROL).suspended
    # Whoever asked may have lost their role meanwhile: then ed is the first.
    for gone in (None, person("carol", Role.SUPERVISOR)):
        again = given_back(asked, ed, asker=gone)
        assert (again.suspended, again.asked_by) == (True, "ed")
    with pytest.raises(ConflictError, match="not suspended"):
        given_back(Right("alice"), CAROL)


def test_what_is_written_is_what_is_read_and_nothing_else_counts() -> None:
    on = Canaries(4, "on", "intranet", "a", PER_DAY_MAX, "carol")
    assert parse_canaries(row("canaries", canaries_body(on))) == on
    right = Right("main", 4, suspended=True, missed=3, seen=5, asked_by="carol")
    assert parse_right(row("approval_right", right_body(right))) == right
    for change in (
        {"status": "maybe"},
        {"notice_shown": ""},
        {"per_day": PER_DAY_MAX + 1},
        {"more": 1},
    ):
        with pytest.raises(RowError):
            parse_canaries(row("canaries", canaries_body(on) | change))
    for change in ({"status": "fine"}, {"missed": -1}, {"more": 1}):
        with pytest.raises(RowError):
            parse_right(row("approval_right", right_body(right) | change))
    assert replace(on, status="off").on is False

"""The kill switch: one stops, two let go on, and one of them is of security."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.core.words.errors import ConflictError, ForbiddenError
from broker.registry.authority import AuthorityRow
from broker.registry.emergency.kill_switch import (
    KillSwitch,
    kill_switch_body,
    lifted,
    parse_kill_switch,
    thrown,
)
from broker.registry.people import PersonRow, Role
from broker.registry.reading import RowError


def person(name: str, *roles: Role, active: bool = True) -> PersonRow:
    return PersonRow(name, 1, name, frozenset(roles), {}, (), active)


CAROL = person("carol", Role.SECURITY)
DAVE = person("dave", Role.COMPLIANCE)
ERIN = person("erin", Role.ADMIN)
ALICE = person("alice", Role.SUPERVISOR)
ON = KillSwitch(1, on=True)


def test_one_person_stops_everything_and_whoever_may_not_does_not() -> None:
    for actor in (CAROL, ERIN):
        assert thrown(KillSwitch(), actor).on
    for actor in (ALICE, DAVE, person("gone", Role.SECURITY, active=False)):
        with pytest.raises(ForbiddenError):
            thrown(KillSwitch(), actor)


def test_nobody_lifts_it_alone() -> None:
    asked = lifted(ON, CAROL)
    assert asked.on
    with pytest.raises(ForbiddenError, match="somebody else"):
        lifted(asked, CAROL, asker=CAROL)
    assert not lifted(asked, DAVE, asker=CAROL).on
    assert not lifted(lifted(ON, DAVE), CAROL, asker=DAVE).on


def test_one_of_the_two_is_of_security() -> None:
    with pytest.raises(ForbiddenError, match="of security"):
        lifted(lifted(ON, DAVE), ERIN, asker=DAVE)
    with pytest.raises(ForbiddenError):
        lifted(ON, ALICE)


@pytest.mark.parametrize(
    "gone",
    [
        None,
        person("carol", Role.SUPERVISOR),
        person("carol", Role.SECURITY, active=False),
    ],
)
def test_what_somebody_asked_who_may_not_any_more_was_asked_by_nobody(
    gone: PersonRow | None,
) -> None:
    asked = lifted(ON, CAROL)
    again = lifted(asked, DAVE, asker=gone)
    assert (again.on, again.asked_by) == (True, "dave")


def test_whoever_was_of_security_when_they_asked_is_it_still() -> None:
    moved = person("carol", Role.ADMIN)
    with pytest.raises(ForbiddenError, match="of security"):
        lifted(lifted(ON, CAROL), DAVE, asker=moved)


def test_what_is_off_is_not_lifted_and_stopping_again_takes_a_request_back() -> None:
    with pytest.raises(ConflictError):
        lifted(KillSwitch(), CAROL)
    again = thrown(lifted(ON, DAVE), CAROL)
    assert (again.on, again.asked_by) == (True, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"on": "yes"},
        {"on": 1},
        {"asked_by": None},
        {"asked_for_security": 0},
        {"more": 1},
    ],
)
def test_a_row_that_says_something_else_is_no_switch(changes: dict) -> None:
    body = kill_switch_body(ON)
    fields: dict[str, Any] = {
        "kind": "kill_switch",
        "row_id": "main",
        "revision": 1,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "by": ("person:x",),
        "tenant": "demo",
        "environment": "dev",
    }
    assert parse_kill_switch(AuthorityRow(body=body, **fields)) == ON
    with pytest.raises(RowError):
        parse_kill_switch(AuthorityRow(body=body | changes, **fields))

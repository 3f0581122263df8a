"""What time makes due while people are asked follows from what was decided."""

from __future__ import annotations

from datetime import timedelta

from broker.core.approvals.timetable import Mark, MarkKind, due, marks, next_at
from broker.core.words.decision import Quorum, Rung
from tests.support.cases import NOW

HOUR = timedelta(hours=1)
WEEK = Quorum(
    1,
    "supervisor",
    7 * 86_400,
    remind_s=3_600,
    ladder=(Rung("compliance", 7_200), Rung("admin", 86_400)),
)
REMINDED = Mark(MarkKind.REMINDER, "supervisor", NOW + HOUR)
COMPLIANCE = Mark(MarkKind.ESCALATED, "compliance", NOW + 2 * HOUR)
ADMIN = Mark(MarkKind.ESCALATED, "admin", NOW + 24 * HOUR)


def test_people_are_reminded_then_others_are_asked_then_it_ends() -> None:
    assert marks(WEEK, since=NOW) == (REMINDED, COMPLIANCE, ADMIN)
    looks, moment = [], NOW
    while moment < NOW + timedelta(days=7):
        moment = next_at(WEEK, since=NOW, now=moment)
        looks.append(moment)
    assert looks == [NOW + HOUR, NOW + 2 * HOUR, NOW + 24 * HOUR, NOW + 168 * HOUR]


def test_a_thing_is_due_at_its_moment_and_not_before() -> None:
    just_before = NOW + HOUR - timedelta(microseconds=1)
    assert due(WEEK, since=NOW, now=just_before) == ()
    assert due(WEEK, since=NOW, now=NOW + HOUR) == (REMINDED,)
    assert due(WEEK, since=NOW, now=NOW + 3 * HOUR) == (REMINDED, COMPLIANCE)


def test_a_late_reminder_goes_to_everybody_who_is_asked_by_then() -> None:
    late = Quorum(1, "supervisor", 9_000, 8_000, (Rung("compliance", 7_200),))
    found = [mark.role for mark in marks(late, since=NOW) if mark.kind == "reminder"]
    assert found == ["compliance", "supervisor"]


def test_a_quorum_that_says_nothing_of_time_only_expires() -> None:
    plain = Quorum(1, "supervisor", 60)
    assert marks(plain, since=NOW) == ()
    assert next_at(plain, since=NOW, now=NOW) == NOW + timedelta(seconds=60)

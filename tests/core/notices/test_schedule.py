"""Who is told what, and when it is sent again."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.notices.schedule import (
    PAUSE_FIRST_S,
    PAUSE_S_MAX,
    PER_HOUR_MAX,
    PER_HOUR_USUAL,
    TRIES_MAX,
    Subscription,
    Told,
    pause_s,
    wanted,
)
from broker.core.words.approval import Approver
from broker.core.words.notice import NoticeForm, NoticeKind

ALICE = Approver("alice", frozenset({"supervisor"}), {}, active=True)
BOB = Approver("bob", frozenset({"security"}), {}, active=True)
GONE = Approver("gone", frozenset({"supervisor"}), {}, active=False)
PEOPLE = {one.person_id: one for one in (ALICE, BOB, GONE)}


def told(kind: NoticeKind = NoticeKind.ASKED, **more: Any) -> Told:
    return Told(
        notice_id="n", kind=kind, topic="t", at=datetime(2026, 1, 1, tzinfo=UTC), **more
    )


def hook(**more) -> Subscription:
    plain = {"subscription_id": "s", "form": NoticeForm.EVENT, "connector": "notify_x"}
    return Subscription(**(plain | more))


def mail(person: str, **more) -> Subscription:
    return hook(form=NoticeForm.MAIL, person_id=person, **more)


def asked_of_supervisors(one: Subscription, **more: Any) -> bool:
    return wanted(one, told(**({"role": "supervisor"} | more)), people=PEOPLE)


def test_a_role_is_told_what_it_is_asked_and_a_receiver_of_everything_too() -> None:
    assert asked_of_supervisors(hook())
    assert asked_of_supervisors(hook(role="supervisor"))
    assert not asked_of_supervisors(hook(role="security"))


def test_mail_goes_to_whoever_has_the_role_and_is_active() -> None:
    assert asked_of_supervisors(mail("alice"))
    for person in ("bob", "gone", "nobody"):
        assert not asked_of_supervisors(mail(person))


def test_what_is_for_one_person_is_not_for_the_others_of_the_role() -> None:
    assert asked_of_supervisors(mail("alice"), person_id="alice")
    assert not asked_of_supervisors(mail("alice"), person_id="bob")
    assert not asked_of_supervisors(hook(role="supervisor"), person_id="alice")
    assert asked_of_supervisors(hook(), person_id="alice")


def test_who_wants_some_kinds_gets_no_others_and_a_removed_one_gets_nothing() -> None:
    only = hook(kinds=frozenset({NoticeKind.EXPIRED}))
    assert not asked_of_supervisors(only)
    assert wanted(only, told(NoticeKind.EXPIRED), people=PEOPLE)
    assert not asked_of_supervisors(hook(active=False))
    assert not wanted(hook(), told(NoticeKind.TEST), people=PEOPLE)


@given(tries=st.integers(1, 200), chance=st.floats(0, 1))
def test_pauses_double_up_to_the_longest_and_spread_around_it(tries, chance) -> None:
    middle = min(PAUSE_S_MAX, PAUSE_FIRST_S * 2 ** (tries - 1))
    assert middle / 2 <= pause_s(tries, chance=chance) <= middle * 1.5


def test_all_tries_together_take_about_an_hour() -> None:
    whole = sum(pause_s(tries, chance=0.5) for tries in range(1, TRIES_MAX))
    assert 3_000 < whole < 7_200
    assert PER_HOUR_USUAL < PER_HOUR_MAX


@pytest.mark.parametrize(("tries", "chance"), [(0, 0.5), (1, -0.1), (1, 1.1)])
def test_a_pause_before_the_first_try_is_none(tries, chance) -> None:
    with pytest.raises(ValueError, match="no pause"):
        pause_s(tries, chance=chance)

"""The schedule of faults follows from the seed alone, and covers what it must."""

from __future__ import annotations

import pytest

from broker.core.approvals.codec import CODEC_KEYS_MAX
from tests.support.chaos.schedule import (
    LARGE,
    PARTS,
    RUNS_MAX,
    Kind,
    Step,
    Upstream,
    schedule,
)
from tests.support.chaos.shop import buyers

DAY_MINOR_UNITS = 1_000_000
"""What the demo's policy lets one agent move in a day."""


def test_the_same_seed_gives_the_same_schedule_of_faults() -> None:
    assert schedule(7, 200) == schedule(7, 200)
    assert [run.line() for run in schedule(7, 50)] == [
        run.line() for run in schedule(7, 50)
    ]
    assert schedule(7, 200)[:20] == schedule(7, 20)
    assert schedule(8, 200) != schedule(7, 200)


def test_two_hundred_runs_kill_every_part_alone_and_in_pairs_at_every_step() -> None:
    runs = schedule(1, 200)
    assert {run.step for run in runs} == {*Step}
    assert {run.upstream for run in runs} == {*Upstream}
    alone = {run.parts[0] for run in runs if len(run.parts) == 1}
    paired = {part for run in runs if len(run.parts) == 2 for part in run.parts}
    assert alone == paired == {*PARTS}
    assert {want.kind for run in runs for want in run.wants} == {*Kind}


def test_the_codecs_key_is_rotated_while_approvals_wait_as_often_as_it_can_be() -> None:
    turned = [run for run in schedule(5, RUNS_MAX) if run.turns_key]
    # The ring holds the first key and what was rotated within a month.
    assert 0 < len(turned) < CODEC_KEYS_MAX
    for run in turned:
        assert {want.kind for want in run.wants} > {Kind.APPROVED}
        assert "codec key rotated" in run.line()
    assert any(run.turns_key for run in schedule(5, 40))


def test_so_many_runs_fit_into_the_policys_day_and_no_more_are_played() -> None:
    runs = schedule(3, RUNS_MAX)
    moved = sum(
        want.amount
        for run in runs
        for want in run.wants
        if want.kind in {Kind.SMALL, Kind.APPROVED}
    )
    assert moved <= DAY_MINOR_UNITS
    for wrong in (0, RUNS_MAX + 1):
        with pytest.raises(ValueError, match=str(RUNS_MAX)):
            schedule(3, wrong)


def test_a_refund_can_be_told_from_all_others_on_its_order() -> None:
    wants = [want for run in schedule(3, RUNS_MAX) for want in run.wants]
    assert len({want.key for want in wants}) == len(wants)
    assert len({(want.customer, want.amount) for want in wants}) == len(wants)
    people = buyers()
    for number, buyer in enumerate(people):
        asked = sum(want.amount for want in wants if want.customer == number)
        assert asked <= buyer.paid_minor_units
        assert all(
            want.amount >= LARGE or want.kind is Kind.SMALL
            for want in wants
            if want.customer == number
        )

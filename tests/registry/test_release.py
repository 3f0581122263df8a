"""A frozen budget is let go by a signed row alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.core.words.budget import Total
from broker.core.words.moment import write_moment
from broker.registry.authority import AuthorityRow
from broker.registry.limits.release import (
    FREEZES_MAX,
    RELEASE_KIND,
    RELEASED_WINDOWS_MAX,
    in_doubt,
    parse_release,
    release_body,
    unreleased,
)
from broker.registry.reading import RowError
from tests.support.cases import NOW

BUDGET = "ab" * 32
KEY = (BUDGET, NOW)
TWICE = Total(posted=1, freezes=2)
SINCE = write_moment(NOW)


def row(body: object) -> AuthorityRow:
    made: dict[str, object] = {"windows": body}
    return AuthorityRow(RELEASE_KIND, BUDGET, 1, NOW, (), "demo", "dev", made)


@pytest.mark.parametrize(
    ("signed", "frozen"),
    [
        ({}, True),
        ({BUDGET: {}}, True),
        ({BUDGET: {SINCE: 1}}, True),
        ({BUDGET: {SINCE: 2}}, False),
        ({BUDGET: {write_moment(NOW + timedelta(days=1)): 2}}, True),
        ({"cd" * 32: {SINCE: 2}}, True),
    ],
)
def test_a_budget_stays_frozen_until_somebody_signed_for_each_freeze(
    signed: dict[str, dict[str, int]], *, frozen: bool
) -> None:
    assert unreleased({KEY: TWICE}, signed)[KEY] == replace(TWICE, frozen=frozen)


def test_only_what_was_frozen_and_is_said_not_to_be_is_asked_about() -> None:
    assert in_doubt({KEY: TWICE}) == {BUDGET}
    assert in_doubt({KEY: replace(TWICE, frozen=True)}) == frozenset()
    assert in_doubt({KEY: Total(posted=5)}) == frozenset()
    # Whatever is signed, what its row calls frozen is frozen.
    held = {KEY: replace(TWICE, frozen=True)}
    assert unreleased(held, {BUDGET: {SINCE: 2}}) == held


def test_a_release_speaks_of_so_many_windows_the_newest_and_not_one_more() -> None:
    windows = {
        write_moment(NOW + timedelta(days=n)): 1 for n in range(RELEASED_WINDOWS_MAX)
    }
    assert parse_release(row(windows)) == windows
    assert parse_release(row({SINCE: FREEZES_MAX})) == {SINCE: FREEZES_MAX}
    with pytest.raises(RowError, match="integer"):
        parse_release(row({SINCE: FREEZES_MAX + 1}))
    later = write_moment(NOW + timedelta(days=RELEASED_WINDOWS_MAX))
    with pytest.raises(RowError, match="windows"):
        parse_release(row({**windows, later: 1}))
    body = release_body(windows, {later: 3})["windows"]
    assert len(body) == RELEASED_WINDOWS_MAX
    assert (body[later], SINCE in body) == (3, False)


@pytest.mark.parametrize("windows", [None, [], {SINCE: 0}, {SINCE: True}, {SINCE: "1"}])
def test_a_release_that_is_none_is_refused(windows: object) -> None:
    with pytest.raises(RowError):
        parse_release(row(windows))

"""Limits beside the policy: they only ever narrow, and are read strictly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.jws import sign
from broker.core.limits.scope import Scope
from broker.core.limits.window import Window
from broker.core.words.budget import BudgetRule
from broker.core.words.errors import ForbiddenError
from broker.core.words.identity import RegisteredKey
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.registry.limits.beside import (
    LIMIT_SIGNATURE_CHARS_MAX,
    LIMIT_TYP,
    LimitRow,
    limit_body,
    limit_claims,
    limit_id,
    lowers,
    narrowed,
    parse_limit,
    proposed_by,
    raised,
)
from broker.registry.people import PersonRow, Role
from broker.registry.reading import RowError
from tests.support.identities import key_of
from tests.support.identity.rows import row_of

WHO = "0197a000-0000-7000-8000-0000000000b3"
amounts = st.integers(0, AMOUNT_MINOR_UNITS_MAX)


def body(**changes: Any) -> dict[str, Any]:
    return {"rule": "agent.day_1", "limit": 5, "proposed": None} | changes


def read(content: dict[str, Any]) -> LimitRow:
    return parse_limit(row_of(content, kind="limit", row_id=limit_id("agent.day_1")))


@given(policy=amounts, beside=amounts)
def test_the_lower_of_two_limits_holds(policy, beside) -> None:
    rule = BudgetRule("day", frozenset({Scope.AGENT}), "USD", Window.DAY, policy)
    (found,) = narrowed((rule,), {"day": beside, "other": 0})
    assert found.limit == min(policy, beside)


def test_what_was_paid_for_an_object_is_not_replaced() -> None:
    rule = BudgetRule("paid", frozenset({Scope.OBJECT}), "USD", Window.EVER, None)
    assert narrowed((rule,), {"paid": 5}) == (rule,)


@given(now=st.none() | amounts, wanted=st.none() | amounts)
def test_only_what_is_not_above_the_one_in_force_is_lowered_by_one(now, wanted) -> None:
    row = LimitRow("day", limit=now)
    infinite = AMOUNT_MINOR_UNITS_MAX + 1
    before = infinite if now is None else now
    after = infinite if wanted is None else wanted
    assert lowers(row, wanted) is (after <= before and wanted is not None)


def signed(person: PersonRow, limit: int) -> str:
    claims = limit_claims(person.person_id, rule_id="day", limit=limit, after=1)
    return sign(claims, key=key_of(person.name), typ=LIMIT_TYP)


@pytest.mark.parametrize(
    "gone", [None, {"active": False}, {"roles": frozenset({Role.SUPERVISOR})}]
)
def test_a_raise_of_somebody_who_may_not_any_more_is_signed_by_nobody(gone) -> None:
    carol, dave = (
        PersonRow(who, 1, name, frozenset({Role.SECURITY}), {}, (key,), active=True)
        for who, name, key in (
            (WHO, "carol", RegisteredKey(key_of("carol").public())),
            (WHO[:-1] + "5", "dave", RegisteredKey(key_of("dave").public())),
        )
    )
    asked = proposed_by(carol, LimitRow("day", 1, 5), 9, signed(carol, 9))
    first = replace(carol, **gone) if gone else None
    with pytest.raises(ForbiddenError, match="may not set limits any more"):
        raised(dave, asked, signed(dave, 9), first=first)
    assert raised(dave, asked, signed(dave, 9), first=carol).limit == 9


def test_a_raise_whose_first_key_was_taken_away_is_signed_by_nobody() -> None:
    carol, dave = (
        PersonRow(who, 1, name, frozenset({Role.SECURITY}), {}, (key,), active=True)
        for who, name, key in (
            (WHO, "carol", RegisteredKey(key_of("carol").public())),
            (WHO[:-1] + "5", "dave", RegisteredKey(key_of("dave").public())),
        )
    )
    asked = proposed_by(carol, LimitRow("day", 1, 5), 9, signed(carol, 9))
    another = replace(carol, keys=(RegisteredKey(key_of("another").public()),))
    with pytest.raises(ForbiddenError, match="any more"):
        raised(dave, asked, signed(dave, 9), first=another)


def test_a_row_is_read_as_it_is_written() -> None:
    longest = "s" * LIMIT_SIGNATURE_CHARS_MAX
    proposed = {"limit": None, "by": WHO, "signature": longest, "after": 3}
    for content in (body(), body(limit=None), body(proposed=proposed)):
        assert limit_body(read(content)) == content


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "another"},
        {"limit": -1},
        {"limit": 1.5},
        {"limit": AMOUNT_MINOR_UNITS_MAX + 1},
        {"more": 1},
        {"proposed": []},
        {"proposed": {"limit": 1, "by": WHO, "signature": "s"}},
        {"proposed": {"limit": 1, "by": "me", "signature": "s", "after": 0}},
        {
            "proposed": {
                "limit": 1,
                "by": WHO,
                "signature": "s" * (LIMIT_SIGNATURE_CHARS_MAX + 1),
                "after": 0,
            }
        },
    ],
)
def test_a_body_of_another_form_is_refused(changes) -> None:
    with pytest.raises(RowError):
        read(body(**changes))

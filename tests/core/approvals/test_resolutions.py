"""What a person signs about an unknown outcome: its form, and who may sign it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.core.approvals.resolutions import (
    RESOLUTION_BYTES_MAX,
    RESOLUTION_REASON_LENGTH_MAX,
    Resolution,
    check_recent,
    may_resolve,
    verify_resolution,
)
from broker.core.approvals.votes import VOTE_AGE_S_MAX
from broker.core.jws import sign
from broker.core.words.approval import RESOLUTION_TYP, Approver
from broker.core.words.errors import ForbiddenError, InvalidError
from broker.core.words.identity import RegisteredKey
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money
from tests.support.identities import NOW, key_of

PERSON = "0197a000-0000-7000-8000-0000000000b1"
ACTION = "0197a000-0000-7000-8000-0000000000e1"
SLOTS = (RegisteredKey(key_of("alice").public()),)
ALICE = Approver(PERSON, frozenset({"supervisor"}), {"USD": 1_000}, active=True)


def claims(**changes: Any) -> dict[str, Any]:
    plain = {
        "action": ACTION,
        "amount_minor_units": None,
        "digest": "0" * 64,
        "happened": True,
        "iat": int(NOW.timestamp()),
        "jti": ACTION,
        "person": PERSON,
        "reason": "the CRM shows it",
    }
    return plain | changes


def read(**changes: Any) -> Resolution:
    signed = sign(claims(**changes), key=key_of("alice"), typ=RESOLUTION_TYP)
    return verify_resolution(signed, person_id=PERSON, keys=SLOTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"happened": 1},
        {"iat": "now"},
        {"iat": -1},
        {"digest": "0"},
        {"action": ACTION.upper()},
        {"amount_minor_units": 0},
        {"amount_minor_units": "1"},
        {"amount_minor_units": True},
        {"amount_minor_units": 1, "happened": False},
        {"reason": ""},
        {"reason": "two\nlines"},
        {"reason": "x" * (RESOLUTION_REASON_LENGTH_MAX + 1)},
        {"more": 1},
    ],
    ids=str,
)
def test_a_malformed_resolution_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        read(**changes)


def test_a_resolution_at_each_limit_is_read() -> None:
    reason = "x" * RESOLUTION_REASON_LENGTH_MAX
    found = read(reason=reason, amount_minor_units=AMOUNT_MINOR_UNITS_MAX)
    assert (found.reason, found.at) == (reason, NOW.replace(microsecond=0))


def test_what_is_too_long_to_be_one_is_not_even_looked_at() -> None:
    with pytest.raises(ForbiddenError):
        verify_resolution(
            "x" * (RESOLUTION_BYTES_MAX + 1), person_id=PERSON, keys=SLOTS
        )


def test_a_key_that_has_ended_signs_nothing() -> None:
    signed = sign(claims(), key=key_of("alice"), typ=RESOLUTION_TYP)
    ended = RegisteredKey(key_of("alice").public(), not_after=NOW - timedelta(1))
    with pytest.raises(ForbiddenError, match="not valid"):
        verify_resolution(signed, person_id=PERSON, keys=[ended])


def test_the_same_word_of_the_same_person_has_the_same_fingerprint() -> None:
    same = read(jti=PERSON, reason="again").fingerprint
    assert read().fingerprint == same
    assert read(happened=False).fingerprint != same
    assert read(amount_minor_units=1).fingerprint != same


def test_it_is_believed_for_a_minute() -> None:
    found = read()
    check_recent(found, now=found.at + timedelta(seconds=VOTE_AGE_S_MAX))
    with pytest.raises(InvalidError):
        check_recent(found, now=found.at + timedelta(seconds=VOTE_AGE_S_MAX + 1))


@pytest.mark.parametrize(
    ("role", "barred", "amount", "code"),
    [
        ("supervisor", (), 1_000, None),
        ("supervisor", (), None, None),
        ("supervisor", (), 1_001, "approver_limit"),
        ("supervisor", (PERSON,), 1_000, "approver_barred"),
        ("manager", (), 1_000, "approver_role"),
    ],
)
def test_who_may_resolve(
    role: str, barred: tuple[str, ...], amount: int | None, code: str | None
) -> None:
    money = None if amount is None else Money(amount, "USD")
    refusal = may_resolve(ALICE, role=role, barred=barred, amount=money)
    assert (refusal.code if refusal else None) == code


def test_who_may_not_approve_does_not_say_that_nothing_was_paid() -> None:
    suspended = replace(ALICE, suspended=True)
    refusal = may_resolve(suspended, role="supervisor", barred=(), amount=None)
    assert refusal is not None
    assert refusal.code == "approver_suspended"


def test_a_limit_in_another_currency_is_none() -> None:
    euros = Money(1, "EUR")
    assert may_resolve(ALICE, role="supervisor", barred=(), amount=euros) is not None

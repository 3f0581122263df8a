"""What a list proves, and until when a key may be used again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.execute import RunError
from broker.core.warrants.reconcile import (
    AGAIN_MAX,
    CLOCK_S_MAX,
    FOUND_TWICE,
    KEPT_SLACK_S,
    PAUSE_S,
    PAUSE_S_MAX,
    Sent,
    absence_counts,
    from_list,
    may_send_again,
    pause_s,
    proves_absence,
    tried_again,
)
from broker.core.words.action import Bound, OutcomeWord
from broker.core.words.money import Money
from broker.core.words.warrant import (
    RULE_VIOLATION,
    WARRANT_TTL_S_MAX,
    Receipt,
    SentState,
)
from broker.effects.shelf import CatalogShelf
from tests.support.cases import RETAIL

SHELF = CatalogShelf(RETAIL.parent)
REFUND = SHELF.tool("orders.refund")
FIND = SHELF.tool("orders.refunds.find")
assert REFUND is not None
assert FIND is not None
MADE = datetime(2026, 5, 1, tzinfo=UTC)
KEPT_S = 86_400


def warrant_at(moment: datetime) -> str:
    ms = int(moment.timestamp() * 1_000)
    text = f"{ms:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def sent(*, kept_s: int = KEPT_S, absent_s: int = 60) -> Sent:
    assert REFUND is not None
    assert REFUND.reconcile is not None
    requests = tuple(replace(r, idempotency_kept_s=kept_s) for r in REFUND.requests)
    declared = replace(REFUND.reconcile, absent_after_s=absent_s)
    return Sent(
        tool=replace(REFUND, requests=requests, reconcile=declared),
        manifest=REFUND.digest,
        bound=Bound(Money(1_000, "USD"), (("order", "W1"),)),
        customer_id="c-1",
        first_warrant=warrant_at(MADE),
    )


def receipt(values: dict[str, Any], **other: Any) -> Receipt:
    plain = Receipt(
        warrant_id="w",
        action_id="a",
        edge="e",
        boot="b",
        nonce="",
        state=SentState.ANSWERED,
        upstream_status=200,
        values=values,
        requests=(),
        alarms=(),
        issued_at=MADE,
    )
    return replace(plain, **other)


ONE = {
    "found": 1,
    "more": False,
    "owner": "c-1",
    "object": "W1",
    "amount": 900,
    "currency": "USD",
}
NONE = {"found": 0, "more": False}
LATE = MADE + timedelta(days=2)


def word(values: dict[str, Any], *, now: datetime = LATE, **other: Any) -> OutcomeWord:
    assert FIND is not None
    said = from_list(receipt(values, **other), sent=sent(), reader=FIND, now=now)
    return said.outcome.word


def test_what_the_list_has_once_is_done_by_the_lists_own_figures() -> None:
    assert FIND is not None
    said = from_list(receipt(ONE), sent=sent(), reader=FIND, now=MADE)
    assert said.outcome.word is OutcomeWord.DONE
    assert said.post_minor_units == 900
    assert said.owner == "c-1"


def test_somebody_elses_refund_under_our_id_raises_an_alarm() -> None:
    assert FIND is not None
    foreign = receipt(ONE | {"owner": "c-2"})
    said = from_list(foreign, sent=sent(), reader=FIND, now=MADE)
    assert "owner_mismatch" in said.alarms


@pytest.mark.parametrize(
    ("values", "other"),
    [
        (ONE | {"currency": "EUR"}, {}),
        (ONE | {"found": 2}, {}),
        (ONE | {"found": True}, {}),
        ({}, {}),
        (NONE | {"more": True}, {}),
        ({"found": 0}, {}),
        (NONE, {"upstream_status": 404}),
        (NONE, {"upstream_status": 500}),
        (NONE, {"state": SentState.SENT}),
        (NONE, {"state": SentState.NOT_SENT}),
        (NONE, {"alarms": ("oversized",)}),
    ],
)
def test_what_a_reading_does_not_show_clearly_stays_unknown(
    values: dict[str, Any], other: dict[str, Any]
) -> None:
    assert word(values, **other) is OutcomeWord.UNKNOWN


def test_what_is_there_twice_is_an_alarm() -> None:
    assert FIND is not None
    two = receipt(ONE | {"found": 2})
    said = from_list(two, sent=sent(), reader=FIND, now=LATE)
    assert said.alarms == (FOUND_TWICE,)


def test_absence_proves_something_only_from_the_declared_moment_on() -> None:
    assert REFUND is not None
    first = MADE + timedelta(
        seconds=WARRANT_TTL_S_MAX + REFUND.timeout_s + CLOCK_S_MAX + 60
    )
    assert proves_absence(sent(), now=first)
    assert not proves_absence(sent(), now=first - timedelta(milliseconds=1))
    assert not proves_absence(sent(absent_s=0), now=first + timedelta(days=900))
    assert absence_counts(sent())
    assert not absence_counts(sent(absent_s=0))
    assert word(NONE, now=first) is OutcomeWord.FAILED
    assert word(NONE, now=MADE) is OutcomeWord.UNKNOWN


@given(
    kept_s=st.integers(0, 10**6),
    after_s=st.integers(-(10**6), 10**7),
    again=st.integers(0, 9),
)
def test_a_key_is_used_again_only_while_the_upstream_surely_keeps_it(
    kept_s: int, after_s: int, again: int
) -> None:
    now = MADE + timedelta(seconds=after_s)
    if may_send_again(sent(kept_s=kept_s), again=again, now=now):
        # The last byte leaves within the warrant's life and the tool's time.
        assert REFUND is not None
        latest = after_s + WARRANT_TTL_S_MAX + REFUND.timeout_s
        assert after_s >= 0
        assert latest + KEPT_SLACK_S < kept_s
        assert again < AGAIN_MAX


def test_what_people_signed_for_is_tried_again_until_their_approval_expires() -> None:
    record = SimpleNamespace(approval_id="a", expires_at=LATE)
    unsent, before = receipt({}, state=SentState.NOT_SENT), LATE - timedelta(seconds=1)
    away = RunError("connector_error", "")

    def again(
        what: Any = record,
        of: Receipt | None = unsent,
        error: RunError | None = away,
        *,
        now: datetime = before,
    ) -> bool:
        return tried_again(what, of, error, now=now)

    assert again()
    assert again(error=None)
    away_too = receipt({}, state=SentState.NOT_SENT, alarms=("upstream_timeout",))
    assert again(of=away_too)
    # A connector that asks for something else does so again: that is no part away.
    broke = receipt({}, state=SentState.NOT_SENT, alarms=(RULE_VIOLATION,))
    assert not again(of=broke)
    assert not again(now=LATE)
    assert not again(of=None)
    assert not again(of=receipt({}, state=SentState.SENT))
    assert not again(of=receipt({}))
    assert not again(error=RunError("revoked", ""))
    assert not again(SimpleNamespace(approval_id="", expires_at=LATE))
    assert not again(SimpleNamespace(approval_id="a", expires_at=None))


def test_pauses_double_up_to_a_most_and_end_when_the_approval_does() -> None:
    def pause(tries: int, *, left_s: float | None = 86_400) -> int:
        expires_at = None if left_s is None else MADE + timedelta(seconds=left_s)
        what: Any = SimpleNamespace(tries=tries, expires_at=expires_at)
        return pause_s(what, now=MADE)

    assert [pause(tries) for tries in range(7)] == [20, 40, 80, 160, 320, 600, 600]
    assert pause(30_000) == PAUSE_S_MAX
    assert pause(0, left_s=PAUSE_S + 1) == PAUSE_S
    assert pause(9, left_s=PAUSE_S + 0.5) == PAUSE_S + 1
    assert pause(0, left_s=0.1) == 1
    assert pause(0, left_s=-5) == 1
    assert pause(1, left_s=None) == 2 * PAUSE_S


def test_nothing_is_sent_again_with_another_manifest_than_was_decided_on() -> None:
    now = MADE + timedelta(seconds=60)
    assert may_send_again(sent(), again=0, now=now)
    assert may_send_again(sent(), again=AGAIN_MAX - 1, now=now)
    assert not may_send_again(sent(), again=AGAIN_MAX, now=now)
    assert not may_send_again(replace(sent(), manifest="other"), again=0, now=now)
    assert not may_send_again(replace(sent(), first_warrant="x"), again=0, now=now)

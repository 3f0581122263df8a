"""What an edge says of itself is read in its one form, or not at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.warrants.events import (
    EVENT_DETAIL_FIELDS_MAX,
    EVENT_INTEGER_MAX,
    EVENT_TEXT_CHARS_MAX,
    EdgeEvent,
    EdgeEventKind,
    event_claims,
    parse_event,
)
from broker.core.warrants.orders import OrderError

ID = "01900000-0000-7000-8000-000000000001"
EVENT = EdgeEvent(
    event_id=ID,
    edge=ID,
    at=datetime(2026, 1, 2, tzinfo=UTC),
    kind=EdgeEventKind.SWITCHED,
    tenant="demo",
    environment="dev",
    connector="retail",
    detail={"version": 2, "kind": "bearer", "tested": True, "before": None},
)


@given(
    kind=st.sampled_from(EdgeEventKind),
    ms=st.integers(0, 4_000_000_000_000),
    version=st.integers(0, EVENT_INTEGER_MAX),
)
def test_what_was_said_is_read(kind, ms, version) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    said = EdgeEvent(
        **{name: getattr(EVENT, name) for name in ("event_id", "edge", "tenant")},
        environment="prod", connector="mail", at=at, kind=kind,
        detail={"version": version},
    )  # fmt: skip
    assert parse_event(event_claims(said)) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"jti": "1"},
        {"iss": "edge"},
        {"iat_ms": -1},
        {"iat_ms": 1.5},
        {"iat_ms": EVENT_INTEGER_MAX},
        {"kind": "leaked"},
        {"tenant": "a\nb"},
        {"environment": 7},
        {"connector": "../x"},
        {"detail": []},
        {"detail": {"Version": 1}},
        {"detail": {"version": [1]}},
        {"detail": {"version": 0.5}},
        {"more": 1},
    ],
)
def test_an_event_of_another_form_is_refused(changes) -> None:
    with pytest.raises(OrderError):
        parse_event(event_claims(EVENT) | changes)


def test_an_event_without_a_claim_is_refused() -> None:
    for name in event_claims(EVENT):
        claims: dict[str, Any] = event_claims(EVENT)
        del claims[name]
        with pytest.raises(OrderError):
            parse_event(claims)


def test_limits_of_an_event_hold_at_the_limit_and_one_past_it() -> None:
    def read(detail: dict[str, Any]) -> EdgeEvent:
        return parse_event(event_claims(EVENT) | {"detail": detail})

    read({"text": "x" * EVENT_TEXT_CHARS_MAX})
    read({f"f{n}": n for n in range(EVENT_DETAIL_FIELDS_MAX)})
    for detail in (
        {"text": "x" * (EVENT_TEXT_CHARS_MAX + 1)},
        {f"f{n}": n for n in range(EVENT_DETAIL_FIELDS_MAX + 1)},
        {"number": EVENT_INTEGER_MAX + 1},
    ):
        with pytest.raises(OrderError):
            read(detail)

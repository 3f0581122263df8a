"""The frozen envelope: every field there, nothing unknown, times with a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import canonical
from broker.core.guard import bind
from broker.core.record import (
    ACTION_FIELDS,
    CONTEXT_FIELDS,
    action_of,
    context_of,
    decision_detail,
    envelope,
    sent_upstream,
    timestamp,
)
from broker.core.words.decision import (
    Deny,
    Finding,
    FindingKind,
    Reason,
    Verdict,
    VerdictWord,
)
from broker.core.words.entry import STAGES, AuditEntry, EntryKind
from broker.core.words.warrant import Receipt, SentState
from tests.support.cases import ACTION_ID, NOW, REFUND, interaction, request, tool


def entry(**more: object) -> AuditEntry:
    base = {
        "entry_id": ACTION_ID,
        "kind": EntryKind.DECISION,
        "at": NOW,
        "tenant": "demo",
        "environment": "dev",
    }
    return AuditEntry(**(base | more))  # type: ignore[arg-type]


@given(kind=st.sampled_from(EntryKind))
def test_every_field_is_there_whatever_the_entry_says(kind: EntryKind) -> None:
    made = envelope(entry(kind=kind))
    assert set(made["context"]) == set(CONTEXT_FIELDS) == set(made["grades"])
    assert set(made["action"]) == set(ACTION_FIELDS)
    assert made["stage"] in STAGES
    assert canonical(made)


def test_a_field_that_the_envelope_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="surprise"):
        envelope(entry(context={"surprise": 1}))


def test_what_the_channel_says_is_attested_and_what_is_missing_is_absent() -> None:
    made = envelope(entry(context=context_of(None, interaction())))
    assert made["grades"]["locale"] == "attested"
    assert made["grades"]["use_case"] == "observed"
    assert made["grades"]["kid"] == "absent"


def test_no_argument_stands_in_an_entry() -> None:
    refund = tool("orders.refund")
    action = action_of(
        request(), tool=refund, bound=bind(refund, REFUND), arguments_hmac="ab" * 32
    )
    text = canonical(envelope(entry(action=action))).decode()
    assert REFUND["order_id"] not in text
    assert REFUND["payment_method_id"] not in text


def test_reasons_and_findings_appear_without_their_texts() -> None:
    finding = Finding(FindingKind.PROVENANCE, "tainted", "/x", "quotes a customer")
    detail = decision_detail(
        Deny((Reason("no_rule", "private words", "r", "C1"),)),
        verdict=Verdict(VerdictWord.HOLD, (finding,)),
        policy_version=3,
        more={},
    )
    assert "private" not in str(detail)
    assert "quotes" not in str(detail)
    assert detail["reasons"] == [{"code": "no_rule", "rule": "r", "clause": "C1"}]


@given(
    at=st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 2)),  # noqa: DTZ001
    hours=st.integers(-12, 12),
)
def test_one_moment_has_one_timestamp_in_every_zone(at: datetime, hours: int) -> None:
    assert timestamp(at.astimezone(timezone(timedelta(hours=hours)))) == timestamp(at)


def test_a_time_without_a_zone_cannot_be_recorded() -> None:
    with pytest.raises(ValueError, match="zone"):
        timestamp(datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_entry_says_of_each_request_what_gives_no_content_away() -> None:
    said = {
        "seq": 1,
        "id": "refund",
        "method": "POST",
        "effectful": True,
        "status": 201,
        "bytes": 57,
        "sha256": "0" * 64,
        "ms": 12,
        "address": "203.0.113.7:443",
    }
    receipt = Receipt(
        warrant_id="w", action_id="a", edge="e", boot="b", nonce="",
        state=SentState.ANSWERED, upstream_status=201, values={"owner": "sofia"},
        requests=(said, {"id": 7, "status": "x", "address": "y" * 1_000}), alarms=(),
        issued_at=NOW,
    )  # fmt: skip
    first, second = sent_upstream(receipt)
    assert first == {
        "seq": 1, "rule": "refund", "method": "POST", "status": 201, "bytes": 57,
        "ms": 12, "address": "203.0.113.7:443",
    }  # fmt: skip
    # An edge that says odd things does not make an entry odd.
    assert (second["rule"], second["status"], second["seq"]) == ("", 0, 2)
    assert len(str(second["address"])) == 100
    assert sent_upstream(None) == []

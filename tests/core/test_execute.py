"""What a receipt means, and what is released of a result."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.execute import (
    RELEASED_VALUES_MAX,
    WARRANT_TTL_S,
    RunError,
    Stamp,
    judge,
    release,
    warrant_for,
)
from broker.core.guard import bind
from broker.core.words.action import Bound, OutcomeWord
from broker.core.words.tool import Tool
from broker.core.words.warrant import WARRANT_TTL_S_MAX, Receipt, SentState
from tests.support.cases import CUSTOMER, NOW, REFUND, interaction, receipt, request
from tests.support.cases import tool as tool_of

TOOL = tool_of("orders.refund")
READ = tool_of("orders.get")
BOUND = bind(TOOL, REFUND)


def outcome(
    got: Receipt, *, error: RunError | None = None, manifest: str = TOOL.digest
) -> Any:
    return judge(
        got,
        manifest=manifest,
        tool=TOOL,
        bound=BOUND,
        customer_id=CUSTOMER,
        error=error,
    )


@given(
    state=st.sampled_from(SentState),
    status=st.sampled_from([200, 201, 404, 409, 500]),
    owner=st.sampled_from([CUSTOMER, "somebody_else"]),
    tool=st.sampled_from([TOOL, READ, tool_of("customers.verify")]),
    failed=st.sampled_from([None, RunError("connector_error", "x")]),
    manifest=st.booleans(),
)
def test_nothing_that_alarmed_the_edge_is_left_out(
    *,
    state: SentState,
    status: int,
    owner: str,
    tool: Tool,
    failed: RunError | None,
    manifest: bool,
) -> None:
    got = receipt(state=state, upstream_status=status, alarms=("rule_violation", "x"))
    got = replace(got, values={**got.values, "owner": owner})
    judged = judge(
        got,
        manifest=tool.digest if manifest else "another",
        tool=tool,
        bound=BOUND if tool is TOOL else Bound(None, ()),
        customer_id=CUSTOMER,
        error=failed,
    )
    assert judged.alarms[:2] == ("rule_violation", "x")


def test_a_receipt_that_says_done_posts_what_it_says() -> None:
    judged = outcome(receipt())
    assert judged.outcome.word is OutcomeWord.DONE
    assert judged.post_minor_units == 2_500
    assert judged.ceilings == (("/order_id", 50_000),)
    assert judged.alarms == ()


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("usd", OutcomeWord.DONE),
        ("USD", OutcomeWord.DONE),
        ("eur", OutcomeWord.UNKNOWN),
        (None, OutcomeWord.UNKNOWN),
        (1, OutcomeWord.UNKNOWN),
    ],
)
def test_a_currency_is_the_same_however_the_upstream_writes_it(said: Any, word) -> None:
    got = receipt()
    judged = outcome(replace(got, values={**got.values, "currency": said}))
    assert judged.outcome.word is word


def test_a_ceiling_is_of_the_object_that_has_a_cap_and_not_of_what_is_named_beside():
    back = tool_of("orders.return")
    got = replace(receipt(), upstream_status=200)
    judged = judge(
        got,
        manifest=back.digest,
        tool=back,
        bound=BOUND,
        customer_id=CUSTOMER,
        error=None,
    )
    assert [binding.cap for binding in back.binding.objects].count("paid") == 1
    assert len(back.binding.objects) > 1
    assert judged.ceilings == (("/order_id", 50_000),)


@given(said=st.integers(min_value=0, max_value=10_000))
def test_what_the_upstream_says_is_posted_and_more_raises_an_alarm(said: int) -> None:
    got = receipt()
    judged = outcome(replace(got, values={**got.values, "amount": said}))
    assert judged.post_minor_units == said
    assert ("more_than_decided" in judged.alarms) is (said > 2_500)


@pytest.mark.parametrize("said", [None, -1, "2500", 1.5, True, 2**53])
def test_a_receipt_without_a_usable_amount_posts_what_was_reserved(said: Any) -> None:
    got = receipt()
    judged = outcome(replace(got, values={**got.values, "amount": said}))
    assert judged.post_minor_units == 2_500
    assert "receipt_incomplete" in judged.alarms


@given(status=st.integers(min_value=100, max_value=599))
def test_an_effect_is_done_refused_or_unknown_and_never_silently_lost(
    status: int,
) -> None:
    word = outcome(receipt(upstream_status=status)).outcome.word
    if status == 201:
        assert word is OutcomeWord.DONE
    elif status in {404, 409, 422}:
        assert word is OutcomeWord.FAILED
    else:
        assert word is OutcomeWord.UNKNOWN


def test_what_was_sent_without_an_answer_is_unknown() -> None:
    judged = outcome(receipt(state=SentState.SENT, upstream_status=0, values={}))
    assert judged.outcome.word is OutcomeWord.UNKNOWN
    assert judged.outcome.sent


@pytest.mark.parametrize(
    ("code", "word"),
    [("revoked", OutcomeWord.REFUSED), ("timeout", OutcomeWord.FAILED)],
)
def test_what_was_not_sent_is_refused_or_failed_and_can_be_asked_again(
    code: str, word: OutcomeWord
) -> None:
    got = receipt(state=SentState.NOT_SENT, upstream_status=0, values={})
    judged = outcome(got, error=RunError(code, ""))
    assert judged.outcome.word is word
    assert not judged.outcome.sent


def test_what_the_connector_says_cannot_undo_what_the_receipt_says() -> None:
    judged = outcome(receipt(), error=RunError("connector_error", "it failed"))
    assert judged.outcome.word is OutcomeWord.DONE
    assert judged.post_minor_units == 2_500


def test_another_customers_record_is_refused_and_alarms() -> None:
    got = receipt(upstream_status=200, values={"owner": "somebody_else"})
    judged = judge(
        got,
        manifest=READ.digest,
        tool=READ,
        bound=bind(READ, {"order_id": "W7678072"}),
        customer_id=CUSTOMER,
        error=None,
    )
    assert judged.outcome.word is OutcomeWord.REFUSED
    assert "owner_mismatch" in judged.alarms


@pytest.mark.parametrize("said", ["W1234567", "", None, 7, True])
def test_an_effect_that_was_answered_about_another_object_is_unknown_and_alarms(
    said: Any,
) -> None:
    got = receipt()
    judged = outcome(replace(got, values={**got.values, "object": said}))
    assert judged.outcome.word is OutcomeWord.UNKNOWN
    assert judged.post_minor_units is None
    assert judged.ceilings == ()
    assert judged.alarms == ("object_mismatch",)


def test_a_read_that_was_answered_about_another_object_is_refused_and_alarms() -> None:
    values = {"owner": CUSTOMER, "object": "W1234567", "paid": 1}
    judged = judge(
        receipt(upstream_status=200, values=values),
        manifest=READ.digest,
        tool=READ,
        bound=bind(READ, {"order_id": "W7678072"}),
        customer_id=CUSTOMER,
        error=None,
    )
    assert judged.outcome.word is OutcomeWord.REFUSED
    assert judged.outcome.code == "not_this_object"
    assert judged.ceilings == ()
    assert judged.alarms == ("object_mismatch",)


def test_an_object_is_the_same_as_a_number_and_as_text() -> None:
    for said in ("7", 7, 8):
        judged = judge(
            receipt(upstream_status=200, values={"owner": CUSTOMER, "object": said}),
            manifest=READ.digest,
            tool=READ,
            bound=Bound(None, (("order", "7"),)),
            customer_id=CUSTOMER,
            error=None,
        )
        assert (judged.outcome.word is OutcomeWord.DONE) is (str(said) == "7")


def test_an_answer_to_a_manifest_that_is_gone_is_not_read_by_another_one() -> None:
    judged = outcome(receipt(), manifest="0" * 64)
    assert judged.outcome.word is OutcomeWord.UNKNOWN
    assert judged.post_minor_units is None
    assert "manifest_changed" in judged.alarms
    # What was not sent needs no reading.
    unsent = outcome(receipt(state=SentState.NOT_SENT), manifest="0" * 64)
    assert unsent.outcome.word is OutcomeWord.FAILED


def test_a_warrant_names_everything_that_it_allows_and_lives_briefly() -> None:
    stamp = Stamp("w", "e", "b", (("global:dev", 0),), "key", NOW)
    made = warrant_for(request(), tool=TOOL, interaction=interaction(), stamp=stamp)
    assert made.arguments == REFUND
    assert made.manifest == TOOL.digest
    assert made.customer_id == CUSTOMER
    assert made.expires_at - made.issued_at == timedelta(seconds=WARRANT_TTL_S)


@pytest.mark.parametrize("life_s", [0, -1, WARRANT_TTL_S_MAX + 1])
def test_a_warrant_that_lives_too_long_cannot_be_made(life_s: int) -> None:
    stamp = Stamp("w", "e", "b", (), "key", NOW)
    made = warrant_for(request(), tool=TOOL, interaction=interaction(), stamp=stamp)
    longest = NOW + timedelta(seconds=WARRANT_TTL_S_MAX)
    assert replace(made, expires_at=longest).expires_at == longest
    with pytest.raises(ValueError, match="lives up to"):
        replace(made, expires_at=NOW + timedelta(seconds=life_s))


json_values = st.recursive(
    st.integers() | st.text() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.control("D2")
@given(extra=st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_what_no_field_names_is_never_released(extra: dict[str, Any]) -> None:
    named = {field.pointer.split("/")[1] for field in READ.output}
    unnamed = {key: value for key, value in extra.items() if key not in named}
    released = release(READ, {"order_id": "W1", **unnamed})
    assert released.result == {"order_id": "W1"}
    assert [one.pointer for one in released.values] == ["/order_id"]


def test_lists_keep_their_order_and_their_undeclared_parts_are_dropped() -> None:
    result = {"notes": [{"text": "a", "secret": 1}, {"text": "b"}], "payments": []}
    assert release(READ, result).result == {"notes": [{"text": "a"}, {"text": "b"}]}


def test_a_flood_of_values_is_cut_at_the_limit() -> None:
    notes = [{"text": str(n)} for n in range(RELEASED_VALUES_MAX + 1)]
    released = release(READ, {"notes": notes})
    assert len(released.values) == RELEASED_VALUES_MAX
    assert released.dropped == 1

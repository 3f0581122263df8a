"""The sealed half of an action comes back as it went in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.sealed.action import (
    Columns,
    bare_outcome,
    from_payload,
    outcome_from,
    outcome_payload,
    to_payload,
)
from broker.core.words.action import ActionRecord, ActionState, Outcome, OutcomeWord
from broker.core.words.decision import Escalate, Quorum, Reason
from tests.support.cases import NOW, record

reasons = st.lists(st.builds(Reason, st.text(), st.text(), st.text(), st.text())).map(
    tuple
)
asked = st.none() | st.builds(
    Escalate,
    reasons,
    st.builds(Quorum, st.integers(1, 9), st.text(min_size=1), st.integers(1, 10**6)),
)


def columns(of: ActionRecord) -> Columns:
    return Columns(
        action_id=of.request.action_id,
        tenant=of.tenant,
        environment=of.environment,
        interaction_id=of.request.interaction_id,
        customer_ref=of.customer_ref,
        tool=of.request.tool,
        manifest=of.manifest,
        state=of.state.value,
        decision=of.decision,
        policy_version=of.policy_version,
        standing_approval=of.standing_approval,
        approval_id=of.approval_id,
        digest=of.digest,
        warrant_id=of.warrant_id,
        idempotency_key=of.idempotency_key,
        created_at=of.created_at,
        expires_at=of.expires_at,
    )


@given(reasons=reasons, asked=asked, state=st.sampled_from(ActionState))
def test_a_record_comes_back_as_it_went_in(
    reasons: tuple[Reason, ...], asked: Escalate | None, state: ActionState
) -> None:
    made = record(
        reasons=reasons,
        asked=asked,
        state=state,
        decided={"verdict": "clean"} if asked else None,
        asked_again_at=NOW if asked else None,
    )
    sealed = json.loads(json.dumps(to_payload(made)))
    assert from_payload(columns(made), sealed, None) == made


def test_a_sealed_half_of_another_action_is_refused() -> None:
    made = record()
    sealed = to_payload(made) | {"action_id": "another"}
    with pytest.raises(ValueError, match="another action"):
        from_payload(columns(made), sealed, None)


@given(word=st.sampled_from(OutcomeWord), code=st.text(), sent=st.booleans())
def test_an_outcome_comes_back_as_it_went_in(
    word: OutcomeWord, code: str, *, sent: bool
) -> None:
    made = Outcome(word, code, "detail", sent=sent, result={"a": [1]})
    assert outcome_from(json.loads(json.dumps(outcome_payload(made, "jws")))) == made


def test_what_ended_without_an_outcome_still_says_why() -> None:
    found = bare_outcome("refused", "revoked")
    assert found is not None
    assert (found.word, found.code, found.sent) == (
        OutcomeWord.REFUSED,
        "revoked",
        False,
    )
    assert bare_outcome("executing", "x") is None
    assert NOW.tzinfo is not None

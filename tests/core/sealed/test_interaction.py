"""The sealed form of an interaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from broker.core.sealed.interaction import from_payload, to_payload
from broker.core.words.subject import VerificationLevel
from tests.support.cases import interaction

moments = st.datetimes(timezones=st.just(UTC))


@given(
    customer=st.text(),
    level=st.sampled_from(VerificationLevel),
    topics=st.lists(st.text()).map(tuple),
    flags=st.lists(st.text()).map(tuple),
    closed=st.none() | moments,
    disclosed=st.none() | moments,
)
def test_an_interaction_comes_back_as_it_went_in(
    *,
    customer: str,
    level: VerificationLevel,
    topics: tuple[str, ...],
    flags: tuple[str, ...],
    closed: datetime | None,
    disclosed: datetime | None,
) -> None:
    made = interaction(
        customer_id=customer,
        verification=level,
        topics=topics,
        customer_flags=flags,
        closed_at=closed,
        ai_disclosed_at=disclosed,
    )
    assert from_payload(json.loads(json.dumps(to_payload(made)))) == made

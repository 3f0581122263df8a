"""What is signed in advance covers exactly what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from broker.core.approve import STANDING_TRIED_MAX, standing_for
from broker.core.guard import bind
from broker.core.words.approval import StandingApproval
from tests.support.cases import AGENT_ID, NOW, REFUND, request, tool

TOOL = tool("orders.refund")
TTL = timedelta(hours=1)


def standing(**changes: Any) -> StandingApproval:
    made = StandingApproval(
        approval_id="s1",
        tool="orders.refund",
        agents=frozenset({AGENT_ID}),
        constraints={},
        per_action_minor_units=2_500,
        total_minor_units=20_000,
        currency="USD",
        expires_at=NOW + TTL,
        signed_by=("ann", "ben"),
        active=True,
    )
    return replace(made, **changes)


def covering(
    *found: StandingApproval, now: datetime = NOW
) -> tuple[StandingApproval, ...]:
    return standing_for(
        request(), bind(TOOL, REFUND), agent_id=AGENT_ID, standing=found, now=now
    )


def covered(*found: StandingApproval, now: datetime = NOW) -> StandingApproval | None:
    return next(iter(covering(*found, now=now)), None)


@pytest.mark.parametrize(
    "change",
    [
        {"active": False},
        {"tool": "orders.cancel"},
        {"agents": frozenset({"another"})},
        {"expires_at": NOW},
        {"signed_by": ("ann",)},
        {"signed_by": ("ann", "ann")},
        {"per_action_minor_units": 2_499},
        {"currency": "EUR"},
        {"constraints": {"/amount_minor_units": {"max": 2_499}}},
        {"constraints": {"/order_id": {"in": ["W0000001"]}}},
        {"constraints": {"/order_id": {"max": 1}}},
        {"constraints": {"/order_id": {"like": "W%"}}},
        {"constraints": {"/nothing": {"max": 1}}},
        {"constraints": {"/order_id": {"in": ["W7678072"], "max": 1}}},
    ],
)
def test_a_standing_approval_covers_nothing_beside_what_it_says(
    change: dict[str, Any],
) -> None:
    assert covered(standing()) == standing()
    assert covered(standing(**change)) is None


def test_constraints_that_hold_are_satisfied_together() -> None:
    both = {
        "/amount_minor_units": {"max": 2_500},
        "/order_id": {"in": ["W7678072", "W0000001"]},
    }
    assert covered(standing(constraints=both)) is not None


def test_of_several_the_one_that_ends_first_is_used_whatever_their_order() -> None:
    soon = standing(approval_id="s2", expires_at=NOW + timedelta(minutes=1))
    in_order = (soon, standing())
    assert covering(standing(), soon) == covering(soon, standing()) == in_order


def test_so_many_are_tried_and_not_one_more() -> None:
    made = [
        standing(approval_id=f"s{number}", expires_at=NOW + TTL * number)
        for number in range(1, STANDING_TRIED_MAX + 2)
    ]
    assert covering(*made[:-1]) == tuple(made[:-1])
    assert covering(*made) == tuple(made[:-1])

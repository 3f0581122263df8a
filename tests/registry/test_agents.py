"""Agents change as they may: revoked stays revoked, and every change is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.words.errors import ConflictError, InvalidError
from broker.registry.agents import (
    AGENT_TOOLS_MAX,
    AgentStatus,
    parse_agent,
    with_status,
    with_tools,
)
from tests.support.identity import rows
from tests.support.identity.rows import AGENT_BODY, row_of

AGENT = parse_agent(row_of(AGENT_BODY))
moves = st.lists(st.sampled_from([*AgentStatus]), max_size=8)


@given(moves)
def test_a_revoked_agent_stays_revoked_whatever_is_tried(tried):
    agent = AGENT
    revoked = False
    for status in tried:
        try:
            agent = with_status(agent, status)
        except ConflictError:
            assert revoked or status is agent.status
            continue
        assert not revoked
        revoked = status is AgentStatus.REVOKED
        assert agent.active is (status is AgentStatus.ACTIVE)


@given(rows.agents, rows.tools, rows.tools)
def test_granting_and_taking_away_is_set_arithmetic(body, add, drop):
    agent = parse_agent(row_of(body))
    wanted = (agent.tools | {*add}) - {*drop}
    try:
        changed = with_tools(agent, add=add, drop=drop)
    except ConflictError:
        assert agent.status is AgentStatus.REVOKED or wanted == agent.tools
    else:
        assert agent.status is not AgentStatus.REVOKED
        assert changed.tools == wanted != agent.tools


def test_a_revoked_agent_is_granted_nothing():
    revoked = with_status(AGENT, AgentStatus.REVOKED)
    with pytest.raises(ConflictError, match="revoked"):
        with_tools(revoked, add=["orders.cancel"])


def test_an_agent_has_as_many_tools_as_the_limit_and_no_more():
    tools = [f"t.x{number}" for number in range(AGENT_TOOLS_MAX)]
    full = with_tools(AGENT, add=tools, drop=AGENT.tools)
    assert len(full.tools) == AGENT_TOOLS_MAX
    with pytest.raises(InvalidError):
        with_tools(full, add=["one.more"])


@given(rows.agents)
def test_a_policy_is_told_what_the_row_says(body):
    agent = parse_agent(row_of(body))
    facts = agent.facts()
    assert facts.agent_id == agent.agent_id
    assert facts.owner == body["owner"]
    assert facts.tier_max == body["tier_max"]
    assert facts.tools == set(body["tools"])
    assert facts.environment == "dev"

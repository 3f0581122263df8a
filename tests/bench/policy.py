"""Measure a decision against the one call of Cedar that it cannot do without.

The bare call has the same handles and a request that was made before; ours makes its
request, asks a second time where the first answer is no, and finds the reasons.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from statistics import median

import cedarpy

from broker.cli.seed_policy import demo_policy
from broker.core.authorize import Question, RuleBook, decide
from broker.core.words.decision import Escalate, Permit
from broker.registry.policies import rule_book
from tests.bench.measure import TURNS, Row, row
from tests.support.cases import all_tools, question

CALLS = 400
BURST = 20


def rows() -> list[Row]:
    """Measure decisions of the demo's policy on a small refund."""
    body = demo_policy(author="carol", approver="dave")
    book = rule_book(body, all_tools())
    totals = {rule["id"]: 0 for rule in body["budgets"]}
    standing = question(totals=totals)
    waiting = question(totals=totals, standing=False)
    assert isinstance(decide(standing, book), Permit)
    assert isinstance(decide(waiting, book), Escalate)
    return [
        *_against_bare("a permit, asked once", standing, book),
        *_against_bare("an escalation, asked twice", waiting, book),
    ]


def _against_bare(name: str, asked: Question, book: RuleBook) -> list[Row]:
    bare = _bare(asked, book)
    mine, raw = [], []
    for _ in range(TURNS):
        raw.append(_us(bare))
        mine.append(_us(lambda: decide(asked, book)))
    what = f"{name}, p50, against one bare is_authorized"
    return [row(what, median(mine), "us", median(raw))]


def _bare(asked: Question, book: RuleBook) -> Callable[[], object]:
    agent = asked.agent
    entity = {
        "uid": {"type": "Agent", "id": agent.agent_id},
        "attrs": {
            "owner": agent.owner,
            "use_case": agent.use_case,
            "environment": agent.environment,
            "tier_max": agent.tier_max,
            "tools": sorted(agent.tools),
        },
        "parents": [],
    }
    entities = book.actions.with_added_json_str(json.dumps([entity]))
    request = {
        "principal": {"type": "Agent", "id": agent.agent_id},
        "action": {"type": "Action", "id": asked.tool},
        "resource": {"type": "Connector", "id": asked.connector},
        "context": {
            "tier": asked.tier,
            "amount": asked.amount_minor_units,
            "currency": asked.currency,
            "channel": asked.channel,
            "topics": list(asked.topics),
            "locale": asked.locale,
            "verification": asked.verification,
            "customer_bound": asked.customer_bound,
            "proof": asked.proof,
            "standing": asked.standing,
            "approved": False,
            "findings": list(asked.findings),
            "release": asked.release,
            "hour": asked.hour,
            "totals": dict(asked.totals),
        },
    }

    def call() -> object:
        return cedarpy.is_authorized(request, book.policies, entities, book.schema)

    result = cedarpy.is_authorized(request, book.policies, entities, book.schema)
    assert not result.diagnostics.errors
    assert result.allowed == asked.standing
    return call


def _us(call: Callable[[], object]) -> float:
    waits = []
    for _ in range(CALLS // BURST):
        started = time.perf_counter()
        for _ in range(BURST):
            call()
        waits.append((time.perf_counter() - started) * 1_000_000 / BURST)
    return median(waits)

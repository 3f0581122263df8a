"""Measure a decision against the calls of Cedar that it cannot do without.

A policy of 30 rules over 20 entities or more, made of rows, is asked about a refund
under a standing approval (one evaluation) and about one that people must sign (two).
The bare calls have the same handles and requests that were made before; ours makes its
requests, and finds who must sign and why. They are given the whole policy with its
schema, as Cedar's documentation has it; and just the slice that ours is cut to, which
is the floor of what this way can cost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import median
from typing import Any

import cedarpy

from broker.core.authorize import Question, RuleBook, decide
from broker.core.words.decision import Escalate, Permit
from broker.registry.appetite.cedar import compile_tables
from broker.registry.appetite.folder import read_sources
from broker.registry.appetite.reading import read_table
from broker.registry.policy.books import rule_book
from broker.registry.policy.schema import schema_text
from tests.bench.measure import TURNS, Row, row
from tests.support.cases import all_tools, demo_sources, question

CALLS = 1_000
BURST = 50
RULES_MIN, ENTITIES_MIN = 30, 20
DECISION_CPU_MS_MAX = 0.15


@dataclass(frozen=True)
class Given:
    """What the bare calls are given."""

    rules: cedarpy.PolicySet
    schema: cedarpy.Schema | None
    looks_at: AbstractSet[str]


def rows() -> list[Row]:
    """Measure decisions, and what they promise."""
    body = large_policy()
    book = rule_book(body, all_tools())
    assert len(book.rules) >= RULES_MIN
    # Each tool and each effect is an entity, and the agent is one more.
    assert len(book.actions) + 1 >= ENTITIES_MIN
    totals = dict.fromkeys(book.totals, 0)
    standing = question(totals=totals)
    waiting = question(totals=totals, standing=False)
    assert isinstance(decide(standing, book), Permit)
    assert isinstance(decide(waiting, book), Escalate)
    cut = book.slices[waiting.tool]
    every = frozenset().union(*(one.looks_at for one in book.slices.values()))
    schema = cedarpy.Schema.from_str(schema_text(all_tools(), only=every))
    whole = Given(cedarpy.PolicySet.from_str(body["cedar"]), schema, every)
    sliced = Given(cut.rules, None, cut.looks_at)
    found = []
    size = f"{len(book.rules)} rules, {len(book.actions) + 1} entities"
    for name, asked, approvals in (
        ("a permit, asked once", standing, [False]),
        ("asked twice", waiting, [False, True]),
    ):
        for against, given in (("raw cedarpy", whole), ("its slice, raw", sliced)):
            mine, raw = _measured(asked, book, _bare(asked, book, approvals, given))
            found.append(row(f"{name}; {size}; {against}", mine, "cpums", raw))
    promise = f"asked twice; {size}; promised"
    return [*found, row(promise, mine, "cpums", DECISION_CPU_MS_MAX)]


def large_policy() -> dict[str, Any]:
    """Return the body of that policy."""
    sources = demo_sources()
    head = 'schema = 1\nowner = "dave"\ncurrency = "USD"\n'
    body = read_sources(sources).body()
    missing = RULES_MIN - len(rule_book({"version": 1, **body}, all_tools()).rules)
    more = "".join(
        f'[[rows]]\nclause = "X{number}"\ntext = "more"\neffects = ["money"]\n'
        f'channels = ["channel-{number}"]\namount_above = "{number}.00"\n'
        'verification_below = "strong"\nthen = "ban"\n'
        for number in range(max(1, missing - 1))
    )
    table = read_table(head + more, file="more.toml", scope="retail-care")
    last = '@id("last") forbid (principal, action, resource) when { context.tier > 3 };'
    body["cedar"] += compile_tables([table]) + last
    return {"version": 1, **body}


def _measured(
    asked: Question, book: RuleBook, bare: Callable[[], object]
) -> tuple[float, float]:
    mine, raw = [], []
    for _ in range(TURNS):
        raw.append(_cpu_ms(bare))
        mine.append(_cpu_ms(lambda: decide(asked, book)))
    return median(mine), median(raw)


def _bare(
    asked: Question, book: RuleBook, approvals: list[bool], given: Given
) -> Callable[[], object]:
    entities = book.actions.with_added_json_str(json.dumps([_agent(asked)]))
    requests = [_request(asked, given.looks_at, approved=one) for one in approvals]

    def call() -> list[cedarpy.AuthzResult]:
        return [
            cedarpy.is_authorized(request, given.rules, entities, given.schema)
            for request in requests
        ]

    results = call()
    assert not any(result.diagnostics.errors for result in results)
    assert results[-1].allowed
    return call


def _agent(asked: Question) -> dict[str, object]:
    agent = asked.agent
    return {
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


def _request(
    asked: Question, looks_at: AbstractSet[str], *, approved: bool
) -> dict[str, object]:
    context = {
        "tier": asked.tier,
        "amount": asked.amount_minor_units,
        "currency": asked.currency,
        "channel": asked.channel,
        "topics": list(asked.topics),
        "customer_flags": list(asked.customer_flags),
        "verification": asked.verification,
        "customer_bound": asked.customer_bound,
        "standing": asked.standing,
        "approved": approved,
    }
    assert looks_at <= {*context}
    return {
        "principal": {"type": "Agent", "id": asked.agent.agent_id},
        "action": {"type": "Action", "id": asked.tool},
        "resource": {"type": "Connector", "id": asked.connector},
        "context": {name: context[name] for name in context if name in looks_at},
    }


def _cpu_ms(call: Callable[[], object]) -> float:
    found = []
    for _ in range(CALLS // BURST):
        started = time.process_time()
        for _ in range(BURST):
            call()
        found.append((time.process_time() - started) * 1_000 / BURST)
    return median(found)

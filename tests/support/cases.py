"""Small values for tests of core: tools, requests, interactions, receipts."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.core.authorize import AgentFacts, Question
from broker.core.canonical import digest
from broker.core.words.action import (
    ActionRecord,
    ActionRequest,
    ActionState,
    Requester,
)
from broker.core.words.subject import Interaction, VerificationLevel
from broker.core.words.warrant import Receipt, SentState
from broker.registry.appetite.checks import check_sources
from broker.registry.policy.books import rule_book
from broker.registry.tools import parse_manifest

if TYPE_CHECKING:
    from broker.core.authorize import RuleBook
    from broker.core.words.tool import Tool

ROOT = Path(__file__).resolve().parents[2]
DEMO_POLICY = ROOT / "infra" / "demo" / "policy"
RETAIL = ROOT / "tools" / "catalog" / "retail"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ACTION_ID = "0197a000-0000-7000-8000-000000000001"
INTERACTION_ID = "0197a000-0000-7000-8000-0000000000e1"
AGENT_ID = "0197a000-0000-7000-8000-00000000a001"
CUSTOMER = "noah_brown_6181"
REFUND: dict[str, Any] = {
    "order_id": "W7678072",
    "amount_minor_units": 2_500,
    "currency": "USD",
    "payment_method_id": "credit_card_7815826",
}


def manifest(name: str) -> dict[str, Any]:
    """Return a manifest of the retail catalog as a document, to be changed."""
    return tomllib.loads((RETAIL / f"{name}.toml").read_text(encoding="utf-8"))


def tool(name: str) -> Tool:
    """Return a tool of the retail catalog."""
    return parse_manifest(manifest(name), name=name)


def all_tools() -> list[Tool]:
    """Return every tool of the catalog."""
    files = sorted(RETAIL.parent.glob("*/*.toml"))
    return [
        parse_manifest(tomllib.loads(file.read_text(encoding="utf-8")), name=file.stem)
        for file in files
    ]


def request(arguments: dict[str, Any] | None = None, **changes: Any) -> ActionRequest:
    """Return a request for a refund."""
    given = REFUND if arguments is None else arguments
    made = ActionRequest(
        action_id=ACTION_ID,
        tool="orders.refund",
        arguments=given,
        arguments_digest=digest(dict(given)),
        interaction_id=INTERACTION_ID,
        reason="",
        citations=(),
        idempotency_key="",
        asked_at=NOW,
    )
    return replace(made, **changes)


def interaction(**changes: Any) -> Interaction:
    """Return an interaction with a matched customer."""
    made = Interaction(
        interaction_id=INTERACTION_ID,
        tenant="demo",
        environment="dev",
        use_case="retail-care",
        agent_id=AGENT_ID,
        channel_id="c1",
        channel="webchat",
        customer_id=CUSTOMER,
        customer_ref="ref",
        verification=VerificationLevel.MATCHED,
        topics=("returns",),
        locale="en-US",
        purpose="service",
        consent_version="2026-10",
        release="r1",
        ai_disclosed_at=NOW,
        opened_at=NOW,
    )
    return replace(made, **changes)


def record(**changes: Any) -> ActionRecord:
    """Return a stored refund that waits for a person."""
    made = ActionRecord(
        request=request(),
        requester=Requester(
            AGENT_ID,
            "i",
            "k",
            "g",
            proof_of_possession=True,
            epochs=(("global:dev", 0),),
        ),
        tenant="demo",
        environment="dev",
        customer_ref="ref",
        state=ActionState.PENDING_APPROVAL,
        decision="escalate",
        reasons=(),
        findings=(),
        asked=None,
        policy_version=1,
        manifest=tool("orders.refund").digest,
        standing_approval="",
        approval_id="",
        digest="",
        warrant_id="",
        idempotency_key="key",
        outcome=None,
        created_at=NOW,
        expires_at=None,
    )
    return replace(made, **changes)


def receipt(**changes: Any) -> Receipt:
    """Return the receipt of a refund that was done as decided."""
    made = Receipt(
        warrant_id="w",
        action_id=ACTION_ID,
        edge="e",
        boot="b",
        nonce="",
        state=SentState.ANSWERED,
        upstream_status=201,
        values={
            "owner": CUSTOMER,
            "object": REFUND["order_id"],
            "amount": 2_500,
            "currency": "USD",
            "paid": 50_000,
        },
        requests=(),
        alarms=(),
        issued_at=NOW,
    )
    return replace(made, **changes)


def question(**changes: Any) -> Question:
    """Return what a policy is asked about a small refund with a standing approval."""
    tools = frozenset(one.name for one in all_tools())
    made = Question(
        agent=AgentFacts(AGENT_ID, "o", "retail-care", "dev", 3, tools),
        tool="orders.refund",
        connector="retail",
        effect="money",
        tier=3,
        amount_minor_units=2_500,
        currency="USD",
        channel="webchat",
        topics=(),
        customer_flags=(),
        locale="en-US",
        verification=2,
        customer_bound=True,
        proof=True,
        standing=True,
        findings=(),
        release="r1",
        hour=12,
        weekday=1,
        totals={"agent_day": 0},
    )
    return replace(made, **changes)


def demo_sources() -> dict[str, str]:
    """Return the texts of the demo's policy folder."""
    return {
        file.relative_to(DEMO_POLICY).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(DEMO_POLICY.rglob("*.*"))
    }


def demo_book() -> RuleBook:
    """Return the demo's policy as the broker decides by it."""
    return check_sources(demo_sources(), all_tools()).book


def book(cedar: str, *, hold: int = 1) -> RuleBook:
    """Return a rule book over the retail tools."""
    body = {
        "version": 1,
        "cedar": cedar,
        "hold": {"approvers": hold, "role": "supervisor", "expires_s": 3_600},
        "budgets": [{"id": "agent_day", "unit": "USD"}],
    }
    return rule_book(body, all_tools())

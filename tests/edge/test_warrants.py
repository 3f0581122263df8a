"""Warrants: what is not exactly for this edge, moment and manifest is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from broker.core.jwk import SEED_BYTES
from broker.core.jws import Algorithm, private_from_seed, sign
from broker.core.warrants.orders import warrant_claims
from broker.core.words.warrant import RECEIPT_TYP, WARRANT_TYP, Warrant
from broker.edge.warrants import SKEW_S_MAX, Here, RefusedError, examine
from tests.edge.lab import ISSUER, WARRANT_KEY, signed
from tests.edge.manifests import READ, REFUND, TOOLS

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HERE = Here(edge="edge-1", boot="boot-1", tenant="demo", environment="dev")
TOOL = TOOLS["orders.refund"]
GOOD = Warrant(
    warrant_id=str(UUID(int=1)),
    action_id=str(UUID(int=2)),
    tenant="demo",
    environment="dev",
    connector="retail",
    tool="orders.refund",
    manifest=TOOL.digest,
    arguments=REFUND,
    customer_id="c",
    agent_id="a",
    edge="edge-1",
    boot="boot-1",
    epochs=(("agent:a", 0), ("global:dev", 0)),
    idempotency_key="k",
    issued_at=NOW,
    expires_at=NOW + timedelta(seconds=5),
)


def examined(token: str, *, now: datetime = NOW):
    return examine(
        token,
        keys={WARRANT_KEY.kid: WARRANT_KEY.public()},
        here=HERE,
        tools={tool.digest: tool for tool in TOOLS.values()},
        now=now,
    )


def refusal(token: str, *, now: datetime = NOW) -> str:
    with pytest.raises(RefusedError) as caught:
        examined(token, now=now)
    return caught.value.code


def test_a_good_warrant_is_an_order_with_its_manifest() -> None:
    order = examined(signed(GOOD))
    assert order.warrant == GOOD
    assert order.tool is TOOL


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"edge": "edge-2"}, "wrong_edge"),
        ({"boot": "boot-0"}, "wrong_edge"),
        ({"tenant": "other"}, "wrong_edge"),
        ({"environment": "prod"}, "wrong_edge"),
        ({"manifest": "0" * 64}, "manifest_unknown"),
        ({"manifest": TOOLS["orders.get"].digest}, "warrant_invalid"),
        ({"tool": "orders.get"}, "warrant_invalid"),
        ({"connector": "payments"}, "warrant_invalid"),
        ({"customer_id": ""}, "warrant_invalid"),
        ({"idempotency_key": ""}, "warrant_invalid"),
        ({"epochs": ()}, "warrant_invalid"),
        ({"epochs": (("agent:a", 0),)}, "warrant_invalid"),
        ({"epochs": (("global:dev", 0),)}, "warrant_invalid"),
        ({"epochs": (("agent:b", 0), ("global:dev", 0))}, "warrant_invalid"),
        ({"epochs": (("agent:a", 0), ("global:prod", 0))}, "warrant_invalid"),
        # What a person ordered is void with them, not with the agent.
        ({"person_id": "p"}, "warrant_invalid"),
        (
            {"person_id": "p", "epochs": (("person:q", 0), ("global:dev", 0))},
            "warrant_invalid",
        ),
    ],
)
def test_a_warrant_for_something_else_is_refused(changes, code) -> None:
    assert refusal(signed(replace(GOOD, **changes))) == code


def test_a_read_needs_no_idempotency_key() -> None:
    tool = TOOLS["orders.get"]
    order = replace(
        GOOD,
        tool=tool.name,
        manifest=tool.digest,
        arguments=READ,
        idempotency_key="",
    )
    assert examined(signed(order)).tool is tool


def test_a_warrant_is_good_until_it_expires_and_not_a_moment_longer() -> None:
    last = GOOD.expires_at - timedelta(milliseconds=1)
    assert examined(signed(GOOD), now=last).warrant == GOOD
    assert refusal(signed(GOOD), now=GOOD.expires_at) == "warrant_expired"


def test_a_broker_whose_clock_is_far_ahead_is_refused() -> None:
    ahead = NOW - timedelta(seconds=SKEW_S_MAX)
    assert examined(signed(GOOD), now=ahead).warrant == GOOD
    further = ahead - timedelta(milliseconds=1)
    assert refusal(signed(GOOD), now=further) == "warrant_invalid"


def test_a_warrant_of_another_key_type_or_place_is_refused() -> None:
    stranger = private_from_seed(b"s" * SEED_BYTES, algorithm=Algorithm.EDDSA)
    assert refusal(signed(GOOD, key=stranger)) == "warrant_invalid"
    claims = warrant_claims(GOOD, issuer=ISSUER)
    for typ in (RECEIPT_TYP, "at+jwt", "JWT".lower(), WARRANT_TYP + "x"):
        assert refusal(sign(claims, key=WARRANT_KEY, typ=typ)) == "warrant_invalid"
    for broken in ("", "a.b.c", signed(GOOD)[:-4], signed(GOOD) + "A"):
        assert refusal(broken) == "warrant_invalid"


@pytest.mark.parametrize("name", sorted(warrant_claims(GOOD, issuer=ISSUER)))
def test_a_signed_warrant_without_a_claim_is_refused(name) -> None:
    claims = warrant_claims(GOOD, issuer=ISSUER)
    del claims[name]
    assert refusal(sign(claims, key=WARRANT_KEY, typ=WARRANT_TYP)) == "warrant_invalid"


def test_a_signed_warrant_with_one_more_claim_is_refused() -> None:
    claims = {**warrant_claims(GOOD, issuer=ISSUER), "admin": True}
    assert refusal(sign(claims, key=WARRANT_KEY, typ=WARRANT_TYP)) == "warrant_invalid"

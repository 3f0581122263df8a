"""An order to try a credential: what is written is what is read, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.warrants.orders import OrderError
from broker.core.warrants.probes import (
    PROBE_TTL_S_MAX,
    PROBE_VERSION_MAX,
    ProbeOrder,
    harmless,
    parse_probe,
    probe_claims,
)
from tests.support.cases import ACTION_ID, CUSTOMER, NOW
from tests.support.cases import tool as tool_of

ORDER = ProbeOrder(
    order_id=ACTION_ID,
    tenant="demo",
    environment="dev",
    edge="edge-1",
    connector="retail",
    version=2,
    tool="orders.get",
    manifest="0" * 64,
    arguments={"order_id": "W7678072"},
    customer_id=CUSTOMER,
    by="person:carol",
    epochs=(("global:dev", 0),),
    issued_at=NOW,
    expires_at=NOW + timedelta(seconds=PROBE_TTL_S_MAX),
)


def claims(**changes: Any) -> dict[str, Any]:
    return probe_claims(ORDER, issuer="http://broker.test") | changes


@given(
    version=st.integers(0, PROBE_VERSION_MAX),
    life_s=st.integers(1, PROBE_TTL_S_MAX),
    arguments=st.dictionaries(st.text(max_size=5), st.integers() | st.text()),
)
def test_what_is_written_is_what_is_read(version, life_s, arguments) -> None:
    order = replace(
        ORDER,
        version=version,
        arguments=arguments,
        expires_at=NOW + timedelta(seconds=life_s),
    )
    assert parse_probe(probe_claims(order, issuer="i")) == order


@pytest.mark.parametrize("name", sorted(claims()))
def test_a_claim_that_is_missing_or_malformed_makes_it_no_order(name) -> None:
    without = {key: value for key, value in claims().items() if key != name}
    for wrong in (without, claims(**{name: None}), claims(more=1)):
        with pytest.raises(OrderError):
            parse_probe(wrong)


def test_an_order_that_lives_too_long_is_none() -> None:
    late = claims()["exp_ms"] + 1_000
    with pytest.raises(OrderError, match="lives up to"):
        parse_probe(claims(exp_ms=late))


def test_only_a_get_of_a_tool_that_reads_is_harmless() -> None:
    request = harmless(tool_of("orders.get"))
    assert request is not None
    assert request.method == "GET"
    assert harmless(tool_of("orders.refund")) is None
    # Verification is a read whose request is no GET, or it is one: never an effect.
    for name in ("customers.verify", "sums.calculate"):
        found = harmless(tool_of(name))
        assert found is None or (found.method, found.effectful) == ("GET", False)

"""Federations in an agent's row: read strictly, written as they were read."""

from __future__ import annotations

import pytest

from broker.core.identity.workload import WORKLOAD_KEYS_MAX, WORKLOAD_LIFE_S_MAX
from broker.registry.agents import agent_body, parse_agent
from broker.registry.federations import (
    CA_CHARS_MAX,
    FEDERATIONS_MAX,
    NETWORKS_MAX,
    URL_CHARS_MAX,
    parse_federation,
    write_federation,
)
from broker.registry.reading import RowError
from tests.support.identity.issuers import cluster, ec_jwk, trust_domain
from tests.support.identity.rows import AGENT_BODY, row_of

PEM = "-----BEGIN CERTIFICATE-----"
FETCHED = cluster(
    keys=(),
    jwks_url="https://cluster.example:6443/keys",
    networks=("10.96.0.0/12",),
    ca=f"{PEM}\nx",
)


def body(**changes):
    made = write_federation(FETCHED) | changes
    return {name: value for name, value in made.items() if value is not ...}


@pytest.mark.parametrize("one", [cluster(), trust_domain(), FETCHED])
def test_a_federation_comes_back_as_it_was_written(one) -> None:
    assert parse_federation(write_federation(one)) == one
    agent = parse_agent(row_of(AGENT_BODY | {"federations": [write_federation(one)]}))
    assert agent.federations == (one,)
    assert parse_agent(row_of(agent_body(agent))) == agent


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "In Cluster"},
        {"name": ...},
        {"issuer": ...},
        {"issuer": ""},
        {"issuer": "x" * 257},
        {"subject": "a b"},
        {"subject": "a\n"},
        {"subject": "é"},
        {"subject": ["x"]},
        {"audience": ...},
        {"life_s_max": 0},
        {"life_s_max": WORKLOAD_LIFE_S_MAX + 1},
        {"life_s_max": True},
        {"reusable": "yes"},
        {"jwks_url": ...},
        {"jwks_url": "http://cluster.example/keys"},
        {"jwks_url": "https:///keys"},
        {"jwks_url": "https://user@cluster.example/keys"},
        {"jwks_url": "https://cluster.example/keys#x"},
        {"jwks_url": "file:///etc/passwd"},
        {"jwks_url": f"https://c.example/{'x' * URL_CHARS_MAX}"},
        {"jwks_url": 5},
        {"keys": [ec_jwk()]},
        {"networks": ["10.0.0.1/8"]},
        {"networks": ["everywhere"]},
        {"networks": ["10.0.0.0/8"] * (NETWORKS_MAX + 1)},
        {"ca": "not a certificate"},
        {"ca": PEM + "x" * CA_CHARS_MAX},
        {"subject_pattern": "*"},
    ],
)
def test_what_is_no_federation_is_refused(changes) -> None:
    with pytest.raises(RowError):
        parse_federation(body(**changes))


def test_limits_hold_at_the_limit_and_one_past_it() -> None:
    url = "https://c.example/"
    parse_federation(body(jwks_url=url + "x" * (URL_CHARS_MAX - len(url))))
    parse_federation(body(networks=["10.0.0.0/8"] * NETWORKS_MAX))
    parse_federation(body(ca=PEM + "x" * (CA_CHARS_MAX - len(PEM))))
    pinned = write_federation(cluster()) | {"keys": [ec_jwk()] * WORKLOAD_KEYS_MAX}
    parse_federation(pinned)
    with pytest.raises(RowError):
        parse_federation(pinned | {"keys": [ec_jwk()] * (WORKLOAD_KEYS_MAX + 1)})
    named = [write_federation(cluster(name=f"f{n}")) for n in range(FEDERATIONS_MAX)]
    assert parse_agent(row_of(AGENT_BODY | {"federations": named}))
    for wrong in ([*named, body(name="f9")], [named[0], named[0]], "x", [5]):
        with pytest.raises(RowError):
            parse_agent(row_of(AGENT_BODY | {"federations": wrong}))

"""The worker's calls to the broker: tokens, nonces, order of brokers, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from broker.core.identity.dpop import token_hash, verify_dpop
from broker.core.identity.target import Target
from tests.support.identities import ISSUER, NOW, key_of
from workflows.broker import (
    ANSWER_BYTES_MAX,
    CALL_S_MAX,
    CONNECT_S_MAX,
    TOKEN_S_MAX,
    TOKEN_SPARE_S,
    Broker,
    BrokerAwayError,
    Identity,
    NoSuchApprovalError,
    http_client,
)
from workflows.messages import Standing

ID = "0197a000-0000-7000-8000-000000000002"
SECOND = "http://127.0.0.1:8401"
SAID = {"approval": "pending", "action": "pending_approval", "left_s": 12.5}


@dataclass
class Brokers:
    """Two brokers that answer as told, and remember what they were sent."""

    token: int = 200
    call: int = 200
    body: Any = field(default_factory=lambda: dict(SAID))
    down: set[str] = field(default_factory=set)
    nonce: str = ""
    life_s: int = 300
    seen: list[httpx.Request] = field(default_factory=list)
    tokens: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        base = f"{request.url.scheme}://{request.url.netloc.decode()}"
        if base in self.down:
            msg = "down"
            raise httpx.ConnectError(msg)
        self.seen.append(request)
        target = Target(request.method, frozenset({base}), request.url.path)
        if request.url.path == "/oauth/token":
            proof = verify_dpop(request.headers["dpop"], target=target, now=NOW)
            if self.nonce and proof.nonce != self.nonce:
                headers = {"DPoP-Nonce": self.nonce}
                return httpx.Response(400, json={}, headers=headers)
            self.tokens += 1
            said = {"access_token": f"t{self.tokens}", "expires_in": self.life_s}
            return httpx.Response(self.token, json=said)
        token = request.headers["authorization"].removeprefix("DPoP ")
        proof = verify_dpop(
            request.headers["dpop"], target=target, now=NOW, token=token
        )
        assert token_hash(token)
        if self.nonce and proof.nonce != self.nonce:
            return httpx.Response(401, json={}, headers={"DPoP-Nonce": self.nonce})
        return httpx.Response(self.call, content=json.dumps(self.body))

    def paths(self) -> list[str]:
        return [f"{one.method} {one.url.path}" for one in self.seen]


@dataclass
class Clock:
    ids: int = 0

    def now(self) -> datetime:
        return NOW

    def new(self) -> str:
        self.ids += 1
        return f"id-{self.ids}"


def caller(answer: Callable[[httpx.Request], httpx.Response], clock: Clock) -> Broker:
    identity = Identity(
        client_id=f"service:{ID}",
        key=key_of("worker"),
        issuer=ISSUER,
        now=clock.now,
        new_id=clock.new,
    )
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return Broker((ISSUER, SECOND), identity=identity, http=http)


async def test_it_asks_with_a_token_and_a_fresh_proof_each_time() -> None:
    brokers = Brokers()
    broker = caller(brokers, Clock())
    assert await broker.look(ID) == Standing("pending", "pending_approval", 12.5)
    await broker.settle(ID)
    await broker.expire(ID)
    assert brokers.paths() == [
        "POST /oauth/token",
        f"GET /internal/approvals/{ID}",
        f"POST /internal/approvals/{ID}/settle",
        f"POST /internal/approvals/{ID}/expire",
    ]
    proofs = {one.headers["dpop"] for one in brokers.seen}
    assert len(proofs) == 4
    assert all(not one.content for one in brokers.seen[1:])


async def test_brokers_are_tried_in_order_until_one_answers() -> None:
    brokers = Brokers(down={ISSUER})
    assert (await caller(brokers, Clock()).look(ID)).approval == "pending"
    assert {one.url.port for one in brokers.seen} == {8401}


@pytest.mark.parametrize("status", [400, 403, 409, 500, 503])
async def test_another_answer_than_a_good_one_is_no_answer(status: int) -> None:
    brokers = Brokers(call=status)
    with pytest.raises(BrokerAwayError):
        await caller(brokers, Clock()).look(ID)
    assert {one.url.port for one in brokers.seen} == {8400, 8401}


async def test_when_nobody_answers_it_says_so() -> None:
    with pytest.raises(BrokerAwayError):
        await caller(Brokers(down={ISSUER, SECOND}), Clock()).look(ID)
    with pytest.raises(BrokerAwayError):
        await caller(Brokers(token=400), Clock()).look(ID)


async def test_an_approval_that_is_not_there_is_not_looked_for_elsewhere() -> None:
    brokers = Brokers(call=404)
    with pytest.raises(NoSuchApprovalError):
        await caller(brokers, Clock()).look(ID)
    assert {one.url.port for one in brokers.seen} == {8400}


@pytest.mark.parametrize("text", ["", "x", f"{ID}/settle", "../../v1/actions", ID * 2])
async def test_an_id_that_is_none_gets_no_further(text: str) -> None:
    brokers = Brokers()
    with pytest.raises(NoSuchApprovalError):
        await caller(brokers, Clock()).settle(text)
    assert brokers.seen == []


async def test_a_token_is_used_until_shortly_before_it_ends() -> None:
    for life_s, tokens in ((TOKEN_SPARE_S, 1), (TOKEN_SPARE_S - 1, 2)):
        brokers = Brokers(life_s=life_s)
        broker = caller(brokers, Clock())
        await broker.look(ID)
        await broker.look(ID)
        assert brokers.tokens == tokens


async def test_a_token_that_was_voided_is_renewed_once() -> None:
    brokers = Brokers(call=401)
    with pytest.raises(BrokerAwayError):
        await caller(brokers, Clock()).look(ID)
    calls = [path for path in brokers.paths() if path.startswith("GET")]
    assert len(calls) == 6
    assert brokers.tokens >= 2


async def test_a_nonce_is_taken_in_at_the_token_endpoint_and_at_the_call() -> None:
    brokers, clock = Brokers(nonce="n1"), Clock()
    broker = caller(brokers, clock)
    assert (await broker.look(ID)).approval == "pending"
    assert brokers.tokens == 1
    brokers.nonce = "n2"
    assert (await broker.look(ID)).approval == "pending"
    assert brokers.tokens == 1


async def test_an_answer_has_a_limit() -> None:
    padding = "x" * (ANSWER_BYTES_MAX - len(json.dumps(SAID | {"p": ""})))
    brokers = Brokers(body=SAID | {"p": padding})
    assert (await caller(brokers, Clock()).look(ID)).left_s == 12.5
    brokers.body["p"] += "x"
    with pytest.raises(BrokerAwayError, match="too long"):
        await caller(brokers, Clock()).look(ID)


async def test_the_client_waits_no_longer_than_its_limits() -> None:
    async with http_client() as http:
        assert http.timeout.read == CALL_S_MAX
        assert http.timeout.connect == CONNECT_S_MAX
        assert not http.follow_redirects
    brokers = Brokers()
    await caller(brokers, Clock()).look(ID)
    assert brokers.seen[0].extensions["timeout"]["read"] == TOKEN_S_MAX

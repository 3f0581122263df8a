"""What an agent, a channel and a person send: as the broker reads it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from broker.client.agent import WAIT_S_MAX, AgentClient
from broker.client.channel import ChannelClient
from broker.client.person import PersonClient
from broker.core.approvals.votes import Voter, verify_vote
from broker.core.authenticate import (
    ChannelFacts,
    verify_ending,
    verify_interaction_assertion,
    verify_turn,
)
from broker.core.words.approval import VoteWord
from broker.core.words.identity import RegisteredKey
from tests.support.channels import CHANNEL, USE_CASE
from tests.support.door import PEOPLE
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    CHANNEL_ID,
    CHANNEL_KEY,
    INTERACTION_ID,
    ISSUER,
    NOW,
    key_of,
)

ACTION_ID = "0197a000-0000-7000-8000-0000000000f7"
APPROVAL_ID = "0197a000-0000-7000-8000-0000000000f8"


class Broker:
    """Answers as a broker would, and keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        self.answers: dict[str, Any] = {}
        self.statuses = ["executing", "executing", "done"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/.well-known/oauth-authorization-server":
            about = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/oauth/token"}
            return httpx.Response(200, json=about)
        if path == "/oauth/token":
            token = {"access_token": "t", "expires_in": 300, "token_type": "DPoP"}
            return httpx.Response(200, json=token)
        self.sent.append(request)
        if path == f"/v1/actions/{ACTION_ID}" and request.method == "GET":
            status = self.statuses.pop(0) if self.statuses else "executing"
            return httpx.Response(200, json={"status": status})
        return httpx.Response(200, json=self.answers.get(path, {}))

    @property
    def body(self) -> Any:
        return json.loads(self.sent[-1].content)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def http(broker: Broker) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(broker))


def agent(http: httpx.AsyncClient) -> AgentClient:
    return AgentClient(
        ISSUER, client_id=AGENT, key=key_of("agent"), http=http, now=lambda: NOW
    )


async def test_an_agent_asks_with_everything_that_it_has_to_say(broker, http):
    await agent(http).act(
        "orders.refund",
        {"order_id": "W1"},
        interaction=INTERACTION_ID,
        reason="broken",
        citations=["policy-1"],
        idempotency_key="once",
    )
    request = broker.sent[-1]
    assert (request.method, request.url.path) == ("POST", "/v1/actions")
    assert request.headers["idempotency-key"] == "once"
    assert request.headers["authorization"] == "DPoP t"
    assert broker.body == {
        "tool": "orders.refund",
        "arguments": {"order_id": "W1"},
        "interaction": INTERACTION_ID,
        "reason": "broken",
        "citations": ["policy-1"],
    }


async def test_an_agent_asks_what_would_be_decided_and_withdraws(broker, http):
    await agent(http).decide("orders.get", {}, interaction=INTERACTION_ID)
    assert broker.sent[-1].url.path == "/v1/decisions"
    assert set(broker.body) == {"tool", "arguments", "interaction"}
    await agent(http).cancel(ACTION_ID)
    assert broker.sent[-1].method == "DELETE"


async def test_an_agent_never_waits_longer_at_once_than_the_broker_offers(broker, http):
    await agent(http).action(ACTION_ID, wait_s=WAIT_S_MAX + 1)
    assert broker.sent[-1].url.params["wait_s"] == str(WAIT_S_MAX)
    await agent(http).action(ACTION_ID)
    assert "wait_s" not in broker.sent[-1].url.params


async def test_waiting_ends_with_the_action_or_with_the_time(broker, http):
    answer = await agent(http).wait(ACTION_ID, timeout_s=20)
    assert answer.body["status"] == "done"
    answer = await agent(http).wait(ACTION_ID, timeout_s=0.5)
    assert answer.body["status"] == "executing"


async def test_what_a_channel_sends_verifies_as_what_it_is(broker, http):
    channel = ChannelClient(
        ISSUER, channel_id=CHANNEL_ID, key=CHANNEL_KEY, http=http, now=lambda: NOW
    )
    facts: ChannelFacts = CHANNEL
    await channel.open_interaction(
        AGENT_ID,
        use_case=USE_CASE,
        customer="customer-7",
        verification_level=2,
        more={"topics": ["refund"]},
    )
    word = verify_interaction_assertion(
        broker.body["assertion"], channel=facts, issuer=ISSUER, now=NOW
    )
    assert (word.agent_id, word.customer, word.topics) == (
        AGENT_ID,
        "customer-7",
        ("refund",),
    )
    await channel.turn(INTERACTION_ID, "It broke.")
    said = verify_turn(
        broker.body["assertion"],
        interaction_id=INTERACTION_ID,
        channel=facts,
        issuer=ISSUER,
        now=NOW,
    )
    assert (said.speaker, said.text) == ("customer", "It broke.")
    await channel.end(INTERACTION_ID)
    assert verify_ending(
        broker.body["assertion"],
        interaction_id=INTERACTION_ID,
        channel=facts,
        issuer=ISSUER,
        now=NOW,
    )


async def test_a_vote_covers_what_was_shown_and_is_signed_by_the_person(broker, http):
    person_id = PEOPLE["alice"][0]
    broker.answers[f"/v1/approvals/{APPROVAL_ID}"] = {
        "asked": {"approval": APPROVAL_ID, "digest": "a" * 64},
        "shown": "b" * 64,
    }
    alice = PersonClient(
        ISSUER,
        client_id=f"person:{person_id}",
        key=key_of("alice"),
        http=http,
        now=lambda: NOW,
    )
    await alice.vote(APPROVAL_ID, "reject", reason="not this one")
    assert broker.sent[-1].url.path == f"/v1/approvals/{APPROVAL_ID}/votes"
    vote = verify_vote(
        broker.body["vote"],
        person_id=person_id,
        voter=Voter((RegisteredKey(key_of("alice").public()),)),
    )
    assert vote.word is VoteWord.REJECT
    assert (vote.digest, vote.shown) == ("a" * 64, "b" * 64)
    assert vote.reason == "not this one"

"""Agents that lend each other authority at the front door, and what they show."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from broker.core.words.entry import EntryKind
from tests.support.door import PEOPLE, TOOLS, Door, put, slots
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    ISSUER,
    OTHER_AGENT_ID,
    edited,
    key_of,
)

if TYPE_CHECKING:
    import httpx

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
INTERACTION = "urn:counterfoil:token-type:interaction"
CHILD = f"agent:{OTHER_AGENT_ID}"
IDS = {
    "agent": AGENT_ID,
    "other": OTHER_AGENT_ID,
    **{n: f"0197a000-0000-7000-8000-00000000a1{n[1:]}" for n in ("a10", "a11", "a12")},
}


def client_of(name: str) -> str:
    return f"agent:{IDS[name]}"


async def more_agents(door: Door) -> None:
    """Register three further agents, and let each delegate to the next."""
    for name in ("a10", "a11", "a12"):
        body = {
            "name": name,
            "owner": PEOPLE["olivia"][0],
            "use_case": "retail-care",
            "tier_max": 3,
            "tools": TOOLS,
            "keys": slots(name),
            "status": "active",
        }
        await put(door.registry, "agent", IDS[name], body)
    chain = ["agent", "other", "a10", "a11", "a12"]
    for parent, child in pairwise(chain):
        await door.change("agent", IDS[parent], delegates=[IDS[child]])


async def lends(door: Door) -> None:
    """Let the agent delegate to the other one."""
    await door.change("agent", AGENT_ID, delegates=[OTHER_AGENT_ID])


async def own_token(door: Door, name: str, **changes: Any) -> str:
    """Return an agent's own token, bound to a key of its own."""
    form = door.form(
        client_assertion=door.assertion(client_of(name), key=key_of(name)), **changes
    )
    answer = await door.ask(form, proof=door.proof(key=key_of(f"{name} runs")))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def exchange(
    door: Door,
    subject: str,
    *,
    by: str = "other",
    proof: str | None = "",
    **changes: Any,
) -> httpx.Response:
    """Ask for a delegated token as an agent; fields are replaced or (...) removed."""
    form = {
        "grant_type": EXCHANGE,
        "subject_token": subject,
        "subject_token_type": ACCESS_TOKEN,
        "actor_token_type": ACCESS_TOKEN,
    }
    if "actor_token" not in changes:
        form["actor_token"] = await own_token(door, by)
    asked = door.form(
        client_assertion=door.assertion(client_of(by), key=key_of(by)),
        **edited(form, {}),
    )
    if proof == "":
        proof = door.proof(key=key_of(f"{by} runs"))
    return await door.ask(edited(asked, changes), proof=proof)


async def lent(door: Door, subject: str, *, by: str = "other", **changes: Any) -> str:
    """Return a delegated token."""
    answer = await exchange(door, subject, by=by, **changes)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def as_child(door: Door, token: str, *, by: str = "other") -> httpx.Response:
    """Call the tool API with a delegated token and the child's key."""
    proof = door.proof(
        "GET", f"{ISSUER}/v1/tools", key=key_of(f"{by} runs"), token=token
    )
    return await door.call("GET", "/v1/tools", token, proof=proof)


def details(**grant: Any) -> str:
    return json.dumps([{"type": "counterfoil", **grant}])


async def persons_token(door: Door, name: str = "alice", *, agent: str = AGENT) -> str:
    """Return an employee's token that one agent may exchange."""
    agent_id = agent.partition(":")[2]
    return await door.token(name, resource=f"{ISSUER}/delegation/{agent_id}")


async def refused(door: Door, answer: httpx.Response, *errors: str) -> None:
    """Require one of some OAuth errors, no token, and nothing said that was sent."""
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] in errors, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "access_token" not in answer.json()
    delegated = [e for e in door.logged(EntryKind.TOKEN) if "delegation" in e.detail]
    assert delegated == []

"""A front door on fakes: the real routers and checks, no server behind them.

Everybody of the demo is registered, each with the key that belongs to their name
(`key_of`). The clock stands still until a test moves it.
"""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import httpx
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from broker.api import admin, internal, notices, oauth, policy, problems
from broker.api.identity.desk import Desk
from broker.api.kit import permissions, probes
from broker.api.limits import budgets, standing
from broker.api.security import agent, person, service
from broker.core.identity.assertions import assertion_claims
from broker.core.identity.dpop import proof_claims, proof_key
from broker.core.words.subject import Caller
from tests.support.cases import all_tools
from tests.support.fake_registry import FakeIdentities, FakeMemory, FakeRegistry
from tests.support.identities import (
    AGENT,
    API,
    ENVIRONMENT,
    INTERACTION_ID,
    ISSUER,
    TENANT,
    compact,
    edited,
    key_of,
)
from tests.support.identity.doorstep import (
    PEOPLE,
    TOOLS,
    WORKER_ID,
    Conversations,
    Counter,
    FixedKeys,
    Logbook,
    Remembered,
    Times,
    conversation,
    populate,
    put,
    slots,
)
from tests.support.identity.shown import STANDS_IN, compared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from broker.core.jwk import PrivateKey
    from broker.core.words.entry import AuditEntry, EntryKind

__all__ = [
    "ASSERTION_TYPE",
    "FRESH",
    "PEOPLE",
    "TOOLS",
    "WORKER_ID",
    "Conversations",
    "Door",
    "FixedKeys",
    "Times",
    "application",
    "claims_in",
    "conversation",
    "open_door",
    "put",
    "slots",
]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FRESH = "a fresh one"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Door:
    """The door and everything behind it; a client to knock with."""

    times: Times
    registry: FakeRegistry
    memory: FakeMemory
    journal: Logbook
    identities: FakeIdentities
    desk: Desk
    http: httpx.AsyncClient
    count: int = 0

    def jti(self) -> str:
        self.count += 1
        return f"id-{self.count}"

    def assertion(
        self,
        client: str = AGENT,
        *,
        key: PrivateKey | None = None,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a client assertion; keyword arguments replace or (...) remove."""
        key = key or key_of("agent")
        base = assertion_claims(
            client, issuer=ISSUER, jti=self.jti(), now=self.times.now()
        )
        head = {"alg": key.algorithm.value, "kid": key.kid}
        return compact(edited(head, header or {}), edited(base, claims), key)

    def proof(
        self,
        method: str = "POST",
        url: str = f"{ISSUER}/oauth/token",
        *,
        key: PrivateKey | None = None,
        token: str | None = None,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a DPoP proof; keyword arguments replace or (...) remove claims."""
        key = key or key_of("instance")
        base = proof_claims(
            method=method, url=url, jti=self.jti(), now=self.times.now(), token=token
        )
        head = {
            "typ": "dpop+jwt",
            "alg": key.algorithm.value,
            "jwk": proof_key(key.public()),
        }
        return compact(edited(head, header or {}), edited(base, claims), key)

    def form(self, **changes: Any) -> dict[str, str]:
        """Return a token request; keyword arguments replace or (...) remove fields."""
        base = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(),
            "resource": API,
        }
        return edited(base, changes)

    async def ask(
        self,
        form: Mapping[str, str] | bytes | None = None,
        *,
        proof: str | None = FRESH,
        path: str = "/oauth/token",
        **headers: str,
    ) -> httpx.Response:
        """Send a form; a fresh proof goes with it unless ``proof`` says otherwise."""
        data = form if isinstance(form, bytes) else urlencode(form or self.form())
        sent = FORM | {name.replace("_", "-"): text for name, text in headers.items()}
        if proof == FRESH:
            proof = self.proof(url=ISSUER + path)
        if proof is not None:
            sent["dpop"] = proof
        encoded = {name: text.encode("latin-1") for name, text in sent.items()}
        return await self.http.post(path, content=data, headers=encoded)  # type: ignore[arg-type]

    async def token(self, who: str = "agent", **changes: Any) -> str:
        """Return an access token of the agent, the worker or a person, by name."""
        client, resource = AGENT, API
        if who in PEOPLE:
            client, resource = f"person:{PEOPLE[who][0]}", f"{ISSUER}/console"
        elif who == "worker":
            client, resource = f"service:{WORKER_ID}", f"{ISSUER}/internal"
        form = self.form(
            client_assertion=self.assertion(client, key=key_of(who)), resource=resource
        )
        answer = await self.ask(form | changes)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def call(
        self, method: str, path: str, token: str, *, proof: str = "", **more: Any
    ) -> httpx.Response:
        """Call with a bound token and, unless one is given, a fresh proof for it."""
        url = ISSUER + path.partition("?")[0]
        proof = proof or self.proof(method, url, token=token)
        headers = {"authorization": f"DPoP {token}", "dpop": proof}
        headers |= more.pop("headers", {})
        return await self.http.request(method, path, headers=headers, **more)

    async def seconded(
        self, answer: httpx.Response, who: str = "dave"
    ) -> httpx.Response:
        """Approve what an answer says that waits, as another person."""
        assert answer.status_code == 202, answer.text
        assert answer.json()["status"] == "open"
        path = f"/v1/admin/changes/{answer.json()['change']}/approve"
        seen = {"revision": answer.json()["revision"]}
        return await self.call("POST", path, await self.token(who), json=seen)

    async def widened(
        self, path: str, body: Mapping[str, Any], *, by: str = "carol"
    ) -> dict[str, Any]:
        """Ask for a change as one person, approve it as another, return the row."""
        asked = await self.call("POST", path, await self.token(by), json=dict(body))
        done = await self.seconded(asked)
        assert done.status_code == 200, done.text
        rooms = {"agent": "agents", "person": "people"}
        where = f"/v1/admin/{rooms[done.json()['kind']]}/{done.json()['id']}"
        shown: dict[str, Any] = (
            await self.call("GET", where, await self.token(by))
        ).json()
        return shown

    async def change(self, kind: str, row_id: str, **fields: Any) -> None:
        """Change fields of a row, as security staff would."""
        row = await self.registry.get(kind, row_id)
        assert row is not None
        await put(
            self.registry, kind, row_id, dict(row.body) | fields, after=row.revision
        )

    def logged(self, kind: EntryKind) -> list[AuditEntry]:
        """Return what was logged of one kind, changes of the registry included."""
        return [
            entry
            for entry in [*self.journal.entries, *self.registry.entries]
            if entry.kind is kind
        ]


@cache
def application() -> FastAPI:
    """Return the routers of identity, and one guarded path for each kind of caller.

    One serves all tests, each with a desk of its own: making one took 40 ms.
    """
    app = FastAPI()
    problems.install(app)
    app.include_router(oauth.router)
    app.include_router(admin.router)
    app.include_router(notices.router)
    app.include_router(policy.router)
    app.include_router(budgets.router)
    app.include_router(standing.router)
    app.include_router(permissions.router)
    app.include_router(probes.router)
    app.include_router(internal.router)
    app.state.issuer = ISSUER

    async def seen(who: Caller) -> JSONResponse:
        found = {
            "subject": f"{who.kind.value}:{who.subject_id}",
            "proof": who.proof_of_possession,
            "tools": sorted(who.grant.tools),
            "interaction": who.grant.interaction_id,
        }
        return JSONResponse(found, headers={STANDS_IN: "yes"})

    @app.api_route("/v1/tools", methods=["GET", "POST"])
    async def tools(who: Annotated[Caller, Depends(agent)]) -> JSONResponse:
        return await seen(who)

    @app.post("/mcp")
    @app.post("/mcp/{interaction}")
    async def mcp(who: Annotated[Caller, Depends(agent)]) -> JSONResponse:
        return await seen(who)

    @app.get("/v1/approvals")
    async def approvals(who: Annotated[Caller, Depends(person)]) -> JSONResponse:
        return await seen(who)

    @app.post("/internal/settle")
    async def inside(who: Annotated[Caller, Depends(service)]) -> JSONResponse:
        return await seen(who)

    return app


@asynccontextmanager
async def open_door(
    *, issuer: str = ISSUER, times: Times | None = None
) -> AsyncIterator[Door]:
    """Open a door with everybody registered and one interaction open."""
    times = times or Times()
    registry, journal = FakeRegistry(), Logbook()
    await populate(registry)
    registry.entries.clear()
    memory = FakeMemory(now=times.now)
    # SQL keeps the assertions of both in one table.
    identities = FakeIdentities(registry, now=times.now, seen=memory.slow)
    desk = Desk(
        issuer=issuer,
        origins=frozenset({issuer, "http://127.0.0.1:8401"}),
        tenant=TENANT,
        environment=ENVIRONMENT,
        replica="broker-0",
        clock=times,
        ids=Counter(),
        keys=FixedKeys(),
        identities=identities,
        proofs=memory,
        replay=memory,
        registry=registry,
        interactions=Conversations(
            {INTERACTION_ID: conversation(opened_at=times.now())}
        ),
        journal=journal,
        past=Remembered(journal, registry),
        tools=tuple(all_tools()),
    )
    app = application()
    app.state.desk = desk
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=issuer, event_hooks={"response": [compared]}
    ) as http:
        yield Door(times, registry, memory, journal, identities, desk, http)


def claims_in(token: str) -> dict[str, Any]:
    """Return the payload of a token, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found

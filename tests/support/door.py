"""A front door on fakes: the real routers and checks, no server behind them.

Everybody of the demo is registered, each with the key that belongs to their name
(`key_of`). The clock stands still until a test moves it.
"""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import httpx
from fastapi import Depends, FastAPI

from broker.api import admin, oauth, problems
from broker.api.identity.desk import Desk
from broker.api.security import agent, person, service
from broker.core.identity.assertions import assertion_claims
from broker.core.identity.dpop import proof_claims, proof_key
from broker.core.jwk import PrivateKey, PublicKey, public_to_jwk
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import LedgerUnavailableError
from broker.core.words.identity import RegisteredKey
from broker.core.words.subject import Caller, Interaction, VerificationLevel
from broker.registry.reading import write_keys
from broker.registry.records import Change
from tests.support.fake_registry import FakeIdentities, FakeMemory, FakeRegistry
from tests.support.identities import (
    AGENT,
    AGENT_ID,
    API,
    CHANNEL_ID,
    ENVIRONMENT,
    INTERACTION_ID,
    ISSUER,
    NOW,
    OTHER_AGENT_ID,
    TENANT,
    TOKEN_KEY,
    compact,
    edited,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

PEOPLE = {
    "alice": ("0197a000-0000-7000-8000-0000000000b1", ["supervisor"]),
    "bob": ("0197a000-0000-7000-8000-0000000000b2", ["supervisor"]),
    "carol": ("0197a000-0000-7000-8000-0000000000b3", ["admin", "security"]),
    "olivia": ("0197a000-0000-7000-8000-0000000000b4", ["owner", "security"]),
    "dave": ("0197a000-0000-7000-8000-0000000000b5", ["compliance"]),
}
WORKER_ID = "0197a000-0000-7000-8000-0000000000d1"
TOOLS = ["customers.get", "orders.get", "orders.refund"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
FRESH = "a fresh one"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Times:
    """A clock that stands still."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def pass_(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Counter:
    """Ids that count up."""

    last: int = 0

    def new(self) -> str:
        self.last += 1
        return f"0197b000-0000-7000-8000-{self.last:012x}"


@dataclass
class Logbook:
    """A journal that can refuse."""

    entries: list[AuditEntry] = field(default_factory=list)
    full: bool = False

    async def record(self, entry: AuditEntry) -> None:
        if self.full:
            msg = "the log cannot take the entry"
            raise LedgerUnavailableError(msg)
        self.entries.append(entry)

    async def ready(self) -> None:
        return


@dataclass
class Conversations:
    """The interactions that there are."""

    open: dict[str, Interaction] = field(default_factory=dict)

    async def interaction(self, interaction_id: str) -> Interaction | None:
        return self.open.get(interaction_id)


@dataclass
class FixedKeys:
    """The broker's keys, the same in every run."""

    token: PrivateKey = TOKEN_KEY
    nonce_secret: bytes = b"n" * 32

    @property
    def tokens(self) -> Mapping[str, PublicKey]:
        return {self.token.kid: self.token.public()}

    def jwks(self) -> dict[str, Any]:
        return {"keys": [public_to_jwk(self.token.public())]}


def conversation(**changes: Any) -> Interaction:
    """Return an open interaction of the agent."""
    base = Interaction(
        interaction_id=INTERACTION_ID,
        tenant=TENANT,
        environment=ENVIRONMENT,
        use_case="retail-care",
        agent_id=AGENT_ID,
        channel_id=CHANNEL_ID,
        channel="webchat",
        customer_id="customer-7",
        customer_ref="ref-7",
        verification=VerificationLevel.MATCHED,
        topics=(),
        locale="en-US",
        purpose="service",
        consent_version="2026-10",
        release="",
        ai_disclosed_at=None,
        opened_at=NOW,
    )
    return replace(base, **changes)


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


def slots(*names: str) -> list[dict[str, Any]]:
    """Return the keys that belong to names, as a body holds them."""
    return write_keys([RegisteredKey(key_of(name).public()) for name in names])


async def put(
    registry: FakeRegistry, kind: str, row_id: str, body: Any, *, after: int = 0
) -> None:
    """Put a row."""
    change = Change(
        kind=kind, row_id=row_id, body=body, by=("bootstrap",), at=NOW, after=after
    )
    entry = AuditEntry("e", EntryKind.AUTHORITY, NOW, TENANT, ENVIRONMENT)
    await registry.put(change, entry)


async def populate(registry: FakeRegistry) -> None:
    """Register everybody."""
    for name, (person_id, roles) in PEOPLE.items():
        await put(
            registry,
            "person",
            person_id,
            {
                "name": name,
                "roles": roles,
                "approval_limits": {"USD": 200_000} if "supervisor" in roles else {},
                "keys": slots(name),
                "status": "active",
            },
        )
    for agent_id, name in ((AGENT_ID, "agent"), (OTHER_AGENT_ID, "other")):
        await put(
            registry,
            "agent",
            agent_id,
            {
                "name": name,
                "owner": PEOPLE["olivia"][0],
                "use_case": "retail-care",
                "tier_max": 3,
                "tools": TOOLS,
                "keys": slots(name),
                "status": "active",
            },
        )
    await put(
        registry,
        "service",
        WORKER_ID,
        {
            "name": "worker",
            "purpose": "worker",
            "keys": slots("worker"),
            "status": "active",
        },
    )
    await put(
        registry,
        "use_case",
        "retail-care",
        {
            "name": "Retail care",
            "owner": PEOPLE["dave"][0],
            "purpose": "service",
            "tools": [*TOOLS, "orders.cancel"],
            "retention_days": 365,
            "release": {"id": "", "grade": "absent"},
        },
    )


@cache
def application() -> FastAPI:
    """Return the routers of identity, and one guarded path for each kind of caller.

    One serves all tests, each with a desk of its own: making one took 40 ms.
    """
    app = FastAPI()
    problems.install(app)
    app.include_router(oauth.router)
    app.include_router(admin.router)
    app.state.issuer = ISSUER

    async def seen(who: Caller) -> dict[str, Any]:
        return {
            "subject": f"{who.kind.value}:{who.subject_id}",
            "proof": who.proof_of_possession,
            "tools": sorted(who.grant.tools),
            "interaction": who.grant.interaction_id,
        }

    @app.api_route("/v1/tools", methods=["GET", "POST"])
    async def tools(who: Annotated[Caller, Depends(agent)]) -> dict[str, Any]:
        return await seen(who)

    @app.post("/mcp")
    @app.post("/mcp/{interaction}")
    async def mcp(who: Annotated[Caller, Depends(agent)]) -> dict[str, Any]:
        return await seen(who)

    @app.get("/v1/approvals")
    async def approvals(who: Annotated[Caller, Depends(person)]) -> dict[str, Any]:
        return await seen(who)

    @app.post("/internal/settle")
    async def internal(who: Annotated[Caller, Depends(service)]) -> dict[str, Any]:
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
        interactions=Conversations({INTERACTION_ID: conversation()}),
        journal=journal,
    )
    app = application()
    app.state.desk = desk
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=issuer) as http:
        yield Door(times, registry, memory, journal, identities, desk, http)


def claims_in(token: str) -> dict[str, Any]:
    """Return the payload of a token, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found

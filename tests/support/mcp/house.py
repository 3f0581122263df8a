"""A house with its tool API over HTTP: REST and MCP before the same real flow.

Callers show real tokens to the real door; the requests go to the application itself,
without a network in between.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
from fastapi import FastAPI
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from broker.api import actions, mcp, problems
from broker.api.identity.desk import Desk
from broker.core.identity.dpop import proof_claims, proof_key
from broker.core.words.subject import Grant
from broker.effects.identities import Identities
from broker.effects.keeping.identity_past import IdentityPast
from tests.support.door import FixedKeys
from tests.support.fake_registry import FakeMemory
from tests.support.identities import (
    API,
    INSTANCE_KEY,
    ISSUER,
    access_token,
    compact,
    signed_token,
)
from tests.support.identity.shown import compared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.words.subject import Interaction
    from tests.support.flow.house import House

NEW, OLD = "2026-07-28", "2025-11-25"
MCP = f"{ISSUER}/mcp"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass
class McpHouse:
    """A house, the application before it, and a client to send bytes with."""

    house: House
    app: FastAPI
    http: httpx.AsyncClient
    sent: int = field(default=0)

    def token(self, *, bound_to: str = "", bearer: bool = True, **changes: Any) -> str:
        """Return a token of the agent: a Bearer one needs an interaction."""
        now = self.house.ports.clock.now()
        grant = changes.pop("grant", Grant(interaction_id=bound_to))
        fields = {
            "jkt": "" if bearer else INSTANCE_KEY.kid,
            "issued_at": now,
            "expires_at": now + timedelta(seconds=300),
            "grant": grant,
        }
        return signed_token(access_token(**fields | changes))

    def bearer(self, interaction: Interaction, **changes: Any) -> dict[str, str]:
        """Return the header of a token that is bound to an interaction."""
        token = self.token(bound_to=interaction.interaction_id, **changes)
        return {"authorization": f"Bearer {token}"}

    def proved(self, url: str = MCP, **changes: Any) -> dict[str, str]:
        """Return the headers of a DPoP token, with a fresh proof for one POST."""
        token = self.token(bearer=False, **changes)
        self.sent += 1
        claims = proof_claims(
            method="POST",
            url=url,
            jti=f"proof-{self.sent}",
            now=self.house.ports.clock.now(),
            token=token,
        )
        head = {
            "typ": "dpop+jwt",
            "alg": INSTANCE_KEY.algorithm.value,
            "jwk": proof_key(INSTANCE_KEY.public()),
        }
        proof = compact(head, claims, INSTANCE_KEY)
        return {"authorization": f"DPoP {token}", "dpop": proof}

    async def post(
        self, body: Any, headers: dict[str, str], *, path: str = "/mcp"
    ) -> httpx.Response:
        """Send a body: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        base = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        return await self.http.post(path, content=data, headers=base | headers)

    async def rpc(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        who: dict[str, str],
        revision: str = NEW,
        path: str = "/mcp",
    ) -> httpx.Response:
        """Send a request as a client of a revision would."""
        params = dict(params or {})
        headers = {"mcp-protocol-version": revision}
        if revision == NEW:
            params["_meta"] = ENVELOPE | params.get("_meta", {})
            headers["mcp-method"] = method
            if "name" in params:
                headers["mcp-name"] = str(params["name"])
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return await self.post(body, headers | who, path=path)

    async def call(
        self, tool: str, arguments: dict[str, Any], *, who: dict[str, str], **more: Any
    ) -> dict[str, Any]:
        """Call a tool, and return the result or the error; ``meta`` goes along."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if "meta" in more:
            params["_meta"] = more.pop("meta")
        answer = (await self.rpc("tools/call", params, who=who, **more)).json()
        found: dict[str, Any] = answer.get("result") or answer["error"]
        return found

    @asynccontextmanager
    async def client(
        self, interaction: Interaction, *, mode: str = "auto"
    ) -> AsyncIterator[Client]:
        """Connect an unmodified client with a Bearer token."""
        http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app),
            headers=self.bearer(interaction),
        )
        async with http:
            transport = streamable_http_client(MCP, http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client


def application(house: House) -> FastAPI:
    """Return the tool API, over REST and MCP, before a house."""
    now = house.ports.clock.now
    memory = FakeMemory(now=now, changed_at=now() - timedelta(days=1))
    app = FastAPI()
    problems.install(app)
    app.include_router(actions.router)
    app.include_router(mcp.router)
    app.state.ports = house.ports
    app.state.issuer = ISSUER
    app.state.tasks = set()
    app.state.desk = Desk(
        issuer=ISSUER,
        origins=frozenset({ISSUER}),
        tenant=house.ports.tenant,
        environment="dev",
        replica=house.ports.replica,
        clock=house.ports.clock,
        ids=house.ports.ids,
        keys=FixedKeys(),
        identities=Identities(house.database, house.registry),
        proofs=memory,
        replay=memory,
        registry=house.registry,
        interactions=house.ports.store,
        journal=house.ports.journal,
        past=IdentityPast(house.database, {}),
    )
    return app


@asynccontextmanager
async def open_api(house: House) -> AsyncIterator[McpHouse]:
    """Open the tool API before a house."""
    app = application(house)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=ISSUER, event_hooks={"response": [compared]}
    ) as http:
        yield McpHouse(house, app, http)


__all__ = ["API", "ENVELOPE", "MCP", "NEW", "OLD", "McpHouse", "open_api"]

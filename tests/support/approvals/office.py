"""The rooms that people and the worker knock at, over a house's real flow.

Tokens, proofs and rows are the real thing; only the memory of proofs is a fake.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from fastapi import FastAPI

from broker.api import (
    admin,
    approvals,
    console,
    decisions,
    internal,
    notices,
    oauth,
    policy,
    problems,
    rehearsals,
)
from broker.api.console.room import Pulse, Room
from broker.api.identity.desk import Desk
from broker.effects.identities import Identities
from broker.effects.keeping.identity_past import IdentityPast
from broker.effects.keeping.tickets import Tickets
from tests.support.door import WORKER_ID, FixedKeys, slots
from tests.support.fake_registry import FakeMemory
from tests.support.flow.house import (
    AGENT_ID,
    ENVIRONMENT,
    ISSUER,
    PEOPLE,
    TENANT,
    put_row,
)
from tests.support.identities import key_of
from tests.support.identity.shown import compared
from tests.support.notices.mailrooms import FakeCourier, mailroom
from tests.support.vigilance.plants import vigil
from workflows.broker import ASSERTION_TYPE, Identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.approvals.codec import KeySource
    from tests.support.flow.house import House


@dataclass
class Office:
    """The application, and a client to knock with."""

    house: House
    app: FastAPI
    http: httpx.AsyncClient

    def identity(self, who: str) -> Identity:
        """Return how a person, the agent or the worker shows who they are."""
        subject = f"person:{PEOPLE[who]}" if who in PEOPLE else f"service:{WORKER_ID}"
        if who == "agent":
            subject = f"agent:{AGENT_ID}"
        return Identity(
            client_id=subject,
            key=key_of(who),
            issuer=ISSUER,
            now=self.house.ports.clock.now,
            new_id=self.house.ports.ids.new,
        )

    async def token(self, who: str) -> str:
        """Return a token for the resource that belongs to this kind of caller."""
        me, resource = self.identity(who), "console" if who in PEOPLE else "internal"
        resource = "v1" if who == "agent" else resource
        answer = await self.http.post(
            "/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_assertion_type": ASSERTION_TYPE,
                "client_assertion": me.assertion(),
                "resource": f"{ISSUER}/{resource}",
            },
            headers={
                "DPoP": me.proof("POST", f"{ISSUER}/oauth/token", token=None, nonce="")
            },
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def call(
        self, who: str, method: str, path: str, **more: Any
    ) -> httpx.Response:
        """Call as somebody, with a fresh token and proof."""
        token = await self.token(who)
        me = self.identity(who)
        proof = me.proof(method, ISSUER + path, token=token, nonce="")
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        return await self.http.request(method, path, headers=headers, **more)


def application(
    house: House, *, issuer: str = ISSUER, courier: FakeCourier | None = None
) -> FastAPI:
    """Return the routers of identity, approvals and the internal endpoint."""
    courier = courier or FakeCourier()
    clock, ids = house.ports.clock, house.ports.ids
    memory = FakeMemory(now=clock.now)
    app = FastAPI()
    problems.install(app)
    rooms = (
        oauth,
        approvals,
        console,
        decisions,
        admin,
        policy,
        rehearsals,
        notices,
        internal,
    )
    for room in rooms:
        app.include_router(room.router)
    app.state.issuer = issuer
    app.state.ports = house.ports
    app.state.tasks = set()
    app.state.mailroom = mailroom(house, courier)
    app.state.vigil = vigil(house)
    app.state.console = Room(
        issuer=issuer,
        key=key_of("console"),
        tickets=Tickets(house.database),
        pulse=Pulse(house.ports.desk),
    )
    app.state.desk = Desk(
        issuer=issuer,
        origins=frozenset({issuer}),
        tenant=TENANT,
        environment=ENVIRONMENT,
        replica="broker-0",
        clock=clock,
        ids=ids,
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


async def register_worker(house: House, *, purpose: str = "worker") -> None:
    """Register the worker as a service."""
    body = {
        "name": "worker",
        "purpose": purpose,
        "keys": slots("worker"),
        "status": "active",
    }
    await put_row(house, "service", WORKER_ID, body)


@asynccontextmanager
async def open_office(house: House) -> AsyncIterator[Office]:
    """Open the rooms in memory, with the worker registered."""
    await register_worker(house)
    app = application(house)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url=ISSUER, event_hooks={"response": [compared]}
    ) as http:
        yield Office(house, app, http)


@asynccontextmanager
async def serve_office(
    house: House, *, codec: KeySource | None = None
) -> AsyncIterator[str]:
    """Serve the rooms on loopback, for another process; give their base URL."""
    await register_worker(house)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = application(house, issuer=base)
        app.state.codec = codec
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started:  # noqa: ASYNC110  (it tells nobody)
                await asyncio.sleep(0.01)
            yield base
        finally:
            server.should_exit = True
            await serving

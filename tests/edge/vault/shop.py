"""An edge's keyring before a provider that is also its upstream, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from broker.edge.egress.upstream import Outgoing
from broker.edge.egress.upstreams import Upstreams
from broker.edge.vault.access import Access, Keyring
from broker.edge.vault.keeper import Draft
from broker.edge.vault.tokens import Tokens
from tests.edge.fake_upstream import FakeUpstream
from tests.edge.vault.conftest import Safe
from tests.edge.vault.provider import CLIENT, Provider


@dataclass
class Shop:
    """An edge's keyring before a provider that is also the upstream."""

    safe: Safe
    server: FakeUpstream
    provider: Provider
    upstreams: Upstreams
    now: float = 1_000.0
    keyring: Keyring = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what only memory held."""
        vault = self.safe.vault
        tokens = Tokens(
            vault.rows,
            notary=vault.notary,
            ask=self.upstreams.ask,
            clock=lambda: self.now,
        )
        self.keyring = Keyring(vault, tokens)

    async def add(self, kind: str, auth: str, secret: bytes, **settings: str) -> None:
        self.provider.auth = auth
        told = {
            "token_url": f"{self.server.url}/o/token/",
            "client_id": CLIENT,
            "client_auth": auth,
        }
        draft = Draft(
            connector="shop",
            base_url=self.server.url,
            kind=kind,
            allow_private=True,
            settings=told | settings,
        )
        version = await self.safe.vault.add(draft, secret)
        await self.safe.vault.switch("shop", version)

    async def access(self) -> Access:
        found = await self.keyring.access("shop")
        assert found is not None
        return found

    async def get(self) -> int:
        """Send a request as a call would, and return the upstream's status."""
        access = await self.access()
        answer = await self.upstreams.send(access.route, outgoing(access), go)
        if answer.status == 401:
            self.keyring.stale(access)
        return answer.status


def outgoing(access: Access, target: str = "/orders") -> Outgoing:
    return Outgoing(
        method="GET", target=target, body=None, headers=access.headers, key_header="",
        key="", fresh=False, timeout_s=5, response_bytes_max=10_000,
    )  # fmt: skip


async def go() -> None:
    pass


@asynccontextmanager
async def open_shop(safe: Safe) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as after:
        server, provider = FakeUpstream(), Provider()
        server.answer = provider.answer
        await server.start()
        after.push_async_callback(server.stop)
        upstreams = Upstreams()
        after.push_async_callback(upstreams.close)
        yield Shop(safe, server, provider, upstreams)

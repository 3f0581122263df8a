"""An edge in this process, with a fake upstream and a fake database, for tests.

Everything between the socket and the upstream's is the real thing; only PostgreSQL is
replaced, by a store that passes the same contract suite as the real one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from broker.core.jwk import SEED_BYTES
from broker.core.jws import Algorithm, PrivateKey, private_from_seed, sign, verify
from broker.core.warrants.orders import parse_receipt, warrant_claims
from broker.core.warrants.probes import PROBE_TYP, ProbeOrder, probe_claims
from broker.core.words.tool import Tool
from broker.core.words.warrant import (
    RECEIPT_TYP,
    WARRANT_TYP,
    Receipt,
    Warrant,
)
from broker.edge.calls import Means
from broker.edge.desk import Desk, Post
from broker.edge.egress.addresses import look_up
from broker.edge.egress.upstreams import Upstreams
from broker.edge.identity import KEK_BYTES, Identity, load_identity, uuid7
from broker.edge.journal import SKEW_MS, Journal
from broker.edge.notices import Courier
from broker.edge.server import Server
from broker.edge.store import Store
from broker.edge.vault.assemble import keyring_of
from broker.edge.vault.events import Notary
from broker.edge.vault.keeper import Draft, Vault
from broker.edge.vault.rows import Rows
from broker.edge.warrants import Here
from broker.sealing import FileKek
from tests.edge.child import ACTION, Child, ask_frame, frame
from tests.edge.fake_store import FakeStore
from tests.edge.fake_upstream import CUSTOMER, FakeUpstream
from tests.edge.manifests import READ, REFUND, TOOLS
from tests.edge.vault.fake_rows import FakeRows

Resolve = Callable[[str, int], Awaitable[list[str]]]
ROOT = Path(__file__).resolve().parents[2]
ISSUER = "http://broker.test"
TENANT, ENVIRONMENT, AGENT = "demo", "dev", "agent-1"
CANARY = "canary-9f2c1e7b-credential-of-the-tests"
WARRANT_KEY = private_from_seed(b"w" * SEED_BYTES, algorithm=Algorithm.EDDSA)


@dataclass
class Disk:
    """Makes the journal durable, slowly or not at all, as a test likes."""

    delay_s: float = 0.0
    fails: bool = False
    after: Callable[[], None] = field(default=lambda: None)

    def sync(self, fd: int) -> None:
        time.sleep(self.delay_s)
        if self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(fd)
        self.after()


@dataclass
class Lab:
    """A running edge: its pieces, and what a broker or a connector does with it."""

    folder: Path
    identity: Identity
    journal: Journal
    disk: Disk
    store: FakeStore
    rows: FakeRows
    vault: Vault
    upstream: FakeUpstream
    desk: Desk
    means: Means
    server: Server
    socket: Path
    clock_offset: timedelta = timedelta()
    _open: list[asyncio.StreamWriter] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_offset

    def order(self, tool: str = "orders.refund", **changes: Any) -> Warrant:
        """Return a warrant that this edge accepts, with changes."""
        now = self.now()
        manifest = TOOLS[tool]
        plain: dict[str, Any] = {
            "warrant_id": uuid7(now),
            "action_id": ACTION,
            "tenant": TENANT,
            "environment": ENVIRONMENT,
            "connector": manifest.connector,
            "tool": manifest.name,
            "manifest": manifest.digest,
            "arguments": REFUND if tool == "orders.refund" else READ,
            "customer_id": CUSTOMER,
            "agent_id": AGENT,
            "edge": self.identity.edge,
            "boot": self.identity.boot,
            "epochs": ((f"agent:{AGENT}", 0), (f"global:{ENVIRONMENT}", 0)),
            "idempotency_key": secrets.token_hex(16),
            "issued_at": now,
            "expires_at": now + timedelta(seconds=5),
        }
        return Warrant(**(plain | changes))

    async def use(self, secret: bytes, **draft: Any) -> None:
        """Put another credential of the connector into use."""
        plain: dict[str, Any] = {
            "connector": "retail",
            "base_url": self.upstream.url,
            "allow_private": True,
        }
        made = Draft(**(plain | draft))
        version = await self.vault.add(made, secret)
        await self.vault.switch(made.connector, version)

    async def call(self, order: Warrant | str) -> Child:
        """Show a warrant and return the child's end of the accepted call."""
        answer, child = await self.show(order)
        assert answer == {"ok": True}, answer
        return child

    async def refused(self, order: Warrant | str) -> str:
        """Show a warrant and return why it is refused."""
        answer, child = await self.show(order)
        assert answer["ok"] is False, answer
        assert await child.hung_up()
        return str(answer["error"]["code"])

    async def show(self, order: Warrant | str) -> tuple[Any, Child]:
        token = order if isinstance(order, str) else signed(order)
        reader, writer = await self.connect()
        answer = await ask_frame(reader, writer, {"op": "call", "warrant": token})
        return answer, Child(reader, writer)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        self._open.append(writer)
        return reader, writer

    async def control(self, **question: Any) -> Any:
        """Ask on a control connection of its own and return the answer."""
        reader, writer = await self.connect()
        writer.write(frame({"op": "control"}))
        return await ask_frame(reader, writer, question)

    async def receipt(self, order: Warrant) -> Receipt:
        """End a call and return its receipt, verified."""
        answer = await self.control(op="receipt", warrant=order.warrant_id)
        return self.read_receipt(answer)

    async def ask(self, order: Warrant, *, nonce: str = "n1") -> Receipt:
        """Ask what became of a warrant and return the receipt, verified."""
        answer = await self.control(
            op="ask", warrant=order.warrant_id, action=order.action_id, nonce=nonce
        )
        receipt = self.read_receipt(answer)
        assert receipt.nonce == nonce
        return receipt

    def read_receipt(self, answer: Any) -> Receipt:
        assert answer["ok"] is True, answer
        key = self.identity.key.public()
        claims = verify(answer["receipt"], keys={key.kid: key}, typ=RECEIPT_TYP)
        return parse_receipt(claims)

    async def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


def probe_order(
    edge: str, tool: Tool, arguments: dict[str, Any], *, version: int
) -> ProbeOrder:
    """Return an order to try a credential, as a broker makes it."""
    now = datetime.now(UTC)
    return ProbeOrder(
        order_id=uuid7(now),
        tenant=TENANT,
        environment=ENVIRONMENT,
        edge=edge,
        connector=tool.connector,
        version=version,
        tool=tool.name,
        manifest=tool.digest,
        arguments=arguments,
        customer_id=CUSTOMER if tool.binding.needs_customer else "",
        by="person:carol",
        epochs=((f"global:{ENVIRONMENT}", 0), ("person:carol", 0)),
        issued_at=now,
        expires_at=now + timedelta(seconds=60),
    )


def signed_probe(order: ProbeOrder, *, key: PrivateKey = WARRANT_KEY) -> str:
    return sign(probe_claims(order, issuer=ISSUER), key=key, typ=PROBE_TYP)


def signed(order: Warrant, *, key: PrivateKey = WARRANT_KEY) -> str:
    """Return the warrant as the broker signs it."""
    return sign(warrant_claims(order, issuer=ISSUER), key=key, typ=WARRANT_TYP)


@asynccontextmanager
async def running_lab(
    folder: Path | None = None, *, resolve: Resolve = look_up
) -> AsyncIterator[Lab]:
    """Run an edge on a folder; a second one on it is the edge after a restart."""
    async with AsyncExitStack() as after:
        own = Path(tempfile.mkdtemp(prefix="edge-"))
        after.callback(shutil.rmtree, own)
        upstream = FakeUpstream()
        await upstream.start()
        after.push_async_callback(upstream.stop)
        upstreams = Upstreams(resolve)
        after.push_async_callback(upstreams.close)
        lab = await _assemble(folder or own, own, upstream, upstreams, after)
        await lab.server.start()
        after.push_async_callback(lab.server.stop)
        after.push_async_callback(lab.close)
        yield lab


async def _assemble(
    folder: Path,
    own: Path,
    upstream: FakeUpstream,
    upstreams: Upstreams,
    after: AsyncExitStack,
) -> Lab:
    lab: Lab

    def now() -> datetime:
        return lab.now()

    identity = load_identity(folder, now=datetime.now(UTC))
    disk = Disk()
    journal = Journal(
        folder / "journal",
        edge=identity.edge,
        # Begun a while ago, so that it knows of every warrant of the test.
        now_ms=lambda: int(datetime.now(UTC).timestamp() * 1000) - 2 * SKEW_MS,
        sync=disk.sync,
    )
    after.push_async_callback(journal.close)
    store = FakeStore()
    real = cast("Store", store)
    rows = FakeRows()
    vault = make_vault(rows, identity)
    draft = Draft(connector="retail", base_url=upstream.url, allow_private=True)
    await vault.switch("retail", await vault.add(draft, CANARY.encode()))
    post = _post(identity, journal, real, vault.rows, now)
    desk = Desk(post)
    keyring = keyring_of(vault, upstreams)
    after.push_async_callback(keyring.tokens.close)
    means = Means(
        journal=journal,
        epochs=store.epochs,
        access=keyring.access,
        stale=keyring.stale,
        send=upstreams.send,
        expired=desk.expired,
    )
    lab = Lab(
        folder=folder,
        identity=identity,
        journal=journal,
        disk=disk,
        store=store,
        rows=rows,
        vault=vault,
        upstream=upstream,
        desk=desk,
        means=means,
        server=Server(
            desk, means, courier=Courier(post, desk, means), path=own / "edge.sock"
        ),
        socket=own / "edge.sock",
    )
    return lab


def make_vault(
    rows: FakeRows, identity: Identity, *, environment: str = ENVIRONMENT
) -> Vault:
    """Return a vault with the tests' own wrapping key."""
    notary = Notary(
        identity=identity,
        tenant=TENANT,
        environment=environment,
        by="user:test",
        now=lambda: datetime.now(UTC),
    )
    kek = FileKek(b"k" * KEK_BYTES, random=secrets.token_bytes)
    return Vault(rows=cast("Rows", rows), kek=kek, notary=notary)


def _post(
    identity: Identity,
    journal: Journal,
    store: Store,
    rows: Rows,
    now: Callable[[], datetime],
) -> Post:
    here = Here(
        edge=identity.edge,
        boot=identity.boot,
        tenant=TENANT,
        environment=ENVIRONMENT,
    )
    return Post(
        identity=identity,
        here=here,
        keys={WARRANT_KEY.kid: WARRANT_KEY.public()},
        tools={tool.digest: tool for tool in TOOLS.values()},
        journal=journal,
        store=store,
        rows=rows,
        now=now,
    )

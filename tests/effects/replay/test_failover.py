"""Valkey fails over to a replica that had not heard of all: nothing counts twice.

Two real servers, of which one copies the other; two replicas of the broker, which reach
whichever server the address leads to, as a managed service moves it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from broker.core.identity.dpop import NONCE_LOOK_S, NONCE_SETTLE_S
from broker.effects.database import Database
from broker.effects.replay import PROBE_S, ReplayMemory, Valkey
from tests.support.door import application, open_door
from tests.support.identities import ISSUER
from tests.support.identity.served import Now
from tests.support.limits.own_valkey import OwnValkey, free_port, own_valkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from tests.support.door import Door

URL = f"{ISSUER}/v1/tools"


@dataclass
class Later(Now):
    """The host's clock, which a test may put ahead."""

    ahead_s: float = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def pass_(self, seconds: float) -> None:
        self.ahead_s += seconds


@dataclass
class Pair:
    """A primary and its replica, an address, and two brokers that use it."""

    primary: OwnValkey
    copy: OwnValkey
    address: Path
    brokers: list[ReplayMemory]
    door: Door
    token: str = ""

    def move(self) -> None:
        """Let the address lead to the copy."""
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(self.copy.socket)

    def proof(self, nonce: str = "") -> str:
        said = nonce or ...
        return self.door.proof("GET", URL, token=self.token, nonce=said)

    async def show(self, proof: str, *, at: int) -> httpx.Response:
        """Call at one of the brokers."""
        desk = replace(self.door.desk, proofs=self.brokers[at])
        application().state.desk = desk
        return await self.door.call("GET", "/v1/tools", self.token, proof=proof)

    async def accepted(self, *, at: int) -> str:
        """Call as a client does, which takes the nonce that it is told; return it."""
        nonce = ""
        for _ in range(3):
            proof = self.proof(nonce)
            answer = await self.show(proof, at=at)
            if answer.status_code == 200:
                return proof
            assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
            nonce = answer.headers["dpop-nonce"]
        raise AssertionError(answer.text)


@pytest_asyncio.fixture
async def pair(
    pg_broker_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Pair]:
    folders = [tmp_path_factory.mktemp(name) for name in ("p", "c", "a")]
    async with AsyncExitStack() as stack:
        primary, copy = (
            stack.enter_context(own_valkey(folder, port=free_port()))
            for folder in folders[:2]
        )
        copy.follow(primary)
        address = folders[2] / "v"
        address.symlink_to(primary.socket)
        door = await stack.enter_async_context(open_door(times=Later()))
        brokers = [
            await stack.enter_async_context(_broker(pg_broker_dsn, address, door))
            for _ in range(2)
        ]
        opened = Pair(primary, copy, address, brokers, door, await door.token())
        for at in range(2):
            await opened.accepted(at=at)
        yield opened


@asynccontextmanager
async def _broker(dsn: str, address: Path, door: Door) -> AsyncIterator[ReplayMemory]:
    database = Database(dsn, password="")
    valkey = Valkey(f"unix://default@{address}?db=0", password="valkey-of-a-test")
    memory = ReplayMemory(database, valkey=valkey, clock=door.times)
    yield memory
    await memory.close()
    await database.close()


def names(server: OwnValkey) -> int:
    with server.client() as client:
        return int(client.dbsize())


async def test_a_proof_that_the_new_primary_never_heard_of_is_not_accepted_again(pair):
    arrived = await pair.accepted(at=0)
    pair.copy.catch_up(pair.primary)
    pair.copy.lag()
    lost, unused = await pair.accepted(at=0), pair.proof()
    assert names(pair.copy) < names(pair.primary)
    before = await pair.brokers[0].rule()

    pair.primary.kill()
    # Nobody was promoted yet: PostgreSQL remembers, and nobody is turned away.
    between = await pair.accepted(at=0)
    assert (await pair.brokers[0].rule()).required
    pair.copy.lead()
    pair.move()
    await asyncio.sleep(PROBE_S)
    for at in (0, 1):
        await pair.accepted(at=at)
        for proof in (arrived, lost, between, unused):
            assert (await pair.show(proof, at=at)).status_code == 401
    # The promoted one remembers now, for both, under an epoch of its own.
    await asyncio.sleep(PROBE_S)
    once = await pair.accepted(at=0)
    for at in (0, 1):
        assert (await pair.show(once, at=at)).status_code == 401
        assert not (await pair.brokers[at].rule()).required
        assert (await pair.brokers[at].rule()).epoch > before.epoch
    assert names(pair.copy) > 0
    for proof in (arrived, lost, between, unused):
        assert (await pair.show(proof, at=1)).status_code == 401


async def test_a_copy_with_the_mark_of_its_primary_is_not_believed(pair):
    """The address moves at once: no call in between finds nobody."""
    pair.copy.lag()
    lost = await pair.accepted(at=0)
    pair.primary.kill()
    pair.copy.lead()
    pair.move()
    for at in (1, 0):
        answer = await pair.show(lost, at=at)
        assert answer.status_code == 401
        assert 'error="use_dpop_nonce"' in answer.headers["www-authenticate"]
    assert await pair.accepted(at=0)


async def test_a_replica_that_still_reaches_the_old_primary_is_not_believed_for_long(
    pair,
):
    """Both servers live on, each asked by another broker, and no nonce is shown."""
    pair.copy.lag()
    pair.copy.lead()
    pair.move()
    old, new = pair.brokers
    await new._valkey._client.connection_pool.disconnect()  # noqa: SLF001
    await pair.accepted(at=1)
    assert (await new.refresh()).epoch > old._state.epoch  # noqa: SLF001
    # By now no proof needs a nonce any more, as far as those know who have moved.
    pair.door.times.pass_(NONCE_SETTLE_S)
    pair.token = await pair.door.token()
    old._looked_s -= NONCE_LOOK_S  # noqa: SLF001
    proof = pair.proof()
    answers = [await pair.show(proof, at=at) for at in (0, 1, 0, 1)]
    assert [answer.status_code for answer in answers].count(200) <= 1
    await pair.accepted(at=0)
    await pair.accepted(at=1)
    assert (await old.refresh()) == (await new.refresh())

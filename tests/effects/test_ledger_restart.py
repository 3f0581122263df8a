"""PostgreSQL dies under load: nothing acknowledged is lost, and the log comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from broker.cli.migrate import upgrade
from broker.cli.stack.embedded import EmbeddedServers
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.words.errors import LedgerUnavailableError
from tests.support.log.ledger import RealLedger
from tests.support.log.made import entry_id, leaf
from tests.support.servers import OWNER, Database

AWAY_S_MAX = 30.0


# A sync fixture, because migrations run a loop of their own.
@pytest.fixture
def own_servers(tmp_path: Path):
    """A PostgreSQL that may be killed: the run's own serves other tests."""
    with EmbeddedServers.lease(tmp_path / "servers") as leased:
        upgrade(leased.access.dsn(role=OWNER))
        yield leased.access


async def test_after_a_kill_every_acknowledged_entry_is_in_the_log_once(own_servers):
    database = Database(name="counterfoil", access=own_servers)
    acknowledged: list[int] = []
    refused = 0

    async with RealLedger(database).open() as real:
        await real.ledger.start()
        await real.keeper.start()

        async def write(first: int) -> None:
            nonlocal refused
            number = first
            until = time.monotonic() + AWAY_S_MAX
            while time.monotonic() < until and not done.is_set():
                try:
                    await real.ledger.append([leaf(number)])
                except LedgerUnavailableError:
                    refused += 1
                    await asyncio.sleep(0.05)
                else:
                    acknowledged.append(number)
                    number += 10

        done = asyncio.Event()
        writers = [asyncio.create_task(write(first)) for first in range(5)]
        await asyncio.sleep(0.5)
        before = len(acknowledged)
        assert before > 0
        os.kill(own_servers.pids["postgres"], signal.SIGKILL)
        for _ in range(int(AWAY_S_MAX / 0.05)):
            await asyncio.sleep(0.05)
            if refused and len(acknowledged) > before + 50:
                break
        done.set()
        await asyncio.gather(*writers)
        assert refused > 0
        assert len(acknowledged) > before + 50

        entries = await real.ledger.history.entries(0)
        found = [each.entry_id for each in entries]
        assert len(set(found)) == len(found)
        assert {entry_id(number) for number in acknowledged} <= set(found)
        size, root = await real.ledger.history.head()
        assert (size, root) == (
            len(entries),
            root_of(leaf_hash(each.leaf) for each in entries),
        )
        await real.keeper.keep_up()
        real.keeper.require_current()
        assert "ledger_signer_disagrees" not in real.alarm.words

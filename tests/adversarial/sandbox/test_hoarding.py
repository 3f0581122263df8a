"""A poisoned zygote that keeps a call's connection past the deadline is refused.

Preloaded connector code runs in the zygote, where it can replace os.fork. Here it forks
a second process that nobody is told of: that one takes the call and its connection, and
lives on when the child that was announced is killed. Runner, edge and shop are real.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from broker.core.words.warrant import SentState
from broker.edge.catalogue import load_catalogue
from tests.edge.lab import signed
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.crm import Crm, crm, crm_process
from tests.support.fake_edge import RunnerClient
from tools.dispatcher import Dispatcher
from tools.edge_link import EdgeLink, EdgeUnavailableError
from tools.settings import Settings

__all__ = ["crm", "crm_process"]

pytestmark = [pytest.mark.xdist_group("sandbox"), pytest.mark.timeout(120)]

SOFIA = "sofia_li_9219"
DEADLINE_MS = 2_000
WARRANT_S = 3.0
EARLY_S, LATE_S, EXPIRED_S = 0.0, 2.5, 3.5
POISONED = '''
import mmap, os, socket, sys, time

ASKED = b"GET /customers/sofia_li_9219 HTTP/1.1\\r\\nhost: edge\\r\\n\\r\\n"
LOOT = mmap.mmap(-1, 4096)  # Shared by all that are forked from here.
_fork = os.fork

def fork():
    """Poison one fork: the child that is announced does nothing, another one all."""
    channel = sys._getframe(1).f_locals["descriptors"][0]
    os.fork = _fork
    announced = _fork()
    if announced == 0:
        time.sleep(60)
        os._exit(0)
    if _fork() == 0:
        try:
            hoard(channel)
        finally:
            os._exit(0)
    return announced

def hoard(channel):
    """Take the call in the child's place, and use its connection later."""
    call, (egress,), _, _ = socket.recv_fds(socket.socket(fileno=channel), 65536, 1)
    time.sleep(WAIT_S)
    try:
        os.write(egress, ASKED)
        said = os.read(egress, 4000)
    except OSError as error:
        said = type(error).__name__.encode()
    LOOT[:] = (b"said: " + said).ljust(4096, b"\\0")

os.fork = fork

def customers_get(call):
    return {"loot": LOOT[:].rstrip(b"\\0").decode("ascii", "replace")}
'''


class _Forgetful(EdgeLink):
    """Opens connections that the dispatcher's shutdown does not end."""

    async def open_call(self, jws: str) -> Any:
        return _Kept(await super().open_call(jws))


class _Silent(_Forgetful):
    """Does not even ask for the first receipt: that would end the call at the edge."""

    forgot = False

    async def receipt(self, warrant_id: str) -> str:
        if self.forgot:
            return await super().receipt(warrant_id)
        self.forgot = True
        raise EdgeUnavailableError(warrant_id)


class _Kept:
    """A connection that cannot be shut, only let go."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def shutdown(self, _: int) -> None:
        """Forget to."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@dataclass
class Hoard:
    """What a poisoned zygote got, and what the edge says of its call."""

    error: dict[str, str]
    state: SentState
    requests: int
    said: str


def write_catalog(folder: Path) -> Path:
    """Copy the shop's tools, one of them preloaded, with a short timeout."""
    folder.mkdir(exist_ok=True)
    catalog = folder / "catalog"
    shutil.copytree(CATALOG / "retail", catalog / "retail")
    manifest = catalog / "retail" / "customers.get.toml"
    text = manifest.read_text("utf-8")
    assert "timeout_s = 10\n" in text
    manifest.write_text(
        text.replace("timeout_s = 10\n", "timeout_s = 2\npreload = true\n"), "utf-8"
    )
    return catalog


@asynccontextmanager
async def poisoned(
    edge: EdgeProcess, folder: Path, *, wait_s: float, link: type[EdgeLink]
) -> AsyncIterator[RunnerClient]:
    """Run a dispatcher whose zygote was poisoned, on a connector of its own."""
    catalog = write_catalog(folder)
    code = f"WAIT_S = {wait_s}\n{POISONED}"
    (catalog / "retail" / "connector.py").write_text(code, "utf-8")
    dispatcher = Dispatcher(Settings(folder / "r.sock", edge.socket, catalog))
    dispatcher._edge = link(edge.socket)  # noqa: SLF001 nothing offers another one
    try:
        await dispatcher.start()
        client = await RunnerClient.connect(folder / "r.sock")
        yield client
        client.close()
    finally:
        await dispatcher.close()


async def hoarded(
    edge: EdgeProcess, folder: Path, *, wait_s: float, link: type[EdgeLink] = EdgeLink
) -> Hoard:
    """Have one call hoarded, and return what came of it."""
    tools = load_catalogue(folder.parent / "catalog").values()
    (tool,) = (one for one in tools if one.name == "customers.get")

    def order() -> Any:
        until = datetime.now(UTC) + timedelta(seconds=WARRANT_S)
        return edge.order(
            "customers.get",
            {},
            customer_id=SOFIA,
            manifest=tool.digest,
            expires_at=until,
        )

    async with poisoned(edge, folder, wait_s=wait_s, link=link) as client:
        first = order()
        answer = await client.run(signed(first), deadline_ms=DEADLINE_MS)
        async with asyncio.timeout(20):
            while True:
                told = await client.run(signed(order()))
                if said := (told["result"] or {"loot": ""})["loot"]:
                    break
                await asyncio.sleep(0.3)
        receipt = await edge.receipt(first)
        return Hoard(answer["error"], receipt.state, len(receipt.requests), said)


@pytest.fixture
async def edge(
    tmp_path_factory: pytest.TempPathFactory, pg_edge_dsn: str, crm: Crm
) -> AsyncIterator[EdgeProcess]:
    folder = tmp_path_factory.mktemp("x")
    made = make_edge(
        folder, database=pg_edge_dsn, crm_url=crm.url, credential=crm.credential
    )
    made.environ["COUNTERFOIL_CATALOG"] = str(write_catalog(folder))
    await made.start()
    yield made
    made.stop(signal.SIGKILL)


async def test_a_descriptor_hoarded_past_the_deadline_in_a_poisoned_zygote_is_refused(
    edge: EdgeProcess, crm: Crm
):
    before = crm.journal()
    early, late, asked, alone = await asyncio.gather(
        hoarded(edge, edge.folder / "a", wait_s=EARLY_S),
        hoarded(edge, edge.folder / "b", wait_s=LATE_S),
        hoarded(edge, edge.folder / "c", wait_s=LATE_S, link=_Forgetful),
        hoarded(edge, edge.folder / "d", wait_s=EXPIRED_S, link=_Silent),
    )
    # The announced child was killed each time, and the other process lived on.
    for one in (early, late, asked, alone):
        assert one.error["code"] == "timeout", one
    # The control: in time the hoarded connection works, for what was decided.
    assert early.said.startswith("said: HTTP/1.1 200"), early
    assert (early.state, early.requests) == (SentState.ANSWERED, 1)
    # At the deadline the dispatcher shuts it, whoever holds a copy; and if it only asks
    # for the receipt, the edge ends what it says the last word about.
    for one in (late, asked):
        assert one.said in {"said: ", "said: BrokenPipeError"}, one
        assert (one.state, one.requests) == (SentState.NOT_SENT, 0)
    # Where the dispatcher does neither, the edge refuses by itself.
    assert alone.said.startswith("said: HTTP/1.1 403"), alone
    assert "warrant_expired" in alone.said
    assert (alone.state, alone.requests) == (SentState.NOT_SENT, 0)
    assert crm.journal() == before

"""Measure a call in the sandbox against the same call through the edge without one.

One GET of an order, in turns: straight to the CRM, through the edge from this process,
in a child that imported the connector, in a child of a zygote that preloaded it, and in
a Python that bubblewrap starts for the call, where there is one.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench.measure import Row, quantile, rounds, row
from tests.edge.lab import signed
from tests.edge.process import CATALOG, EdgeProcess, make_edge
from tests.support.crm import Crm
from tests.support.fake_edge import RunnerClient
from tools import http1
from tools.dispatcher import Dispatcher
from tools.edge_link import EdgeLink
from tools.manifests import load_catalog
from tools.settings import Settings
from tools.zygote_link import CHECKOUT

TIMES, SLOW_TIMES = 40, 4
TURNS_S = 30.0
CROWDS = (1, 4, 8, 32)
CROWD_CALLS = 96
P50_IMPORTED, P50_PRELOADED, P99 = 4.0, 2.5, 6.0
"""What is aimed at, as multiples of the call through the edge without a sandbox."""

CUSTOMER = "sofia_li_9219"
KIB_PER_MIB = 1_024
Way = Callable[[], Awaitable[None]]
_PER_CALL = """
import sys
sys.path.insert(0, sys.argv[1])
from tools.http1 import Connection
status, _, _ = Connection(int(sys.argv[2])).exchange(
    "GET", sys.argv[3], headers={}, body=b""
)
assert status == 200
"""


@dataclass
class Bench:
    """One runner, its edge and shop, and the ways to make the same call."""

    edge: EdgeProcess
    shop: Crm
    dispatcher: Dispatcher
    settings: Settings
    client: RunnerClient
    order_id: str
    link: EdgeLink = field(init=False)
    waits_ms: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keep the digests of the tools, and a way to the edge of our own."""
        self.link = EdgeLink(self.settings.edge_socket)
        self._tools = load_catalog(self.settings.catalog)

    def warrant(self, tool: str) -> tuple[str, str]:
        """Return a fresh warrant and its id."""
        order = self.edge.order(
            "orders.get", {"order_id": self.order_id}, customer_id=CUSTOMER
        )
        order = replace(order, tool=tool, manifest=self._tools[tool].digest)
        return signed(order), order.warrant_id

    async def straight(self) -> None:
        """Ask the shop itself, with its credential."""
        assert self.shop.get(f"/orders/{self.order_id}").status_code == 200

    async def through_the_edge(self) -> None:
        """Do what the dispatcher and a child do, in this process."""
        jws, warrant_id = self.warrant("orders.get")
        with await self.link.open_call(jws) as peer:
            status, _, _ = http1.Connection(peer.fileno()).exchange(
                "GET", f"/orders/{self.order_id}", headers={}, body=b""
            )
        assert status == 200
        await self.link.receipt(warrant_id)

    async def imported(self) -> None:
        """Call in a child that imports the connector."""
        await self._run(self.client, "orders.get")

    async def preloaded(self) -> None:
        """Call in a child of a zygote that has imported it."""
        await self._run(self.client, "orders.preloaded")

    async def bubblewrap(self) -> None:
        """Start a Python under bubblewrap for the call."""
        jws, warrant_id = self.warrant("orders.get")
        with await self.link.open_call(jws) as peer:
            started = await asyncio.create_subprocess_exec(
                *("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--"),
                *(sys.executable, "-I", "-S", "-c", _PER_CALL, str(CHECKOUT)),
                *(str(peer.fileno()), f"/orders/{self.order_id}"),
                pass_fds=(peer.fileno(),),
            )
            assert await started.wait() == 0
        await self.link.receipt(warrant_id)

    async def turn(self, ways: dict[str, tuple[Way, int]]) -> None:
        """Measure every way once more."""
        for name, (way, times) in ways.items():
            seen = self.waits_ms.setdefault(name, [])
            for _ in range(times):
                began = time.perf_counter()
                await way()
                seen.append((time.perf_counter() - began) * 1_000)

    async def crowd(self, at_once: int) -> float:
        """Return calls per second of one zygote with so many at once."""
        clients = [
            await RunnerClient.connect(self.settings.runner_socket)
            for _ in range(at_once)
        ]
        left = iter(range(CROWD_CALLS))

        async def work(client: RunnerClient) -> None:
            for _ in left:
                await self._run(client, "orders.get")

        began = time.perf_counter()
        await asyncio.gather(*map(work, clients))
        took = time.perf_counter() - began
        for client in clients:
            client.close()
        return CROWD_CALLS / took

    async def _run(self, client: RunnerClient, tool: str) -> None:
        jws, _ = self.warrant(tool)
        answer = await client.run(jws)
        assert answer["error"] is None, answer["error"]


async def rows(edge_dsn: str) -> list[Row]:
    """Measure, with a database for the edge under its own role."""
    with tempfile.TemporaryDirectory(prefix="cf-", dir="/tmp") as name:
        async with _bench(Path(name), edge_dsn) as bench:
            ways: dict[str, tuple[Way, int]] = {
                "straight": (bench.straight, TIMES),
                "edge": (bench.through_the_edge, TIMES),
                "imported": (bench.imported, TIMES),
                "preloaded": (bench.preloaded, TIMES),
            }
            if shutil.which("bwrap"):
                ways["bwrap"] = (bench.bubblewrap, SLOW_TIMES)
            await bench.turn({name: (way, 3) for name, (way, _) in ways.items()})
            bench.waits_ms.clear()
            for _ in rounds(TURNS_S):
                await bench.turn(ways)
            speeds = {count: await bench.crowd(count) for count in CROWDS}
            return [*_waits(bench.waits_ms), *_speeds(speeds), _memory(bench)]


def _waits(seen: dict[str, list[float]]) -> list[Row]:
    found: list[Row] = []
    for share, word in ((0.5, "p50"), (0.99, "p99")):
        edge = quantile(seen["edge"], share)
        straight = quantile(seen["straight"], share)
        found.append(row(f"an edge call without sandbox, {word}", edge, "ms", straight))
        for name, text, aim in (
            ("imported", "imported in the child", P50_IMPORTED),
            ("preloaded", "preloaded", P50_PRELOADED),
        ):
            aim = P99 if word == "p99" else aim  # noqa: PLW2901 the same aim for both
            text = f"a sandboxed call, {text}, {word} (aim {aim:g}x)"  # noqa: PLW2901
            found.append(row(text, quantile(seen[name], share), "ms", edge))
        if "bwrap" in seen:
            waited = quantile(seen["bwrap"], share)
            found.append(
                row(f"bubblewrap and Python per call, {word}", waited, "ms", edge)
            )
    if "bwrap" not in seen:
        text = "bubblewrap per call: not measured, there is no bwrap on this host"
        found.append(row(text, 0.0, "ms", 0.0))
    return found


def _speeds(speeds: dict[int, float]) -> list[Row]:
    return [
        row(f"sandboxed calls of one zygote, {count} at once", speed, "1/s", speeds[1])
        for count, speed in speeds.items()
    ]


def _memory(bench: Bench) -> Row:
    """Return what the child that waits has to itself, against its zygote's share."""
    zygote = bench.dispatcher.zygotes()["retail"]
    children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text("ascii")
    own = [_kib(int(pid), "Private_Dirty:") for pid in children.split()]
    most = max(own, default=0) / KIB_PER_MIB
    whole = _kib(zygote, "Pss:") / KIB_PER_MIB
    return row("a live child's own memory, against its zygote's", most, "MiB", whole)


def _kib(pid: int, name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0  # Not dumpable: only root is told.
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@asynccontextmanager
async def _bench(folder: Path, edge_dsn: str) -> AsyncIterator[Bench]:
    catalog = folder / "catalog"
    shutil.copytree(CATALOG / "retail", catalog / "retail")
    manifest = (catalog / "retail" / "orders.get.toml").read_text("utf-8")
    early = manifest.replace('"orders.get"', '"orders.preloaded"', 1)
    early = early.replace("[tool]", "[tool]\npreload = true", 1)
    (catalog / "retail" / "orders.preloaded.toml").write_text(early, "utf-8")
    (folder / "crm").mkdir()
    with Crm(folder / "crm") as shop:
        edge = make_edge(
            folder, database=edge_dsn, crm_url=shop.url, credential=shop.credential
        )
        edge.environ["COUNTERFOIL_CATALOG"] = str(catalog)
        settings = Settings(
            runner_socket=folder / "runner.sock",
            edge_socket=edge.socket,
            catalog=catalog,
        )
        dispatcher = Dispatcher(settings)
        try:
            await edge.start()
            await dispatcher.start()
            client = await RunnerClient.connect(settings.runner_socket)
            order_id = shop.get(f"/customers/{CUSTOMER}").json()["order_ids"][0]
            yield Bench(edge, shop, dispatcher, settings, client, order_id)
            client.close()
        finally:
            await dispatcher.close()
            if edge.process is not None:
                edge.stop(signal.SIGTERM)

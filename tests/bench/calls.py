"""Measure whole calls on a real stack, against the CRM's own answer about the order.

The baseline is GET /orders/{id} of the CRM itself, over a connection that stays: what
the agent would wait for if it had the CRM's credential. Both sides run in turns from
one client process, whose own work (a proof per call) is part of what is measured.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from broker.cli.demo.story import Told, act, interaction, read, refund
from broker.cli.demo.world import FOREIGN_ORDER, ORDER, World, open_world
from broker.cli.stack.running import Running
from tests.bench.measure import Row, cpu_s, quantile, rounds, row

# Per turn; with TURN_S_MIN between turns these stay below the demo policy's rates, of
# which the tightest is 240 calls at once and 4 per second of one tool for a customer.
GETS, READS, REFUSED, REFUNDS, AT_ONCE = 60, 30, 12, 12, 16
PLACES = 8
TURN_S_MIN = 6.0
CALLS_S_MAX = 30.0
OK, DENIED = 200, 403

Call = Callable[[], Awaitable[None]]


@dataclass
class Seen:
    """What was seen of one kind of call."""

    waits_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def cpu_ms(self, part: str = "") -> float:
        """Return the CPU time of a call in one part, or in all."""
        taken = self.cpu_s.get(part, 0.0) if part else sum(self.cpu_s.values())
        return taken / len(self.waits_ms) * 1_000


async def rows(found: Running) -> list[Row]:
    """Measure on a stack that runs; the demo's standing approval must be unused."""
    async with open_world(
        Path(found.state), base_url=found.issuer, crm_url=found.crm_url
    ) as world:
        told = Told()
        await interaction(world, told)
        await read(world, told)
        bench = Bench(world, told, parts={r.part: r.pid for r in found.rows if r.pid})
        for _ in rounds(CALLS_S_MAX):
            await bench.turn()
    return bench.rows()


class Bench:
    """Makes the calls in turns and keeps what it saw."""

    def __init__(self, world: World, told: Told, *, parts: dict[str, int]) -> None:
        """Keep whom to call, and whose CPU time to read."""
        self._world, self._told, self._parts = world, told, parts
        self._numbers: Iterator[int] = itertools.count()
        self._seen = {kind: Seen() for kind in ("get", "read", "refused", "refund")}
        self._at_once: dict[str, list[float]] = {"get": [], "read": []}

    async def turn(self) -> None:
        """Measure everything once."""
        began = time.monotonic()
        await self._serial("get", self._get, GETS)
        await self._serial("read", self._read, READS)
        await self._serial("refused", self._refused, REFUSED)
        await self._serial("refund", self._refund, REFUNDS)
        await self._crowd("get", self._get, GETS)
        await self._crowd("read", self._read, AT_ONCE)
        await asyncio.sleep(max(0.0, TURN_S_MIN - (time.monotonic() - began)))

    def rows(self) -> list[Row]:
        """Return what was seen."""
        get = self._seen["get"]
        found: list[Row] = []
        for kind, name in (
            ("read", "a read"),
            ("refused", "a refused call"),
            ("refund", "a refund under a standing approval"),
        ):
            seen = self._seen[kind]
            for share, word in ((0.5, "p50"), (0.99, "p99")):
                waited = quantile(seen.waits_ms, share)
                base = quantile(get.waits_ms, share)
                found.append(row(f"{name}, {word}", waited, "ms", base))
            crm = get.cpu_ms("democrm")
            what = f"{name}, CPU of the broker, against the CRM's"
            found.append(row(what, seen.cpu_ms("broker-0"), "ms", crm))
            what = f"{name}, CPU of all parts, against the CRM's"
            found.append(row(what, seen.cpu_ms(), "ms", crm))
        seen = self._seen["read"]
        for part in self._parts:
            what = f"a read, CPU of {part}, as a part of all"
            found.append(row(what, seen.cpu_ms(part), "ms", seen.cpu_ms()))
        speed = median(self._seen["read"].per_s)
        found.append(row("reads, 1 in flight", speed, "1/s", median(get.per_s)))
        crowd = {kind: median(speeds) for kind, speeds in self._at_once.items()}
        what = f"reads, {PLACES} in flight"
        found.append(row(what, crowd["read"], "1/s", crowd["get"]))
        return found

    async def _serial(self, kind: str, call: Call, times: int) -> None:
        seen = self._seen[kind]
        before = {part: cpu_s([pid]) for part, pid in self._parts.items()}
        began = time.perf_counter()
        for _ in range(times):
            started = time.perf_counter()
            await call()
            seen.waits_ms.append((time.perf_counter() - started) * 1_000)
        seen.per_s.append(times / (time.perf_counter() - began))
        for part, pid in self._parts.items():
            taken = cpu_s([pid]) - before[part]
            seen.cpu_s[part] = seen.cpu_s.get(part, 0.0) + taken

    async def _crowd(self, kind: str, call: Call, times: int) -> None:
        numbers = iter(range(times))

        async def work() -> None:
            for _ in numbers:
                await call()

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(PLACES)))
        self._at_once[kind].append(times / (time.perf_counter() - began))

    async def _get(self) -> None:
        shop = self._world.shop
        bearer = {"Authorization": f"Bearer {shop.credential}"}
        answer = await shop.http.get(f"/orders/{ORDER}", headers=bearer)
        assert answer.status_code == OK

    async def _read(self) -> None:
        answer = await act(self._world, self._told, "orders.get", order_id=ORDER)
        assert answer.checked()["status"] == "done"

    async def _refused(self) -> None:
        order = FOREIGN_ORDER
        answer = await act(self._world, self._told, "orders.get", order_id=order)
        codes = [reason["code"] for reason in answer.body.get("reasons", [])]
        assert (answer.status, codes) == (DENIED, ["object_not_shown"])

    async def _refund(self) -> None:
        # The same call with another key is another action.
        key = f"bench-{next(self._numbers)}"
        answer = await refund(self._world, self._told, 1, key=key)
        body = answer.checked()
        assert body["status"] == "done"
        assert body["standing_approval"]

"""Print what things cost against the least that could do them: python -m tests.bench.

Each row has a baseline of its own, measured in the same run and in turns with it, so
that a ratio says something on a machine that does other things too. Times and sizes
that are promised have the promise as their baseline.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from broker.cli.stack.state import STATE_DEFAULT, open_state
from tests.bench import (
    calls,
    identity,
    ledger,
    limits,
    policy,
    replays,
    revocation,
    sandbox,
    servers,
    stack,
)
from tests.bench.measure import Row
from tests.bench.waiting import approvals, lists

GROUPS = (
    "policy",
    "replay",
    "revocation",
    "identity",
    "limits",
    "ledger",
    "sandbox",
    "approvals",
    "lists",
    "start",
    "calls",
)
DEFAULT = STATE_DEFAULT / "bench.json"
WIDTH = 84


def main(words: Sequence[str] | None = None) -> None:
    """Measure the groups that are asked for; print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--json", type=Path, default=DEFAULT, metavar="FILE")
    parser.add_argument("--rows", nargs="+", choices=GROUPS, default=GROUPS)
    asked = parser.parse_args(words)
    if asked.json == DEFAULT:
        # A folder with nothing but our file in it would be taken for somebody else's.
        open_state(STATE_DEFAULT)
    began = time.monotonic()
    load_before = os.getloadavg()[0]
    print(f"{'':<{WIDTH}} {'value':>12} {'':<5} {'baseline':>12} {'ratio':>8}")
    found: list[Row] = []
    for group, rows in _measured(frozenset(asked.rows)):
        print(group, flush=True)
        for one in rows:
            found.append({"group": group, **one})
            _print(one)
    took_s = round(time.monotonic() - began, 1)
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "took_s": took_s,
        "cpus": len(os.sched_getaffinity(0)),
        "load_1min": [round(load_before, 2), round(os.getloadavg()[0], 2)],
        "python": sys.version.split()[0],
        "rows": found,
    }
    asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"took {took_s} s; written to {asked.json}")


def _measured(asked: frozenset[str]) -> Iterator[tuple[str, list[Row]]]:
    if "policy" in asked:
        yield "policy", policy.rows()
    if "identity" in asked:
        yield "identity", identity.rows()
    if asked & {"limits", "ledger", "replay", "revocation", "sandbox"}:
        with servers.lent() as lent:
            if "sandbox" in asked:
                yield "sandbox", asyncio.run(sandbox.rows(lent["edge_dsn"]))
            if "limits" in asked:
                names = ("owner_dsn", "broker_dsn", "valkey_url")
                dsns = {name: lent[name] for name in names}
                yield "limits", asyncio.run(limits.rows(**dsns))
            if "ledger" in asked:
                dsns = {name: lent[name] for name in ("owner_dsn", "broker_dsn")}
                yield "ledger", asyncio.run(ledger.rows(**dsns))
            if "revocation" in asked:
                dsns = {name: lent[name] for name in ("owner_dsn", "broker_dsn")}
                yield "revocation", asyncio.run(revocation.rows(**dsns))
            if "replay" in asked:
                dsns = {name: lent[name] for name in ("owner_dsn", "broker_dsn")}
                yield "replay", asyncio.run(replays.rows(**dsns))
    yield from _of_people(asked)
    if asked & {"start", "calls"}:
        yield from _on_a_stack(asked)


def _of_people(asked: frozenset[str]) -> Iterator[tuple[str, list[Row]]]:
    """Measure each on a database of its own: what one leaves is in the other's way."""
    if "approvals" in asked:
        with servers.lent_with_access() as (lent, access):
            dsns = {name: lent[name] for name in ("owner_dsn", "broker_dsn")}
            yield "approvals", asyncio.run(approvals.rows(access=access, **dsns))
    if "lists" in asked:
        with servers.lent() as lent:
            dsns = {name: lent[name] for name in ("owner_dsn", "broker_dsn")}
            yield "lists", asyncio.run(lists.rows(**dsns))


def _on_a_stack(asked: frozenset[str]) -> Iterator[tuple[str, list[Row]]]:
    with stack.fresh() as own:
        first_s = own.up()
        if "start" in asked:
            idle = own.pss()
            own.down()
            second_s = own.up()
            yield (
                "start",
                [
                    stack.start_row("first", first_s, stack.FIRST_S_MAX),
                    stack.start_row("second", second_s, stack.SECOND_S_MAX),
                    *idle,
                ],
            )
        if "calls" in asked:
            yield "calls", asyncio.run(calls.rows(own.found()))


def _print(one: Row) -> None:
    print(
        f"  {one['row']:<{WIDTH - 2}} {one['value']:>12,.3f} {one['unit']:<5} "
        f"{one['baseline']:>12,.3f} {one['ratio']:>8,.2f}"
    )


if __name__ == "__main__":
    main()

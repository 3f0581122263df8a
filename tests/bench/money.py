"""Refund at random against a careless provider: python -m tests.bench.money.

Localstripe takes over-refunds and forgets idempotency keys; between it and the edge a
proxy loses, cuts and delays; agents ask twice; the runner is killed. Afterwards no
charge may be over-refunded and no refund done twice. Exit 0 only if that held.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import servers
from tests.support.money.provider import Provider
from tests.support.money.proxy import FaultyLine
from tests.support.money.spending import Plan, Report, spend
from tests.support.money.till import open_till

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 44


def main(words: Sequence[str] | None = None) -> int:
    """Run it, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.bench.money", description=__doc__)
    parser.add_argument("--refunds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=float, default=0.3, help="share, 0 to 1")
    parser.add_argument("--crashes", type=int, default=10)
    asked = parser.parse_args(words)
    plan = Plan(refunds=asked.refunds, seed=asked.seed, crashes=asked.crashes)
    began = time.monotonic()
    with (
        servers.lent() as lent,
        tempfile.TemporaryDirectory(prefix="counterfoil-") as folder,
        Provider(Path(folder)) as provider,
    ):
        line = FaultyLine(provider.port, seed=asked.seed, share=asked.faults)
        report = asyncio.run(_run(lent, Path(folder), provider, line, plan))
    _print(report, line, plan, took_s=time.monotonic() - began)
    return 0 if report.held else 1


async def _run(
    lent: dict[str, str],
    folder: Path,
    provider: Provider,
    line: FaultyLine,
    plan: Plan,
) -> Report:
    await line.start()
    try:
        async with open_till(
            folder,
            broker_dsn=lent["broker_dsn"],
            owner_dsn=lent["owner_dsn"],
            edge_dsn=lent["edge_dsn"],
            provider_url=line.url,
        ) as till:
            return await spend(till, provider, plan)
    finally:
        await line.close()


def _print(report: Report, line: FaultyLine, plan: Plan, *, took_s: float) -> None:
    rows: list[tuple[str, object]] = [
        ("refunds wanted", plan.refunds),
        ("seed", plan.seed),
        ("calls, retries and duplicates among them", report.asked),
        ("calls that the broker could not answer then", report.errors),
        ("runner killed", report.crashes),
        *((f"on the way: {one.value}", count) for one, count in line.met.items()),
        *((f"actions {one}", count) for one, count in sorted(report.states.items())),
        *((f"refused: {one}", count) for one, count in sorted(report.reasons.items())),
        ("refunds in the provider's books", report.refunds),
        ("minor units refunded", report.refunded_minor_units),
        ("charges over-refunded", len(report.over_refunded)),
        ("refunds done twice", len(report.twice)),
        ("broker and provider disagree", len(report.wrong)),
        ("actions that never ended", len(report.open)),
        ("seconds", round(took_s)),
    ]
    for name, value in rows:
        print(f"{name:<{WIDTH}} {value:>10}")
    bad = (*report.over_refunded, *report.twice, *report.wrong, *report.open)
    for one in bad[:20]:
        print(f"  {one}")
    print("held" if report.held else "DID NOT HOLD")


if __name__ == "__main__":
    sys.exit(main())

"""The demo, told on two brokers and two workers: every step, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli.demo.proof import evidence
from broker.cli.demo.story import REVOKED_S_MAX, STEPS

pytestmark = pytest.mark.xdist_group("stack")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.control("6.3", "6.5", "M5")
@pytest.mark.timeout(240)
def test_every_step_of_the_demo_holds_with_two_brokers_and_two_workers() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "broker.cli", "demo", "--json"),
            *("--brokers", "2", "--workers", "2"),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    held = {row["step"]: row["held"] for row in rows}
    assert all(held.values()), [row for row in rows if not row["held"]]
    assert done.returncode == 0, done.stderr[-2_000:]
    assert list(held) == [one.__name__ for one in (*STEPS, evidence)] + ["summary"]
    summary = rows[-1]
    assert summary["moved_minor_units"] <= summary["bound_minor_units"]
    assert summary["revoked_after_ms"] < REVOKED_S_MAX * 1_000

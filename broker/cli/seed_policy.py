"""The demo shop's policy, read from infra/demo: Cedar text and a table of limits."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo"


def demo_policy(*, author: str, approver: str) -> dict[str, Any]:
    """Return the body of the demo's policy row.

    Args:
        author: Person id of who wrote it.
        approver: Person id of who approved it; somebody else.
    """
    limits = tomllib.loads((DEMO / "limits.toml").read_text(encoding="utf-8"))
    return {
        "version": 1,
        "cedar": (DEMO / "policy.cedar").read_text(encoding="utf-8"),
        "hold": limits["hold"],
        "rates": limits["rates"],
        "budgets": limits["budgets"],
        "author": author,
        "approver": approver,
    }

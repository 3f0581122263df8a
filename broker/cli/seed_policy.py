"""The demo shop's policy: the folder infra/demo/policy, as it is first published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from broker.cli.policy.folder import body_of

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo" / "policy"


def demo_policy(*, author: str, approver: str) -> dict[str, Any]:
    """Return the body of the demo's policy row.

    Args:
        author: Person id of who wrote it.
        approver: Person id of who approved it; somebody else.
    """
    return {"version": 1, **body_of(DEMO), "author": author, "approver": approver}

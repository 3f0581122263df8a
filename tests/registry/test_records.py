"""Hints find what gives power, and say nothing of what takes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.registry.authority import KINDS
from broker.registry.records import Hint, hint_of

ENDS = datetime(2026, 5, 1, tzinfo=UTC)
BODY: dict[str, Any] = {
    "agents": ["a", "b"],
    "signed_by": ["alice"],
    "expires_at": "2026-05-01T00:00:00.000000Z",
}


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("active", Hint(("a", "b"), ENDS)),
        ("proposed", Hint(("alice",), ENDS)),
        ("revoked", Hint()),
    ],
)
def test_a_standing_approval_is_found_by_whom_it_waits_for(status, hint) -> None:
    assert hint_of("standing_approval", BODY | {"status": status}) == hint


@pytest.mark.parametrize("kind", sorted(KINDS - {"standing_approval"}))
def test_no_other_kind_is_hidden_by_a_hint(kind) -> None:
    assert hint_of(kind, BODY | {"status": "active"}) == Hint()

"""Readiness: anybody may ask, and costs the parts one look in a second."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from broker.api.kit.readiness import READY_KEPT_S, Readiness
from broker.core.words.errors import (
    BrokerError,
    ExecutorUnavailableError,
    RestoredError,
)


class Parts:
    """Ports whose executor says what a test wants, and counts who asks."""

    def __init__(self, error: BrokerError | None = None) -> None:
        self.error, self.looks = error, 0
        self.journal = SimpleNamespace(ready=self.nothing)
        self.authority = SimpleNamespace(approvers=self.nothing)
        self.executor = SimpleNamespace(address=self.address)

    async def nothing(self) -> None:
        await asyncio.sleep(0)

    async def address(self) -> None:
        self.looks += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error


async def asked(readiness: Readiness, parts: Any) -> tuple[int, str]:
    answer = await readiness.answer(parts)
    return answer.status_code, json.loads(bytes(answer.body))["status"]


async def test_many_who_ask_at_once_cost_the_parts_one_look_in_a_second() -> None:
    readiness, parts = Readiness(), Parts()
    said = await asyncio.gather(*(asked(readiness, parts) for _ in range(50)))
    assert set(said) == {(200, "ready")}
    assert parts.looks == 1
    await asyncio.sleep(READY_KEPT_S)
    await asked(readiness, parts)
    assert parts.looks == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ExecutorUnavailableError("away"), (503, "waiting")),
        (RestoredError("compare it first"), (200, "held")),
    ],
    ids=repr,
)
async def test_what_is_missing_is_said(
    error: BrokerError, said: tuple[int, str]
) -> None:
    assert await asked(Readiness(), Parts(error)) == said

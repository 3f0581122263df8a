"""PostgreSQL as the edge sees it, in memory; it passes the same contract suite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from broker.edge.store import Epochs, Spendable, StoreError


class FakeStore:
    """PostgreSQL as the edge sees it, in memory; ``down`` makes it fail."""

    def __init__(self) -> None:
        self.spent: dict[str, datetime] = {}
        self.moved: dict[str, int] = {}
        self.down = False
        self.asked = 0
        self.before_epochs: Callable[[], Awaitable[None]] | None = None

    async def spend(self, warrant: Spendable) -> tuple[bool, Epochs]:
        asked_at = self._ask()
        await asyncio.sleep(0)
        fresh = warrant.warrant_id not in self.spent
        self.spent.setdefault(warrant.warrant_id, warrant.expires_at)
        return fresh, self._now([scope for scope, _ in warrant.epochs], asked_at)

    async def epochs(self, scopes: list[str]) -> Epochs:
        asked_at = self._ask()
        if self.before_epochs is not None:
            await self.before_epochs()
        return self._now(scopes, asked_at)

    async def purge(self) -> int:
        self._ask()
        limit = datetime.now(UTC) - timedelta(days=1)
        old = [key for key, expires_at in self.spent.items() if expires_at < limit]
        for key in old:
            del self.spent[key]
        return len(old)

    def _ask(self) -> float:
        self.asked += 1
        if self.down:
            msg = "PostgreSQL: ConnectionRefusedError"
            raise StoreError(msg)
        return asyncio.get_running_loop().time()

    def _now(self, scopes: list[str], asked_at: float) -> Epochs:
        found = {scope: self.moved[scope] for scope in scopes if scope in self.moved}
        return Epochs(found, asked_at)

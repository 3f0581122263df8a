"""The rows of credentials, in memory; they pass the same contract suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from broker.edge.store import StoreError
from broker.edge.vault.credential import Credential, Sealed
from broker.edge.vault.rows import Current, Event, Listed

HERE = ("demo", "dev")


class FakeRotation:
    """A refresh token while nobody else may touch it."""

    def __init__(self, rows: FakeRows, credential: Credential) -> None:
        self.rows = rows
        self.name = (credential.connector, credential.version)
        self.waiting: list[tuple[int, bytes, Event]] = []

    async def newest(self) -> tuple[int, bytes] | None:
        found = self.rows.rotated.get(self.name)
        return found[-1] if found else None

    async def put(self, seq: int, sealed: bytes, event: Event) -> None:
        self.waiting.append((seq, sealed, event))


class FakeRows:
    """Rows of one tenant and environment; ``down`` makes them fail."""

    def __init__(self) -> None:
        self.down = False
        self.versions: dict[tuple[str, int], Sealed] = {}
        self.uses: dict[str, list[tuple[int, int, bytes]]] = {}
        self.rotated: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
        self.events: list[Event] = []
        self.locks: dict[bytes, asyncio.Lock] = {}
        self.before_commit: Any = None

    def change(self, connector: str, **changes: Any) -> None:
        """Change the row in use, as somebody with the database would."""
        version = self.uses[connector][-1][1]
        row = self.versions[connector, version]
        self.versions[connector, version] = replace(row, **changes)

    async def current(self, connector: str) -> Current | None:
        self._ask()
        used = self.uses.get(connector)
        if not used:
            return None
        seq, version, proof = used[-1]
        row = self.versions[connector, version]
        if (row.credential.tenant, row.credential.environment) != HERE:
            return None
        return Current(row, seq, proof)

    async def version(self, connector: str, version: int) -> Sealed | None:
        self._ask()
        return self.versions.get((connector, version))

    async def newest(self, connector: str) -> int:
        self._ask()
        return max((v for name, v in self.versions if name == connector), default=0)

    async def listed(self, connector: str = "") -> list[Listed]:
        self._ask()
        found = []
        for (name, version), row in sorted(
            self.versions.items(), key=lambda one: (one[0][0], -one[0][1])
        ):
            if connector in {"", name}:
                used = self.uses.get(name, [])
                found.append(
                    Listed(
                        connector=name,
                        version=version,
                        kind=row.credential.kind,
                        base_url=row.credential.base_url,
                        kek_id=row.kek_id,
                        created_at=datetime.now(UTC),
                        removed=not row.sealed,
                        used=bool(used) and used[-1][1] == version,
                    )
                )
        return found

    async def used(self, connector: str) -> list[int]:
        self._ask()
        return [
            version
            for _, version, _ in reversed(self.uses.get(connector, []))
            if self.versions[connector, version].sealed
        ]

    async def add(self, sealed: Sealed, event: Event) -> None:
        self._ask()
        name = (sealed.credential.connector, sealed.credential.version)
        if name in self.versions:
            msg = "PostgreSQL: UniqueViolationError"
            raise StoreError(msg)
        self.versions[name] = sealed
        self.events.append(event)

    async def use(
        self, credential: Credential, event: Event, *, seq: int, proof: bytes
    ) -> None:
        self._ask()
        used = self.uses.setdefault(credential.connector, [])
        if any(one[0] == seq for one in used):
            msg = "PostgreSQL: UniqueViolationError"
            raise StoreError(msg)
        used.append((seq, credential.version, proof))
        self.events.append(event)

    async def remove(self, credential: Credential, event: Event) -> bool:
        self._ask()
        name = (credential.connector, credential.version)
        row = self.versions.get(name)
        if row is None or not row.sealed:
            return False
        self.versions[name] = replace(row, wrapped_key=b"", sealed=b"")
        self.rotated.pop(name, None)
        self.events.append(event)
        return True

    async def note(self, event: Event) -> None:
        self._ask()
        self.events.append(event)

    @asynccontextmanager
    async def rotating(self, credential: Credential) -> AsyncIterator[FakeRotation]:
        self._ask()
        async with self.locks.setdefault(credential.bound, asyncio.Lock()):
            rotation = FakeRotation(self, credential)
            yield rotation
            if self.before_commit is not None:
                self.before_commit()
            for seq, sealed, event in rotation.waiting:
                self.rotated.setdefault(rotation.name, []).append((seq, sealed))
                self.events.append(event)

    def _ask(self) -> None:
        if self.down:
            msg = "PostgreSQL: ConnectionRefusedError"
            raise StoreError(msg)

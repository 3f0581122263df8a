"""Read and store sealed credentials, which of them is in use, and what was done.

Every change and its signed event are stored by one statement: there is no change that
the log does not come to know of.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.edge.store import StoreError
from broker.edge.vault.credential import Credential, Sealed
from broker.edge.vault.kinds import VaultError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    import asyncpg

    from broker.edge.store import Store, Transaction

CREDENTIAL_AGE_S_MAX: Final = 5.0
"""How long a sealed row is used before it is read again; it is never kept open."""

VERSIONS_SHOWN_MAX: Final = 1_000
REFRESH_WAIT_S_MAX: Final = 8.0
"""How long one refresher waits for another one."""

_SETTINGS_BYTES = 65_536
_COLUMNS = """c.tenant, c.environment, c.connector, c.version, c.kind, c.base_url,
  c.allow_private, c.settings, c.kek_id, c.wrapped_key, c.sealed"""
_CURRENT = f"""
SELECT {_COLUMNS}, u.seq, u.proof
FROM edge_credential_use u JOIN edge_credential c
  USING (tenant, environment, connector, version)
WHERE u.tenant = $1 AND u.environment = $2 AND u.connector = $3
ORDER BY u.seq DESC LIMIT 1
"""  # noqa: S608  (column names)
_ONE = f"""
SELECT {_COLUMNS} FROM edge_credential c
WHERE tenant = $1 AND environment = $2 AND connector = $3 AND version = $4
"""  # noqa: S608  (column names)
_NEWEST = """
SELECT coalesce(max(version), 0) FROM edge_credential
WHERE tenant = $1 AND environment = $2 AND connector = $3
"""
_LIST = """
SELECT c.connector, c.version, c.kind, c.base_url, c.kek_id, c.created_at, c.removed_at,
  (SELECT version FROM edge_credential_use u
    WHERE (u.tenant, u.environment, u.connector)
        = (c.tenant, c.environment, c.connector)
    ORDER BY seq DESC LIMIT 1) AS used
FROM edge_credential c
WHERE tenant = $1 AND environment = $2 AND ($3 = '' OR connector = $3)
ORDER BY connector, version DESC LIMIT $4
"""
_USES = """
SELECT u.version FROM edge_credential_use u JOIN edge_credential c
  USING (tenant, environment, connector, version)
WHERE u.tenant = $1 AND u.environment = $2 AND u.connector = $3
  AND c.removed_at IS NULL
ORDER BY u.seq DESC LIMIT 1000
"""
_ADD = """
WITH added AS (
  INSERT INTO edge_credential (tenant, environment, connector, version, kind, base_url,
    allow_private, settings, kek_id, wrapped_key, sealed)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
)
INSERT INTO edge_event (event_id, token) VALUES ($12, $13)
"""
_USE = """
WITH used AS (
  INSERT INTO edge_credential_use (tenant, environment, connector, seq, version, proof)
  VALUES ($1, $2, $3, $4, $5, $6)
)
INSERT INTO edge_event (event_id, token) VALUES ($7, $8)
"""
_NOTE = "INSERT INTO edge_event (event_id, token) VALUES ($1, $2)"
_REMOVE = "SELECT edge_credential_remove($1, $2, $3, $4, $5, $6)"
_ROTATED = """
SELECT seq, sealed FROM edge_credential_rotated
WHERE tenant = $1 AND environment = $2 AND connector = $3 AND version = $4
ORDER BY seq DESC LIMIT 1
"""
_ROTATE = """
WITH rotated AS (
  INSERT INTO edge_credential_rotated (tenant, environment, connector, version, seq,
    sealed)
  VALUES ($1, $2, $3, $4, $5, $6)
)
INSERT INTO edge_event (event_id, token) VALUES ($7, $8)
"""


@dataclass(frozen=True, slots=True)
class Current:
    """The version in use, with the proof that somebody with its key said so."""

    sealed: Sealed
    seq: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A signed event, to be stored with the change that it tells of."""

    event_id: str
    token: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What may be shown of a version: nothing of its secret."""

    connector: str
    version: int
    kind: str
    base_url: str
    kek_id: str
    created_at: datetime
    removed: bool
    used: bool


class Rotation:
    """The refresh token of one credential, while nobody else may touch it."""

    def __init__(self, transaction: Transaction, credential: Credential) -> None:
        """Work inside of a transaction that holds the lock."""
        self._transaction = transaction
        self._name = _name(credential)

    async def newest(self) -> tuple[int, bytes] | None:
        """Return place and ciphertext of the newest rotated token, if there is one."""
        row = await self._transaction.fetchrow(_ROTATED, *self._name)
        return None if row is None else (row["seq"], row["sealed"])

    async def put(self, seq: int, sealed: bytes, event: Event) -> None:
        """Store the next one; it counts once the lock was given back."""
        values = (seq, sealed, event.event_id, event.token)
        await self._transaction.fetchrow(_ROTATE, *self._name, *values)


class Rows:
    """The credentials of one tenant and environment."""

    def __init__(self, store: Store, *, tenant: str, environment: str) -> None:
        """Read and write through the edge's own role."""
        self._store = store
        self._where = (tenant, environment)
        self._kept: dict[str, tuple[float, Current | None]] = {}

    async def current(self, connector: str) -> Current | None:
        """Return the version in use, at most a moment old; None if there is none.

        Raises:
            StoreError: PostgreSQL did not answer, or the row makes no sense.
        """
        asked_at = time.monotonic()
        kept = self._kept.get(connector)
        if kept is not None and asked_at - kept[0] <= CREDENTIAL_AGE_S_MAX:
            return kept[1]
        row = await self._store.fetch(_CURRENT, *self._where, connector)
        found = None
        if row is not None:
            found = Current(_sealed(row), row["seq"], row["proof"])
        self._kept[connector] = (asked_at, found)
        return found

    async def version(self, connector: str, version: int) -> Sealed | None:
        """Return one version, in use or not; None if there is none.

        Raises:
            StoreError: As `current`.
        """
        row = await self._store.fetch(_ONE, *self._where, connector, version)
        return None if row is None else _sealed(row)

    async def newest(self, connector: str) -> int:
        """Return the highest version there ever was, 0 if there was none.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        row = await self._store.fetch(_NEWEST, *self._where, connector)
        return int(row[0]) if row else 0

    async def listed(self, connector: str = "") -> list[Listed]:
        """Return all versions of a connector, or of all, the newest first.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        rows = await self._store.fetch_all(
            _LIST, *self._where, connector, VERSIONS_SHOWN_MAX
        )
        return [
            Listed(
                connector=row["connector"],
                version=row["version"],
                kind=row["kind"],
                base_url=row["base_url"],
                kek_id=row["kek_id"],
                created_at=row["created_at"],
                removed=row["removed_at"] is not None,
                used=row["used"] == row["version"],
            )
            for row in rows
        ]

    async def used(self, connector: str) -> list[int]:
        """Return the versions that were put into use and still exist, the last first.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        rows = await self._store.fetch_all(_USES, *self._where, connector)
        return [row["version"] for row in rows]

    async def add(self, sealed: Sealed, event: Event) -> None:
        """Add a version; the database refuses one that exists.

        Raises:
            StoreError: It exists, or PostgreSQL did not answer.
        """
        credential = sealed.credential
        await self._store.fetch(
            _ADD,
            *_name(credential),
            credential.kind,
            credential.base_url,
            credential.allow_private,
            canonical(dict(credential.settings)).decode("utf-8"),
            sealed.kek_id,
            sealed.wrapped_key,
            sealed.sealed,
            event.event_id,
            event.token,
        )

    async def use(
        self, credential: Credential, event: Event, *, seq: int, proof: bytes
    ) -> None:
        """Put a version into use, unless somebody else made a change meanwhile.

        Raises:
            StoreError: Somebody did, or PostgreSQL did not answer.
        """
        where = (*self._where, credential.connector)
        values = (seq, credential.version, proof, event.event_id, event.token)
        await self._store.fetch(_USE, *where, *values)
        self._kept.pop(credential.connector, None)

    async def remove(self, credential: Credential, event: Event) -> bool:
        """Destroy the ciphertexts of a version; return whether there were any.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        name = _name(credential)
        row = await self._store.fetch(_REMOVE, *name, event.event_id, event.token)
        self._kept.pop(credential.connector, None)
        return row is not None and row[0] is True

    async def note(self, event: Event) -> None:
        """Store an event that goes with no change.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        await self._store.fetch(_NOTE, event.event_id, event.token)

    @asynccontextmanager
    async def rotating(self, credential: Credential) -> AsyncIterator[Rotation]:
        """Be the only one who refreshes this credential, on any edge.

        Raises:
            StoreError: Another one took too long, or PostgreSQL did not answer.
        """
        async with self._store.alone(
            b"edge refresh\x00" + credential.bound, wait_s=REFRESH_WAIT_S_MAX
        ) as transaction:
            yield Rotation(transaction, credential)


def _name(credential: Credential) -> tuple[str, str, str, int]:
    return (
        credential.tenant,
        credential.environment,
        credential.connector,
        credential.version,
    )


def _sealed(row: asyncpg.Record) -> Sealed:
    try:
        settings = parse_json(
            row["settings"].encode("utf-8"), bytes_max=_SETTINGS_BYTES, depth_max=2
        )
        credential = Credential(
            tenant=row["tenant"],
            environment=row["environment"],
            connector=row["connector"],
            version=row["version"],
            kind=row["kind"],
            base_url=row["base_url"],
            allow_private=row["allow_private"],
            settings=_texts(settings),
        )
    except (VaultError, CanonicalError) as error:
        msg = f"credential {row['connector']}: {error}"
        raise StoreError(msg) from None
    return Sealed(credential, row["kek_id"], row["wrapped_key"], row["sealed"])


def _texts(settings: object) -> dict[str, str]:
    if isinstance(settings, dict) and all(
        isinstance(value, str) for value in settings.values()
    ):
        return settings
    msg = "the settings make no sense"
    raise VaultError(msg)

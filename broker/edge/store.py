"""Ask PostgreSQL, as the edge's own role: spent warrants, epochs, sealed credentials.

Everything here fails closed: what the database does not say within ANSWER_S_MAX is a
StoreError, and the edge refuses.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from broker.edge.identity import IdentityError, read_secret
from broker.edge.vault import Credential, Sealed, VaultError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.core.words.warrant import Warrant

ANSWER_S_MAX: Final = 2.0
CONNECTIONS_MAX: Final = 8
CREDENTIAL_AGE_S_MAX: Final = 5.0
"""How long a sealed row is used before it is read again; it is never kept open."""

_SPEND = "SELECT fresh, epochs FROM edge_spend($1, $2, $3, $4, $5)"
_EPOCHS = "SELECT edge_epochs($1)"
_PURGE = "SELECT edge_purge()"
_NEWEST = """
SELECT version, kind, base_url, allow_private, kek_id, wrapped_key, sealed
FROM edge_credential
WHERE tenant = $1 AND environment = $2 AND connector = $3
ORDER BY version DESC LIMIT 1
"""
_ADD = """
INSERT INTO edge_credential (tenant, environment, connector, version, kind, base_url,
  allow_private, kek_id, wrapped_key, sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    IdentityError,
    OSError,
    TimeoutError,
)


class StoreError(RuntimeError):
    """PostgreSQL did not answer, or answered what makes no sense."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """Current revocation epochs, and the monotonic time before they were asked for."""

    scopes: Mapping[str, int]
    asked_at: float

    def revoked(self, named: tuple[tuple[str, int], ...]) -> bool:
        """Return whether a scope has moved beyond the epoch that a warrant names."""
        return any(self.scopes.get(scope, 0) > epoch for scope, epoch in named)


class _Connection(asyncpg.Connection):  # type: ignore[misc, type-arg, unused-ignore]
    """A connection that is handed back without another round trip.

    The edge sets no session state, holds no advisory lock and listens to nothing.
    """

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return nothing to run."""
        return ""


class Store:
    """The edge's view of PostgreSQL."""

    def __init__(self, url: str, *, password_file: Path | None) -> None:
        """Keep where the database is; `open` makes the pool."""
        self._url = url
        self._password_file = password_file
        self._pool: asyncpg.Pool[Any] | None = None
        self._sealed: dict[str, tuple[float, Sealed | None]] = {}

    async def open(self) -> None:
        """Make the pool; it connects when it is first asked."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=ANSWER_S_MAX,
            command_timeout=ANSWER_S_MAX,
            connection_class=_Connection,
            server_settings={"application_name": "counterfoil-edge"},
            password=None if self._password_file is None else self._password,
        )

    async def close(self) -> None:
        """Close the pool at once; nothing in it waits to be written."""
        if self._pool is not None:
            self._pool.terminate()

    async def spend(self, warrant: Warrant) -> tuple[bool, Epochs]:
        """Spend a warrant; return whether it was unspent, and its current epochs.

        Raises:
            StoreError: Nobody knows; the warrant counts as spent.
        """
        asked_at = time.monotonic()
        row = await self._fetch(
            _SPEND,
            warrant.warrant_id,
            warrant.action_id,
            warrant.edge,
            warrant.expires_at,
            [scope for scope, _ in warrant.epochs],
        )
        if row is None:
            msg = "the database did not say whether the warrant was spent"
            raise StoreError(msg)
        return row["fresh"] is True, Epochs(_scopes(row["epochs"]), asked_at)

    async def epochs(self, scopes: list[str]) -> Epochs:
        """Return the current epochs of some scopes.

        Raises:
            StoreError: PostgreSQL did not say.
        """
        asked_at = time.monotonic()
        row = await self._fetch(_EPOCHS, scopes)
        return Epochs(_scopes(row[0] if row else None), asked_at)

    async def purge(self) -> int:
        """Delete spent warrants that expired long ago; return how many.

        Raises:
            StoreError: PostgreSQL did not answer.
        """
        row = await self._fetch(_PURGE)
        return int(row[0]) if row else 0

    async def credential(
        self, *, tenant: str, environment: str, connector: str
    ) -> Sealed | None:
        """Return the newest sealed credential of a connector, at most a moment old.

        Raises:
            StoreError: PostgreSQL did not answer, or the row makes no sense.
        """
        asked_at = time.monotonic()
        kept = self._sealed.get(connector)
        if kept is not None and asked_at - kept[0] <= CREDENTIAL_AGE_S_MAX:
            return kept[1]
        row = await self._fetch(_NEWEST, tenant, environment, connector)
        sealed = None if row is None else _sealed(row, tenant, environment, connector)
        self._sealed[connector] = (asked_at, sealed)
        return sealed

    async def add_credential(self, sealed: Sealed) -> None:
        """Add a version of a credential; the database refuses one that exists.

        Raises:
            StoreError: It exists, or PostgreSQL did not answer.
        """
        credential = sealed.credential
        await self._fetch(
            _ADD,
            credential.tenant,
            credential.environment,
            credential.connector,
            credential.version,
            credential.kind,
            credential.base_url,
            credential.allow_private,
            sealed.kek_id,
            sealed.wrapped_key,
            sealed.sealed,
        )
        self._sealed.pop(credential.connector, None)

    async def _fetch(self, query: str, *values: Any) -> asyncpg.Record | None:  # noqa: ANN401
        if self._pool is None:
            msg = "the store is not open"
            raise StoreError(msg)
        try:
            async with self._pool.acquire(timeout=ANSWER_S_MAX) as connection:
                return await connection.fetchrow(query, *values)
        except _FAILURES as error:
            # The text of a server's error may quote values: its class is enough.
            msg = f"PostgreSQL: {type(error).__name__}"
            raise StoreError(msg) from None

    def _password(self) -> str:
        # Read for each connection, so that a changed password needs no restart.
        assert self._password_file is not None  # noqa: S101
        return read_secret(self._password_file).decode("utf-8").removesuffix("\n")


def _scopes(answer: object) -> dict[str, int]:
    scopes = json.loads(answer) if isinstance(answer, str) else None
    if not isinstance(scopes, dict) or not all(
        type(epoch) is int for epoch in scopes.values()
    ):
        msg = "the epochs make no sense"
        raise StoreError(msg)
    return scopes


def _sealed(
    row: asyncpg.Record, tenant: str, environment: str, connector: str
) -> Sealed:
    try:
        credential = Credential(
            tenant=tenant,
            environment=environment,
            connector=connector,
            version=row["version"],
            kind=row["kind"],
            base_url=row["base_url"],
            allow_private=row["allow_private"],
        )
    except VaultError as error:
        msg = f"credential {connector}: {error}"
        raise StoreError(msg) from None
    return Sealed(credential, row["kek_id"], row["wrapped_key"], row["sealed"])

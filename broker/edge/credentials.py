"""Open credentials for the moment of a request, and add versions of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from broker.edge.identity import IdentityError, read_secret
from broker.edge.vault import (
    SECRET_BYTES_MAX,
    Credential,
    VaultError,
    seal,
    unseal,
)

if TYPE_CHECKING:
    from pathlib import Path

    from broker.edge.store import Store

DEMO_CONNECTOR: Final = "retail"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """The sealed credentials of one tenant and environment, and the key to them."""

    store: Store
    kek: bytes
    tenant: str
    environment: str

    async def open(self, connector: str) -> tuple[Credential, bytes] | None:
        """Return a connector's newest credential in the clear, or None.

        The caller uses it for one request and keeps it nowhere; only sealed rows are
        remembered between requests.

        Raises:
            StoreError: PostgreSQL did not say.
            VaultError: The row does not open with this edge's key.
        """
        row = await self.store.credential(
            tenant=self.tenant, environment=self.environment, connector=connector
        )
        return None if row is None else (row.credential, unseal(row, kek=self.kek))

    async def add(
        self, connector: str, *, base_url: str, allow_private: bool, secret: bytes
    ) -> int:
        """Seal a further version of a connector's credential and return its number.

        Raises:
            StoreError: PostgreSQL did not answer, or somebody else added that version.
            VaultError: Secret or base URL cannot be used.
        """
        newest = await self.store.credential(
            tenant=self.tenant, environment=self.environment, connector=connector
        )
        credential = Credential(
            tenant=self.tenant,
            environment=self.environment,
            connector=connector,
            version=1 if newest is None else newest.credential.version + 1,
            kind="bearer",
            base_url=base_url,
            allow_private=allow_private,
        )
        row = seal(credential, secret, kek=self.kek, random=secrets.token_bytes)
        await self.store.add_credential(row)
        _log.info("sealed", connector=connector, version=credential.version)
        return credential.version

    async def ensure(
        self, connector: str, *, base_url: str, allow_private: bool, secret: bytes
    ) -> None:
        """Seal a credential unless the newest version is this very one.

        Raises:
            StoreError: As `add`.
            VaultError: As `add`.
        """
        try:
            found = await self.open(connector)
        except VaultError as error:
            # Sealed under a key that is gone: only a new version can help.
            _log.warning("unopened", connector=connector, problem=str(error))
            found = None
        if found is not None:
            credential, known = found
            where = (credential.base_url, credential.allow_private)
            if where == (base_url, allow_private) and known == secret:
                return
        await self.add(
            connector, base_url=base_url, allow_private=allow_private, secret=secret
        )


def secret_from(path: Path) -> bytes:
    """Return the secret in a file that only its owner can read.

    Raises:
        VaultError: The file is missing, too long, or open to others.
    """
    try:
        data = read_secret(path, bytes_max=SECRET_BYTES_MAX + 1)
    except IdentityError as error:
        raise VaultError(str(error)) from None
    return data.removesuffix(b"\n")

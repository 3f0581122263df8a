"""Open credentials for the moment of a request; add, switch and remove versions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from broker.core.warrants.events import EdgeEventKind
from broker.edge.identity import IdentityError, read_secret
from broker.edge.vault.credential import Credential
from broker.edge.vault.kinds import BEARER, SECRET_BYTES_MAX, VaultError
from broker.edge.vault.sealing import (
    check_use,
    key_of,
    open_with,
    prove_use,
    seal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.edge.vault.credential import Sealed
    from broker.edge.vault.events import Notary
    from broker.edge.vault.rows import Current, Rows
    from broker.sealing import KeyProvider

DEMO_CONNECTOR: Final = "retail"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A credential that somebody wants to add: all but its version."""

    connector: str
    base_url: str
    kind: str = BEARER
    allow_private: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """The sealed credentials of one tenant and environment, and the key to them."""

    rows: Rows
    kek: KeyProvider
    notary: Notary

    async def open(self, connector: str) -> tuple[Credential, bytes] | None:
        """Return a connector's credential in the clear, or None if none is in use.

        The caller uses it for one request and keeps it nowhere; only sealed rows are
        remembered between requests.

        Raises:
            StoreError: PostgreSQL did not say.
            VaultError: The row does not open with this edge's key, or nobody with the
                key put it into use.
        """
        current = await self.rows.current(connector)
        if current is None:
            return None
        row, key = await self.opened(current)
        return row.credential, open_with(key, row)

    async def opened(self, current: Current) -> tuple[Sealed, bytes]:
        """Return the row in use and its own key.

        Raises:
            VaultError: It does not open, or nobody with the key put it into use.
        """
        row = current.sealed
        key = await key_of(row, kek=self.kek)
        check_use(key, row.credential, seq=current.seq, proof=current.proof)
        return row, key

    async def version(self, connector: str, version: int) -> Sealed:
        """Return one version, in use or not.

        Raises:
            StoreError: PostgreSQL did not say.
            VaultError: There is none.
        """
        row = await self.rows.version(connector, version)
        if row is None:
            msg = f"connector {connector} has no version {version}"
            raise VaultError(msg)
        return row

    async def add(self, draft: Draft, secret: bytes) -> int:
        """Seal a further version, which is not in use yet, and return its number.

        Raises:
            StoreError: PostgreSQL did not answer, or somebody else added that version.
            VaultError: Secret, settings or base URL cannot be used.
        """
        credential = Credential(
            tenant=self.notary.tenant,
            environment=self.notary.environment,
            connector=draft.connector,
            version=await self.rows.newest(draft.connector) + 1,
            kind=draft.kind,
            base_url=draft.base_url,
            allow_private=draft.allow_private,
            settings=dict(draft.settings),
        )
        row = await seal(credential, secret, kek=self.kek, random=secrets.token_bytes)
        detail = said_of(credential) | {"kek": row.kek_id}
        event = self.notary.event(EdgeEventKind.ADDED, draft.connector, detail)
        await self.rows.add(row, event)
        _log.info("sealed", connector=draft.connector, version=credential.version)
        return credential.version

    async def switch(
        self,
        connector: str,
        version: int,
        *,
        kind: EdgeEventKind = EdgeEventKind.SWITCHED,
        tested: bool = False,
    ) -> None:
        """Put a version into use; every edge has it within a moment.

        Raises:
            StoreError: PostgreSQL did not answer, or somebody else switched meanwhile.
            VaultError: There is no such version, or it does not open.
        """
        row = await self.version(connector, version)
        key = await key_of(row, kek=self.kek)
        open_with(key, row)
        current = await self.rows.current(connector)
        seq = 1 if current is None else current.seq + 1
        before = None if current is None else current.sealed.credential.version
        detail = {"version": version, "before": before, "tested": tested}
        proof = prove_use(key, row.credential, seq=seq, random=secrets.token_bytes)
        event = self.notary.event(kind, connector, detail)
        await self.rows.use(row.credential, event, seq=seq, proof=proof)
        _log.info("switched", connector=connector, version=version, before=before)

    async def roll_back(self, connector: str) -> int:
        """Put the version into use that was in use before, and return its number.

        Raises:
            StoreError: As `switch`.
            VaultError: There is none that still exists.
        """
        current = await self.rows.current(connector)
        now = None if current is None else current.sealed.credential.version
        earlier = [one for one in await self.rows.used(connector) if one != now]
        if not earlier:
            msg = f"connector {connector} has no earlier version to go back to"
            raise VaultError(msg)
        await self.switch(connector, earlier[0], kind=EdgeEventKind.ROLLED_BACK)
        return earlier[0]

    async def remove(self, connector: str, version: int, *, in_use: bool) -> None:
        """Destroy a version for good.

        Args:
            connector: Whose it is.
            version: Which one.
            in_use: Remove it also if it is in use: its connector then has none.

        Raises:
            StoreError: PostgreSQL did not answer.
            VaultError: It is in use and that was not asked for, or there is none.
        """
        row = await self.version(connector, version)
        current = await self.rows.current(connector)
        used = current is not None and current.sealed.credential.version == version
        if used and not in_use:
            msg = f"version {version} is in use; switch to another one first"
            raise VaultError(msg)
        detail = {"version": version, "in_use": used}
        event = self.notary.event(EdgeEventKind.REMOVED, connector, detail)
        if not await self.rows.remove(row.credential, event):
            msg = f"version {version} of {connector} was removed before"
            raise VaultError(msg)
        _log.info("removed", connector=connector, version=version)

    async def ensure(self, draft: Draft, secret: bytes) -> None:
        """Have exactly this in use, adding a version if another one is.

        Raises:
            StoreError: As `add`.
            VaultError: As `add`.
        """
        try:
            found = await self.open(draft.connector)
        except VaultError as error:
            # Sealed under a key that is gone: only a new version can help.
            _log.warning("unopened", connector=draft.connector, problem=str(error))
            found = None
        if found is not None:
            credential, known = found
            if known == secret and (credential.base_url, credential.allow_private) == (
                draft.base_url,
                draft.allow_private,
            ):
                return
        await self.switch(draft.connector, await self.add(draft, secret))


def said_of(credential: Credential) -> dict[str, str | int | bool]:
    """Return what the record says of a credential: no secret, and nothing of one."""
    token = credential.token_endpoint
    return {
        "version": credential.version,
        "kind": credential.kind,
        "host": credential.endpoint.authority[:200],
        "token_host": token.authority[:200] if token else "",
        "allow_private": credential.allow_private,
        "pinned": "pins" in credential.settings,
    }


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

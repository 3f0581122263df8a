"""Private halves of signing keys, sealed in PostgreSQL for all replicas to open."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.canonical import CanonicalError, canonical, parse_json
from broker.core.jwk import (
    Algorithm,
    JwsError,
    PrivateKey,
    PublicKey,
    private_from_jwk,
    private_to_jwk,
)
from broker.effects.keyfiles import make_key, read_secret
from broker.effects.keys import load_secret
from broker.sealing import FileKek, SealError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from broker.effects.database import Database
    from broker.sealing import KeyProvider, Transit

_JWK_BYTES = 1_024
_JWK_DEPTH = 2
_SAVE: Final = """
INSERT INTO signing_key (tenant, environment, kid, kek_id, wrapped)
VALUES ($1, $2, $3, $4, $5)
"""
_FIND: Final = """
SELECT kek_id, wrapped FROM signing_key
 WHERE tenant = $1 AND environment = $2 AND kid = $3
"""
# A key that was sealed just now may be published a moment later.
_FORGET: Final = """
DELETE FROM signing_key WHERE tenant = $1 AND environment = $2
   AND NOT kid = ANY ($3) AND made_at < now() - interval '10 minutes'
"""
_DROP: Final = """
DELETE FROM signing_key WHERE tenant = $1 AND environment = $2 AND kid = $3
"""


@dataclass(frozen=True, slots=True)
class Where:
    """Whose keys these are; each is bound to it."""

    tenant: str
    environment: str


def key_provider(kek_file: Path, transit: Transit | None) -> KeyProvider:
    """Return who wraps keys: a transit engine where one is named, else a file's key.

    Raises:
        KeyFileError: The key file is missing, malformed or open to others.
        SealError: The transit engine is named wrongly.
    """
    if transit is None:
        kek = load_secret(kek_file)
        return FileKek(kek, random=secrets.token_bytes, whose="signing")
    # Only here: it takes 100 ms and 10 MB that a broker with a key file does not need.
    from broker.sealing.transit import TransitKek  # noqa: PLC0415

    return TransitKek(transit, read=read_secret)


class SealedKeys:
    """Makes, seals and opens signing keys."""

    def __init__(self, database: Database, *, kek: KeyProvider, where: Where) -> None:
        """Keep where keys go and who wraps them."""
        self._database = database
        self._kek = kek
        self._where = where

    async def make(self) -> PublicKey:
        """Make a key, seal it, and return its public half.

        Raises:
            SealError: The key provider does not answer.
        """
        return await self.keep(make_key(Algorithm.ES256))

    async def keep(self, key: PrivateKey) -> PublicKey:
        """Seal a key, and return its public half.

        Raises:
            SealError: The key provider does not answer.
        """
        text = canonical(dict(private_to_jwk(key)))
        wrapped = await self._kek.wrap(text, bound=self._bound(key.kid))
        await self._database.value(
            _SAVE, *self._place, key.kid, self._kek.kek_id, wrapped
        )
        return key.public()

    async def open(self, kid: str) -> PrivateKey:
        """Return a key, to be kept in memory while it signs.

        Raises:
            SealError: It is not there, was sealed by another key provider or for
                something else, or the provider does not answer.
        """
        row = await self._database.row(_FIND, *self._place, kid)
        if row is None:
            msg = "there is no private half of this key"
            raise SealError(msg)
        if row["kek_id"] != self._kek.kek_id:
            msg = f"sealed under the key {row['kek_id']}, which this broker has not"
            raise SealError(msg)
        text = await self._kek.unwrap(row["wrapped"], bound=self._bound(kid))
        try:
            jwk = parse_json(text, bytes_max=_JWK_BYTES, depth_max=_JWK_DEPTH)
            key = private_from_jwk(jwk if isinstance(jwk, dict) else {})
        except (CanonicalError, JwsError):
            msg = "what was sealed is no key"
            raise SealError(msg) from None
        if key.kid != kid:
            msg = "what was sealed is another key"
            raise SealError(msg)
        return key

    async def forget(self, keep: Collection[str]) -> None:
        """Delete every key but these and those that were made just now."""
        await self._database.value(_FORGET, *self._place, sorted(keep))

    async def drop(self, kid: str) -> None:
        """Delete one key at once."""
        await self._database.value(_DROP, *self._place, kid)

    @property
    def _place(self) -> tuple[str, str]:
        return self._where.tenant, self._where.environment

    def _bound(self, kid: str) -> bytes:
        where = self._where
        return canonical(
            {
                "purpose": "counterfoil token signing key",
                "tenant": where.tenant,
                "environment": where.environment,
                "kid": kid,
            }
        )

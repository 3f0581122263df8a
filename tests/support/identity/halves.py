"""Private halves of signing keys, in memory: what `SealedKeys` keeps in a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.core.jwk import Algorithm
from broker.effects.keyfiles import make_key
from broker.sealing import SealError

if TYPE_CHECKING:
    from collections.abc import Collection

    from broker.core.jwk import PrivateKey, PublicKey


@dataclass
class Drawer:
    """Keys by name."""

    keys: dict[str, PrivateKey] = field(default_factory=dict)

    async def make(self) -> PublicKey:
        return await self.keep(make_key(Algorithm.ES256))

    async def keep(self, key: PrivateKey) -> PublicKey:
        self.keys[key.kid] = key
        return key.public()

    async def open(self, kid: str) -> PrivateKey:
        if kid not in self.keys:
            msg = "there is no private half of this key"
            raise SealError(msg)
        return self.keys[kid]

    async def forget(self, keep: Collection[str]) -> None:
        self.keys = {kid: key for kid, key in self.keys.items() if kid in keep}

    async def drop(self, kid: str) -> None:
        self.keys.pop(kid, None)

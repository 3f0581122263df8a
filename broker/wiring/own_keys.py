"""Keys that are files: each replacement stands in the log, with both names.

The next entry key is named by an entry that the present one signed, so that whoever
reads the log can follow from one key to the other.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from broker.api.identity.evidence import entry_of
from broker.core.jwk import public_to_jwk
from broker.core.words.entry import EntryKind
from broker.core.words.identity import OneUse
from broker.effects.keyfiles import KeyFileError, load_public_key
from broker.effects.replacing.files import REPLACEABLE

if TYPE_CHECKING:
    from pathlib import Path

    from broker.api.identity.desk import Desk
    from broker.core.jwk import PublicKey
    from broker.effects.keys import KeyRing

NEXT, REPLACED = "own_key.next", "own_key.replaced"


class OwnKeyTender:
    """Looks whether a key is being replaced, and writes it down once."""

    def __init__(self, state: Path, desk: Desk, keys: KeyRing) -> None:
        """Keep what signs now: of what was before this start nothing is said."""
        self._public = state / "public"
        self._desk = desk
        self._keys = keys
        self._said = {(REPLACED, name, self._signs(name).kid) for name in REPLACEABLE}

    async def tend(self) -> None:
        """Say what has changed since the last look."""
        for name in REPLACEABLE:
            following = self._following(name)
            if following is not None and following != self._signs(name):
                await self._say(NEXT, name, following)
            await self._say(REPLACED, name, self._signs(name))

    async def _say(self, what: str, name: str, key: PublicKey) -> None:
        said = (what, name, key.kid)
        if said in self._said:
            return
        now = self._desk.clock.now()
        once = sha256("\0".join(said).encode()).digest()
        # Whichever replica is first: the others find it said.
        if await self._desk.replay.first_ever(OneUse(once, now + timedelta(days=2))):
            detail: dict[str, Any] = {
                "what": what,
                "by": "host",
                "kind": "own_key",
                "id": name,
                "kid": key.kid,
                "jwk": public_to_jwk(key),
                "scopes": [],
            }
            entry = entry_of(self._desk, EntryKind.AUTHORITY, detail)
            await self._desk.journal.record(entry)
        self._said.add(said)

    def _signs(self, name: str) -> PublicKey:
        present = self._keys.entry if name == "entry" else self._keys.warrant
        return present.public()

    def _following(self, name: str) -> PublicKey | None:
        path = self._public / f"{name}-next.jwk"
        try:
            return load_public_key(path) if path.exists() else None
        except KeyFileError:
            return None

"""Whether this database was restored from a backup, and what is put aside then.

The signer knows: after `counterfoil audit recover` it signs under a new origin. Until
somebody has compared the edges' journals with the actions, nothing is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.words.errors import RestoredError

if TYPE_CHECKING:
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.registry import Entries

_AGREED = "SELECT EXISTS (SELECT FROM restore_agreement WHERE origin = $1)"


class Origins(Protocol):
    """Knows under which origin the log goes on; CheckpointKeeper is it."""

    @property
    def renewed(self) -> str:
        """The origin, if it is not the first one; else empty."""


class Restored:
    """The gate that is shut after a restore, over PostgreSQL and the ledger."""

    def __init__(
        self, database: Database, *, origins: Origins, entries: Entries
    ) -> None:
        """Keep where rows and entries go, and who knows the origin."""
        self._database = database
        self._origins = origins
        self._entries = entries
        self._agreed = ""

    async def origin(self) -> str:
        """Return the origin that nobody has agreed to yet, empty if there is none."""
        origin = self._origins.renewed
        if not origin or origin == self._agreed:
            return ""
        if not await self._database.value(_AGREED, origin):
            return origin
        self._agreed = origin
        return ""

    async def require_agreed(self) -> None:
        """Refuse to decide while edges were not compared with what was restored.

        Raises:
            RestoredError: They were not.
        """
        if await self.origin():
            msg = "the database was restored, and what edges sent was not compared yet"
            hint = "a person of security runs `counterfoil audit agree`"
            raise RestoredError(msg, hint=hint, retry_after_s=30)

    async def hold(self, action_id: str, warrant_id: str, entry: AuditEntry) -> bool:
        """Put an action aside that an edge has sent; False if nothing was to do."""
        moved: bool = await self._database.value(
            "SELECT restore_hold($1, $2, $3)",
            action_id,
            warrant_id,
            self._entries.signed((entry,)),
        )
        if moved:
            await self._entries.integrated((entry,))
        return moved

    async def agree(self, origin: str, *, by: str, entry: AuditEntry) -> None:
        """Open the gate for this origin."""
        await self._database.value(
            "SELECT restore_agree($1, $2, $3)",
            origin,
            by,
            self._entries.signed((entry,)),
        )
        await self._entries.integrated((entry,))

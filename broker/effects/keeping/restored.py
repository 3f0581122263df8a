"""Whether this database was restored from a backup, and what is put aside then.

The signer knows: after `counterfoil audit recover` it signs under a new origin. Until
somebody has compared the edges' journals with the actions, nothing is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.words.errors import RestoredError
from broker.registry.emergency.restored import (
    RESTORED_KIND,
    agreed,
    restored_body,
    restored_id,
)
from broker.registry.records import Change

if TYPE_CHECKING:
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.registry import Entries
    from broker.registry.authority import AuthorityRow


class Origins(Protocol):
    """Knows under which origin the log goes on; CheckpointKeeper is it."""

    @property
    def renewed(self) -> str:
        """The origin, if it is not the first one; else empty."""


class Rows(Protocol):
    """Signed rows; the registry is it."""

    async def get(self, kind: str, row_id: str) -> AuthorityRow | None:
        """Return the row in force, or None if there is none that verifies."""

    async def put(self, change: Change, entry: AuditEntry) -> AuthorityRow:
        """Sign and add a revision, and log it."""


class Restored:
    """The gate that is shut after a restore, over PostgreSQL and the ledger."""

    def __init__(
        self,
        database: Database,
        registry: Rows,
        *,
        origins: Origins,
        entries: Entries,
    ) -> None:
        """Keep where rows and entries go, and who knows the origin."""
        self._database = database
        self._registry = registry
        self._origins = origins
        self._entries = entries
        self._agreed = ""

    async def origin(self) -> str:
        """Return the origin that nobody has agreed to yet, empty if there is none."""
        origin = self._origins.renewed
        if not origin or origin == self._agreed:
            return ""
        row = await self._registry.get(RESTORED_KIND, restored_id(origin))
        if not agreed(row, origin):
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
        """Open the gate for this origin.

        Raises:
            ConflictError: Somebody else just did.
        """
        change = Change(
            kind=RESTORED_KIND,
            row_id=restored_id(origin),
            body=restored_body(origin),
            by=(by,),
            at=entry.at,
            after=0,
        )
        await self._registry.put(change, entry)

"""The scribe: signs audit entries, and sees to it that they get into the log.

Entries are signed here, before they are staged; the ledger verifies them before they
count. The Journal port and the registry's Entries are both served from here.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

import structlog

from broker.core.record import envelope
from broker.core.transparency.entry_leaf import seal_entry
from broker.core.words.entry import AuditEntry, EntryKind
from broker.effects.ledger import SqlCall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from broker.core.jwk import PrivateKey
    from broker.effects.ledger import CheckpointKeeper, NewOrigin, PostgresLedger

_log = structlog.get_logger()


def entry_json(entry_id: str, leaf: bytes) -> dict[str, str]:
    """Return a signed entry as the functions stage it."""
    return {"entry_id": entry_id, "leaf": b64encode(leaf).decode()}


class Scribe:
    """Writes entries with this replica's entry key."""

    def __init__(
        self,
        ledger: PostgresLedger,
        *,
        key: PrivateKey | Callable[[], PrivateKey],
        keeper: CheckpointKeeper,
        gate: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Keep the log, the key that signs entries, and who asks for checkpoints.

        ``key`` may be asked for each entry, because the key can be replaced.
        ``gate`` may refuse to let anything be decided, for a reason of its own.
        """
        self.gate = gate
        self._ledger = ledger
        self._key = key if callable(key) else (lambda: key)
        self._keeper = keeper

    def signed(self, entries: Sequence[AuditEntry]) -> list[dict[str, str]]:
        """Return signed entries as SQL functions stage them."""
        return [entry_json(entry.entry_id, self._leaf(entry)) for entry in entries]

    async def integrated(self, entries: Sequence[AuditEntry]) -> None:
        """Bring entries into the log that a committed transaction has staged.

        Raises:
            LedgerUnavailableError: the log cannot take them now; they stay staged.
        """
        if entries:
            await self._ledger.integrate([entry.entry_id for entry in entries])

    async def record(self, entry: AuditEntry) -> None:
        """Integrate an entry that belongs to no transaction of ours."""
        await self._ledger.append([self._leaf(entry)])

    async def origin(
        self, new: NewOrigin, *, at: datetime, place: tuple[str, str, str]
    ) -> None:
        """Record that the log goes on under another name, with the id they all use.

        Args:
            new: The name, and its entry's id.
            at: Now.
            place: Tenant, environment and replica.
        """
        tenant, environment, replica = place
        await self.record(
            AuditEntry(
                entry_id=new.entry_id,
                kind=EntryKind.ORIGIN,
                at=at,
                tenant=tenant,
                environment=environment,
                detail={"origin": new.origin, "vkey": new.vkey},
                replica=replica,
            )
        )

    async def together(
        self, entries: Sequence[AuditEntry], function: str, document: Mapping[str, Any]
    ) -> bool:
        """Integrate entries and store rows in one group commit; False if none were.

        Args:
            entries: What is recorded.
            function: SQL function that takes ``jsonb[]``, one document per caller.
            document: This caller's.
        """
        leaves = [self._leaf(entry) for entry in entries]
        call = SqlCall(function, (document,))
        return await self._ledger.append_with(leaves, call) is not None

    async def ready(self) -> None:
        """Refuse to decide when the newest checkpoint is too far behind the log.

        Raises:
            LedgerUnavailableError: the signer has been away for too long.
            RestoredError: the database was restored, and nobody has agreed to that.
        """
        self._keeper.require_current()
        if self.gate is not None:
            await self.gate()

    def _leaf(self, entry: AuditEntry) -> bytes:
        if entry.kind is EntryKind.OUTCOME:
            # Said where every other alarm is: nobody watches single entries.
            for word in entry.detail.get("alarms", ()):
                _log.error("alarm", alarm=word, action=entry.action.get("action_id"))
        return seal_entry(envelope(entry), key=self._key())

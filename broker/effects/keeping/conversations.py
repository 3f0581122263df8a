"""Interactions and turns: the rows of the Store port that channels write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.sealed import interaction as interactions
from broker.effects.keeping import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.entry import AuditEntry
    from broker.core.words.subject import Interaction
    from broker.effects.database import Database
    from broker.effects.scribe import Scribe
    from broker.effects.vault import PayloadVault
    from broker.ports import NewTurn, Sealed

_INTERACTION = """
SELECT p.*, i.customer_ref, i.closed_at,
       (SELECT max(t.at) FROM turn t WHERE t.interaction_id = $1) AS heard_at
  FROM interaction i JOIN payload p USING (payload_id) WHERE i.interaction_id = $1
"""


class Conversations:
    """What the store knows of conversations; the sealed form of one is believed."""

    def __init__(
        self, database: Database, *, vault: PayloadVault, scribe: Scribe
    ) -> None:
        """Keep the adapters."""
        self._database = database
        self._vault = vault
        self._scribe = scribe

    async def interaction(self, interaction_id: str) -> Interaction | None:
        """Return an interaction from its sealed row, or None."""
        row = await self._database.row(_INTERACTION, interaction_id)
        if row is None:
            return None
        sealed = await self._vault.open(rows.draft_from(row), row["sealed"])
        found = interactions.from_payload(sealed)
        if found.interaction_id != interaction_id:
            return None
        # Whatever says that it is closed is believed.
        closed = found.closed_at or row["closed_at"]
        return replace(found, closed_at=closed, heard_at=row["heard_at"])

    async def open(
        self,
        interaction: Interaction,
        *,
        payload: Sealed,
        also: Sequence[Sealed],
        entry: AuditEntry,
    ) -> None:
        """Store a new interaction and integrate its entry."""
        document = {
            "interaction": rows.interaction_json(interaction, payload),
            "payloads": [rows.payload_json(sealed) for sealed in (payload, *also)],
            "entries": self._scribe.signed((entry,)),
        }
        await self._database.value("SELECT interaction_open($1)", document)
        await self._scribe.integrated((entry,))

    async def add_turn(self, turn: NewTurn) -> None:
        """Store what was said and integrate its entry."""
        document = {
            "turn": rows.turn_json(turn),
            "payloads": [rows.payload_json(turn.payload)],
            "entries": self._scribe.signed((turn.entry,)),
        }
        await self._database.value("SELECT turn_add($1)", document)
        await self._scribe.integrated((turn.entry,))

    async def end(
        self,
        interaction: Interaction,
        *,
        payload: Sealed,
        also: Sequence[Sealed],
        entry: AuditEntry,
    ) -> bool:
        """Store an interaction as closed; False if it is, or its customer changed."""
        document = {
            "interaction": rows.interaction_json(interaction, payload),
            "payloads": [rows.payload_json(sealed) for sealed in (payload, *also)],
            "entries": self._scribe.signed((entry,)),
        }
        sql = "SELECT interaction_end($1)"
        moved: bool = await self._database.value(sql, document)
        if moved:
            await self._scribe.integrated((entry,))
        return moved

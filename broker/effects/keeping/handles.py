"""Where values were seen before in an interaction: released fields and turns.

An exact match is found by a keyed hash of the value; texts (turns, notes) are searched
for the value as a whole word, because people write sentences around what they mean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from broker.core.sealed.action import outcome_from
from broker.core.words.labels import Integrity
from broker.core.words.subject import VerificationLevel
from broker.effects.keeping.rows import draft_from
from broker.ports import Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.words.subject import Interaction
    from broker.effects.database import Database
    from broker.effects.keeping.rows import Row
    from broker.effects.vault import PayloadVault

TURNS_SEARCHED_MAX = 200
TEXTS_SEARCHED_MAX = 500

# A place is said once, however often the agent looked there: what a call costs does
# not grow with the calls before it.
_RELEASED = """
SELECT DISTINCT lookup, integrity, source, kind FROM released_value
 WHERE interaction_id = $1 AND lookup = ANY($2)
"""
_TURNS = """
SELECT t.speaker, t.verification, p.* FROM turn t JOIN payload p USING (payload_id)
 WHERE t.interaction_id = $1 ORDER BY t.at DESC LIMIT $2
"""
# Free text of little integrity: the place where instructions are planted.
_TEXTS = """
SELECT v.pointer, v.integrity, v.source, p.*
  FROM released_value v JOIN action a USING (action_id)
  JOIN payload p ON p.payload_id = a.outcome_payload
 WHERE v.interaction_id = $1 AND v.data_class = 'free_text'
 ORDER BY a.created_at DESC, v.pointer LIMIT $2
"""


class PostgresHandles:
    """The Handles port."""

    def __init__(self, database: Database, *, vault: PayloadVault) -> None:
        """Keep where values are found and how they are opened."""
        self._database = database
        self._vault = vault

    async def origins(
        self, interaction: Interaction, values: Mapping[str, Any]
    ) -> Mapping[str, Sequence[Shown]]:
        """Return for each pointer every place where its value was seen before."""
        where = interaction.interaction_id
        lookups = {
            self._vault.reference("value", where, str(value)): pointer
            for pointer, value in values.items()
        }
        found: dict[str, list[Shown]] = {pointer: [] for pointer in values}
        released = await self._database.rows(_RELEASED, where, list(lookups))
        # Two arguments may carry the same value: both were seen there.
        same = {
            lookup: [p for p, v in values.items() if str(v) == str(values[pointer])]
            for lookup, pointer in lookups.items()
        }
        for row in released:
            shown = Shown(Integrity(row["integrity"]), row["source"], row["kind"])
            for pointer in same[row["lookup"]]:
                found[pointer].append(shown)
        missing = {p: str(values[p]) for p, places in found.items() if not places}
        if missing:
            for pointer, shown in await self._in_texts(where, missing):
                found[pointer].append(shown)
        return found

    async def ceilings(
        self, objects: Sequence[tuple[str, str, str]]
    ) -> Mapping[tuple[str, str, str], int]:
        """Return what bounds each (connector, kind, id), where a receipt said so."""
        refs = {self._vault.reference("object", *key): key for key in objects}
        found = await self._database.rows(
            "SELECT object_ref, sealed FROM object_ceiling WHERE object_ref = ANY($1)",
            list(refs),
        )
        facts = {
            refs[row["object_ref"]]: self._vault.open_fact(
                row["object_ref"], row["sealed"]
            )
            for row in found
        }
        return {key: fact["units"] for key, fact in facts.items() if fact is not None}

    async def _in_texts(
        self, interaction_id: str, missing: Mapping[str, str]
    ) -> list[tuple[str, Shown]]:
        patterns = {
            pointer: re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
            for pointer, value in missing.items()
        }
        places: list[tuple[str, Shown]] = []
        for text, shown in await self._texts(interaction_id):
            places += [
                (pointer, shown)
                for pointer, pattern in patterns.items()
                if pattern.search(text)
            ]
        return places

    async def _texts(self, interaction_id: str) -> list[tuple[str, Shown]]:
        texts = []
        turns = await self._database.rows(_TURNS, interaction_id, TURNS_SEARCHED_MAX)
        for row in turns:
            opened = await self._vault.open(draft_from(row), row["sealed"])
            said = Shown(_said(row), f"what the {row['speaker']} said", "")
            texts.append((str(opened["text"]), said))
        fields = await self._database.rows(_TEXTS, interaction_id, TEXTS_SEARCHED_MAX)
        results: dict[str, Mapping[str, Any]] = {}
        for row in fields:
            draft = draft_from(row)
            if draft.payload_id not in results:
                opened = await self._vault.open(draft, row["sealed"])
                results[draft.payload_id] = outcome_from(opened).result or {}
            value = _at(results[draft.payload_id], row["pointer"])
            shown = Shown(Integrity(row["integrity"]), row["source"], "")
            texts.append((str(value), shown))
        return texts


def _said(row: Row) -> Integrity:
    """Return how far a turn may be trusted: the agent's own words not at all."""
    if row["speaker"] != "customer":
        return Integrity.MODEL_AUTHORED
    if row["verification"] >= VerificationLevel.MATCHED:
        return Integrity.VERIFIED_CUSTOMER
    return Integrity.UNVERIFIED_CUSTOMER


def _at(value: Any, pointer: str) -> Any:  # noqa: ANN401
    for part in pointer.split("/")[1:]:
        if isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part.replace("~1", "/").replace("~0", "~"))
        else:
            return None
    return value

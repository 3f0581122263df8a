"""The Queue port over PostgreSQL.

A list is read along one index for each of a person's roles and merged, so that its cost
is that of a page and not that of what waits (tests/bench/waiting/lists.py measures it).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from broker.core.approvals.questions import QUESTIONS_MAX, Asking
from broker.core.approvals.timetable import CLAIM_S, CLAIM_TOTAL_S_MAX
from broker.core.words.errors import LedgerUnavailableError
from broker.effects.keeping import rows
from broker.effects.vault import ErasedError
from broker.effects.votes import DESK, on_desk
from broker.ports.queue import Away, Claimed, ClaimWord, Order, SaidWord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from broker.core.approvals.timetable import Mark
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.registry import Entries
    from broker.effects.vault import PayloadVault
    from broker.ports import OnDesk
    from broker.ports.queue import Listing, Saying

CLAIMS_HELD_MAX: Final = 20
"""How many approvals one person works on at once."""

UNREADABLE: Final = "unreadable"
"""Stands among the findings of a waiting action whose sealed record does not open."""

# Sort column, direction, comparison and type, by order.
_ORDERS: Final[Mapping[Order, tuple[str, str, str, str]]] = {
    Order.EXPIRY: ("expires_at", "ASC", ">", "timestamptz"),
    Order.AMOUNT: ("amount", "DESC", "<", "bigint"),
}
_FILTERS: Final = ("customer_ref", "agent_id", "tool")
# One seat per role: whoever has two of the roles sees an approval once. What belongs to
# the rows of the page is looked up for each of them (LIMIT 1 keeps the planner to it):
# joined, it would be read for everything that waits.
_PAGE = """
WITH found AS MATERIALIZED (
  SELECT DISTINCT s.approval_id, s.{key}
    FROM unnest($1::text[]) AS mine(role),
         LATERAL (SELECT x.approval_id, x.{key} FROM approval_seat x
                   WHERE x.role = mine.role{where}
                   ORDER BY x.{key} {way}, x.approval_id {way} LIMIT {limit}) s
   ORDER BY s.{key} {way}, s.approval_id {way} LIMIT {limit})
SELECT d.*, r.subject AS r_subject, r.purpose AS r_purpose, r.retention AS r_retention,
       r.data_class AS r_data_class, r.payload_id AS r_payload_id, r.sealed AS r_sealed
  FROM found f,
       LATERAL ({desk} WHERE b.approval_id = f.approval_id AND b.state = 'pending'
                 LIMIT 1) d,
       LATERAL (SELECT p.* FROM action s JOIN payload p
                    ON p.payload_id = s.request_payload
                 WHERE s.action_id = d.action_id LIMIT 1) r
 ORDER BY f.{key} {way}, f.approval_id {way}
"""
_CLAIMS = f"""{DESK}
 WHERE b.claimed_by = $1 AND b.state = 'pending'
   AND b.claimed_until > clock_timestamp()
 ORDER BY b.expires_at LIMIT {CLAIMS_HELD_MAX}
"""
_AWAY = """
SELECT person_id, deputy, away_until FROM approval_away
 WHERE person_id = $1 AND away_until > clock_timestamp()
"""
_QUESTIONS = """
SELECT q.question_id, q.number, q.asked_by, q.at, q.answered_at, p.*,
       r.payload_id AS answer_payload_id, r.subject AS answer_subject,
       r.purpose AS answer_purpose, r.retention AS answer_retention,
       r.data_class AS answer_data_class, r.sealed AS answer_sealed
  FROM approval_question q JOIN payload p USING (payload_id)
  LEFT JOIN payload r ON r.payload_id = q.answer_payload
 WHERE q.approval_id = $1 ORDER BY q.number
"""


class PostgresQueue:
    """Lists, claims, questions and absences, in PostgreSQL and the log."""

    def __init__(
        self,
        database: Database,
        *,
        vault: PayloadVault,
        entries: Entries,
    ) -> None:
        """Keep where rows and entries go."""
        self._database = database
        self._vault = vault
        self._entries = entries

    async def page(self, wanted: Listing) -> list[OnDesk]:
        """Return pending approvals in order, up to ``limit``."""
        query, values = page_query(wanted)
        found = await self._database.rows(query, *values)
        listed = [(on_desk(row), await self._findings(row)) for row in found]
        return [replace(one, findings=said) for one, said in listed if one is not None]

    async def mark(
        self, approval_id: str, mark: Mark, *, next_at: datetime, entry: AuditEntry
    ) -> bool:
        """Do what time has made due, once; False if it was done, or is over."""
        document = {
            "approval_id": approval_id,
            "kind": mark.kind.value,
            "role": mark.role,
            "next_at": next_at.isoformat(),
            "entries": self._entries.signed((entry,)),
        }
        new: bool = await self._database.value("SELECT approval_mark($1)", document)
        if new:
            await self._integrated(entry)
        return new

    async def claim(self, approval_id: str, *, person_id: str) -> Claimed:
        """Take an approval to work on it, for CLAIM_S."""
        answer = await self._database.value(
            "SELECT approval_claim($1, $2, $3, $4, $5)",
            approval_id,
            person_id,
            CLAIM_S,
            CLAIM_TOTAL_S_MAX,
            CLAIMS_HELD_MAX,
        )
        until = answer.get("until")
        return Claimed(
            ClaimWord(answer["word"]),
            by=answer.get("by", ""),
            until=datetime.fromisoformat(until) if until else None,
        )

    async def release(self, approval_id: str, *, person_id: str, to: str = "") -> bool:
        """Give a claim back, or to a deputy; False if it was not this person's."""
        mine: bool = await self._database.value(
            "SELECT approval_release($1, $2, $3)", approval_id, person_id, to
        )
        return mine

    async def claims(self, person_id: str) -> list[OnDesk]:
        """Return what a person works on."""
        found = await self._database.rows(_CLAIMS, person_id)
        listed = [on_desk(row) for row in found]
        return [one for one in listed if one is not None]

    async def away(self, person_id: str) -> Away | None:
        """Return whether a person is away now."""
        row = await self._database.row(_AWAY, person_id)
        return Away(row["person_id"], row["deputy"], row["away_until"]) if row else None

    async def set_away(self, person_id: str, away: Away | None) -> None:
        """Note that a person is away, or back."""
        await self._database.value(
            "SELECT approval_away_set($1, $2, $3)",
            person_id,
            away.deputy if away else "",
            away.until if away else None,
        )

    async def questions(self, approval_id: str) -> list[Asking]:
        """Return the questions about an approval, the first first."""
        found = await self._database.rows(_QUESTIONS, approval_id)
        return [await self._asking(row) for row in found]

    async def ask(self, saying: Saying) -> SaidWord:
        """Store a question, up to QUESTIONS_MAX of one approval."""
        document = self._document(saying)
        document |= {"person_id": saying.person_id, "most": QUESTIONS_MAX}
        return await self._said("SELECT question_ask($1)", document, saying)

    async def answer(self, saying: Saying) -> SaidWord:
        """Store the answer to a question, once."""
        document = self._document(saying)
        return await self._said("SELECT question_answer($1)", document, saying)

    async def _said(
        self, query: str, document: Mapping[str, object], saying: Saying
    ) -> SaidWord:
        word = SaidWord(await self._database.value(query, document))
        if word in {SaidWord.ASKED, SaidWord.ANSWERED}:
            await self._integrated(saying.entry)
        return word

    def _document(self, saying: Saying) -> dict[str, object]:
        return {
            "approval_id": saying.approval_id,
            "question_id": saying.question_id,
            "at": saying.at.isoformat(),
            "payload": saying.payload.ref.payload_id,
            "payloads": [rows.payload_json(saying.payload)],
            "entries": self._entries.signed((saying.entry,)),
        }

    async def _integrated(self, entry: AuditEntry) -> None:
        # It is durable and staged: whoever sequences next takes it along.
        with suppress(LedgerUnavailableError):
            await self._entries.integrated((entry,))

    async def _findings(self, row: asyncpg.Record) -> tuple[str, ...]:
        """Return what guards found, by the sealed record: a column could be changed."""
        try:
            opened = await self._vault.open(rows.draft_from(row, "r_"), row["r_sealed"])
            return tuple(sorted({code for code, _, _ in opened["findings"]}))
        except (ErasedError, KeyError, TypeError, ValueError):
            return (UNREADABLE,)

    async def _asking(self, row: asyncpg.Record) -> Asking:
        return Asking(
            question_id=str(row["question_id"]),
            number=row["number"],
            asked_by=row["asked_by"],
            at=row["at"],
            text=await self._text(row, ""),
            answer=await self._text(row, "answer_") if row["answered_at"] else "",
            answered_at=row["answered_at"],
        )

    async def _text(self, row: asyncpg.Record, prefix: str) -> str:
        draft = rows.draft_from(row, prefix)
        try:
            opened = await self._vault.open(draft, row[f"{prefix}sealed"])
        except (ErasedError, ValueError):
            return ""
        return str(opened.get("text", ""))


def page_query(wanted: Listing) -> tuple[str, Sequence[object]]:
    """Return the query of a page; what varies are names of ours, and parameters."""
    key, way, beyond, kind = _ORDERS[wanted.order]
    values: list[object] = [sorted({*wanted.roles})]
    where = ""
    for name in _FILTERS:
        value = getattr(wanted, name)
        if value:
            values.append(value)
            where += f" AND x.{name} = ${len(values)}"
    if wanted.after is not None:
        bound, approval_id = wanted.after
        sort_key = (
            datetime.fromisoformat(bound) if kind == "timestamptz" else int(bound)
        )
        values += [sort_key, approval_id]
        number = len(values)
        where += (
            f" AND (x.{key}, x.approval_id) {beyond}"
            f" (${number - 1}::{kind}, ${number}::uuid)"
        )
    # The limit is written out: with a parameter the planner would, from the sixth time
    # on, plan for a tenth of all that waits.
    limit = int(wanted.limit)
    query = _PAGE.format(key=key, way=way, where=where, limit=limit, desk=DESK)
    return query, values

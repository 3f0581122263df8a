"""The desk: approvals that wait, and the votes that were cast.

A row of a vote counts for nothing by itself: it is opened from its sealed payload, and
counts if the person's own key signed it, by the person's signed row. Columns find an
approval and keep its clock; what is asked is read from the sealed action.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg

from broker.core.approvals.card import WORDS_SHOWN_MAX, Said
from broker.core.approvals.confirmations import read_confirmation
from broker.core.approvals.timetable import CLAIM_S
from broker.core.approvals.votes import Voter, verify_vote
from broker.core.guard import value_at
from broker.core.identity.channel import claimed_channel
from broker.core.sealed.action import outcome_from
from broker.core.words.action import ActionState
from broker.core.words.approval import CUSTOMER, ApprovalState
from broker.core.words.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LedgerUnavailableError,
    UnauthenticatedError,
)
from broker.core.words.labels import Integrity
from broker.core.words.money import Money
from broker.core.words.subject import VerificationLevel
from broker.effects.keeping import rows
from broker.effects.vault import ErasedError
from broker.ports import CastWord, OnDesk
from broker.registry.channels import parse_channel
from broker.registry.people import parse_person
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.jwk import PublicKey
    from broker.core.words.approval import ApprovalRequest, Vote
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.registry import Entries
    from broker.effects.vault import PayloadVault
    from broker.ports import Ballot
    from broker.registry.authority import AuthorityRow

VOTES_MAX: Final = 200
"""Rows that are looked at for one approval, oldest first; more do not count."""

NAME_PARTS_MAX: Final = 8
_UNSIGNED: Final = (ForbiddenError, InvalidError, UnauthenticatedError)

_REQUEST = "SELECT * FROM approval WHERE approval_id = $1"
_VOTES = """
SELECT v.vote_id, v.person_id, p.*
  FROM vote v JOIN payload p USING (payload_id)
 WHERE v.approval_id = $1 ORDER BY v.at, v.vote_id LIMIT $2
"""
DESK: Final = """
SELECT b.*, a.state AS action_state, a.tool, a.agent_id, a.customer_ref,
       (SELECT count(*) FROM vote v WHERE v.approval_id = b.approval_id
           AND v.person_id <> 'customer') AS votes,
       greatest(0, extract(epoch FROM b.expires_at - clock_timestamp()))::float8
         AS left_s,
       greatest(0, extract(epoch FROM least(b.next_at, b.expires_at)
                                      - clock_timestamp()))::float8 AS due_s,
       clock_timestamp() AS looked_at
  FROM approval b JOIN action a USING (action_id)
"""
_FIND = f"{DESK} WHERE b.approval_id = $1"
_DUE = """
SELECT approval_id FROM approval
 WHERE state = 'pending' AND least(next_at, expires_at) <= clock_timestamp()
 ORDER BY least(next_at, expires_at) LIMIT $1
"""
_ENDED = f"""{DESK}
 WHERE b.ended_at IS NOT NULL AND b.role || b.escalated && $1
 ORDER BY b.ended_at DESC, b.approval_id LIMIT $2
"""
# Every start, claim, question, vote and end leaves a message or a notice; what is
# executed afterwards does not. Numbers are given before a commit, so that the newest
# alone would hide one that is committed late.
_PULSE = """
SELECT concat_ws(':', (SELECT max(outbox_id) FROM outbox),
  (SELECT md5(string_agg(notice_id::text, ','))
     FROM (SELECT notice_id FROM approval_notice ORDER BY notice_id DESC LIMIT 50) n),
  (SELECT md5(string_agg(a.action_id || a.state, ',' ORDER BY a.action_id))
     FROM (SELECT action_id FROM approval
            WHERE state = 'approved' AND ended_at > now() - interval '10 minutes'
            ORDER BY ended_at DESC LIMIT 200) b JOIN action a USING (action_id)))
"""
_HERE = """
SELECT b.approval_id FROM approval b JOIN action a USING (action_id)
 WHERE a.interaction_id = $1 AND b.state = 'pending'
 ORDER BY b.created_at, b.approval_id LIMIT $2
"""
_HELLO = """
UPDATE approval SET started_at = clock_timestamp()
 WHERE approval_id = $1 AND started_at IS NULL
"""
_TURNS = """
SELECT t.speaker, t.verification, t.at, p.*
  FROM turn t JOIN payload p USING (payload_id)
 WHERE t.interaction_id = $1 ORDER BY t.at DESC, t.turn_id DESC LIMIT $2
"""
# The newest read of the customer's own record in this interaction.
_NAME = """
SELECT v.pointer, p.*
  FROM released_value v JOIN action a USING (action_id)
  JOIN payload p ON p.payload_id = a.outcome_payload
 WHERE v.interaction_id = $1 AND v.data_class = 'name' AND v.integrity = $2
 ORDER BY a.created_at DESC, v.pointer LIMIT $3
"""
# The newest read of an object's own record: the one that names it at its top.
_RECORD = """
SELECT p.* FROM released_value v JOIN action a USING (action_id)
  JOIN payload p ON p.payload_id = a.outcome_payload
 WHERE v.interaction_id = $1 AND v.lookup = $2 AND v.kind = $3 AND v.integrity = $4
   AND v.pointer ~ '^/[^/]+$'
 ORDER BY a.created_at DESC LIMIT 1
"""


class People(Protocol):
    """Where signed rows come from."""

    async def get(self, kind: str, row_id: str) -> AuthorityRow | None:
        """Return the row in force, or None if there is none that verifies."""


class Votes:
    """The Desk port over PostgreSQL, with the signed rows of people."""

    def __init__(  # noqa: PLR0913  (rooms, by name)
        self,
        database: Database,
        *,
        vault: PayloadVault,
        people: People,
        entries: Entries,
        changed: Callable[[], None] = lambda: None,
        console: Sequence[PublicKey] = (),
        links: Sequence[PublicKey] = (),
    ) -> None:
        """Keep the adapters that votes go through.

        Args:
            database: PostgreSQL.
            vault: Opens the payloads of votes.
            people: The registry.
            entries: Signs and integrates log entries.
            changed: Called after a vote was stored: the outbox has something to send.
            console: What the broker's console votes are verified with; none where they
                do not count.
            links: What votes from mails are verified with.
        """
        self._database = database
        self._vault = vault
        self._people = people
        self._entries = entries
        self._changed = changed
        self._console = {key.kid: key for key in console}
        self._links = {key.kid: key for key in links}

    async def of(
        self, approval_id: str
    ) -> tuple[ApprovalRequest, tuple[Vote, ...]] | None:
        """Return an approval's columns and its votes whose signatures verify."""
        row = await self._database.row(_REQUEST, approval_id)
        if row is None:
            return None
        try:
            request = rows.approval_from(row)
        except ValueError:
            # Somebody wrote what no approval can say: then there is none.
            return None
        votes, _ = await self.votes(approval_id)
        return request, votes

    async def voter(self, person_id: str) -> Voter:
        """Return by whose signatures a person's votes count: nobody's if not active."""
        row = await self._people.get("person", person_id)
        if row is None:
            return Voter()
        with suppress(RowError):
            person = parse_person(row)
            if person.active:
                console = self._console if person.console_votes else {}
                return Voter(person.keys, console, self._links)
        return Voter()

    async def votes(self, approval_id: str) -> tuple[tuple[Vote, ...], frozenset[str]]:
        """Return the votes whose signatures verify, and the ids of all rows."""
        found = await self._database.rows(_VOTES, approval_id, VOTES_MAX)
        voters = {row["person_id"] for row in found} - {CUSTOMER}
        known = {person_id: await self.voter(person_id) for person_id in voters}
        votes = [
            await self._verified(row, known.get(row["person_id"], Voter()))
            for row in found
        ]
        seen = frozenset(str(row["vote_id"]) for row in found)
        return tuple(v for v in votes if v and v.approval_id == approval_id), seen

    async def cast(self, ballot: Ballot) -> tuple[CastWord, ApprovalState | None]:
        """Store a vote and what it leads to, in one transaction, and integrate it.

        Raises:
            ConflictError: the vote's id was used for another approval.
        """
        try:
            answer = await self._database.value(
                "SELECT vote_cast($1)", self._document(ballot)
            )
        except asyncpg.UniqueViolationError:
            msg = "this vote's jti was used before"
            raise ConflictError(msg, hint="sign a new vote") from None
        word = CastWord(answer["word"])
        if word is CastWord.COUNTED:
            self._changed()
            # It is durable and staged with its entry: whoever sequences next takes it
            # along, and nothing executes before the entry of its claim is in the log.
            with suppress(LedgerUnavailableError):
                await self._entries.integrated(ballot.entries)
        state = answer["state"]
        return word, ApprovalState(state) if state else None

    async def find(self, approval_id: str) -> OnDesk | None:
        """Return an approval's columns, or None."""
        row = await self._database.row(_FIND, approval_id)
        return on_desk(row) if row else None

    async def viewed(
        self, approval_id: str, *, person_id: str, shown: str, entry: AuditEntry
    ) -> bool:
        """Record that a person is shown a card; the same within a minute is one."""
        signed = self._entries.signed((entry,))
        kept: bool = await self._database.value(
            "SELECT card_viewed($1, $2, $3, $4)", approval_id, person_id, shown, signed
        )
        if kept:
            # It is durable and staged; whoever sequences next takes it along.
            with suppress(LedgerUnavailableError):
                await self._entries.integrated((entry,))
        return kept

    async def hello(self, approval_id: str) -> None:
        """Note that a run of the workflow asked about this approval."""
        await self._database.value(_HELLO, approval_id)

    async def ended(self, *, roles: Sequence[str], limit: int) -> list[OnDesk]:
        """Return approvals for these roles that ended, the latest first."""
        found = await self._database.rows(_ENDED, list(roles), limit)
        listed = [on_desk(row) for row in found]
        return [one for one in listed if one is not None]

    async def pulse(self) -> str:
        """Return a text that changes when an approval or what came of it changes."""
        return str(await self._database.value(_PULSE))

    async def here(self, interaction_id: str, *, limit: int) -> list[str]:
        """Return ids of approvals that wait in an interaction, the oldest first."""
        found = await self._database.rows(_HERE, interaction_id, limit)
        return [str(row["approval_id"]) for row in found]

    async def due(self, *, limit: int) -> list[str]:
        """Return ids of approvals for which time has made something due."""
        found = await self._database.rows(_DUE, limit)
        return [str(row["approval_id"]) for row in found]

    async def said(self, interaction_id: str) -> list[Said]:
        """Return the newest turns of an interaction, oldest first."""
        found = await self._database.rows(_TURNS, interaction_id, WORDS_SHOWN_MAX)
        turns = []
        for row in reversed(found):
            opened = await self._vault.open(rows.draft_from(row), row["sealed"])
            known = row["verification"] >= VerificationLevel.MATCHED
            turns.append(
                Said(
                    speaker=row["speaker"],
                    text=str(opened["text"]),
                    at=row["at"],
                    verified=row["speaker"] == "customer" and known,
                )
            )
        return turns

    async def name(self, interaction_id: str) -> str:
        """Return the customer's name as the system of record gave it, or nothing."""
        found = await self._database.rows(
            _NAME, interaction_id, Integrity.SYSTEM_OF_RECORD, NAME_PARTS_MAX
        )
        if not found:
            return ""
        newest = rows.draft_from(found[0])
        opened = await self._vault.open(newest, found[0]["sealed"])
        result = outcome_from(opened).result or {}
        parts = [
            value_at(result, row["pointer"])
            for row in found
            if str(row["payload_id"]) == newest.payload_id
        ]
        return " ".join(part for part in parts if isinstance(part, str))

    async def record(
        self, interaction_id: str, *, kind: str, object_id: str
    ) -> Mapping[str, Any]:
        """Return what the system of record last said of an object here, if it did."""
        lookup = self._vault.reference("value", interaction_id, object_id)
        row = await self._database.row(
            _RECORD, interaction_id, lookup, kind, Integrity.SYSTEM_OF_RECORD
        )
        if row is None:
            return {}
        try:
            opened = await self._vault.open(rows.draft_from(row), row["sealed"])
        except ErasedError:
            return {}
        return outcome_from(opened).result or {}

    async def _verified(self, row: asyncpg.Record, voter: Voter) -> Vote | None:
        try:
            opened = await self._vault.open(rows.draft_from(row), row["sealed"])
            jws = str(opened.get("jws"))
            if row["person_id"] == CUSTOMER:
                vote = await self._confirmation(jws)
            else:
                vote = verify_vote(jws, person_id=row["person_id"], voter=voter)
        except (ErasedError, ValueError, *_UNSIGNED):
            return None
        return vote if vote.vote_id == str(row["vote_id"]) else None

    async def _confirmation(self, jws: str) -> Vote:
        """Return what a customer said, if their channel's signed row stands for it."""
        row = await self._people.get("channel", claimed_channel(jws))
        if row is None:
            msg = "no channel signed this"
            raise UnauthenticatedError(msg)
        return read_confirmation(jws, channel=parse_channel(row).facts())

    def _document(self, ballot: Ballot) -> dict[str, Any]:
        vote, outcome = ballot.vote, ballot.outcome
        sealed = [ballot.payload, *([outcome] if outcome else [])]
        return {
            "approval_id": vote.approval_id,
            "vote_id": vote.vote_id,
            "person_id": vote.person_id,
            "word": vote.word.value,
            "digest": vote.digest,
            "at": vote.at.isoformat(),
            "payload": ballot.payload.ref.payload_id,
            "payloads": [rows.payload_json(one) for one in sealed],
            "entries": self._entries.signed(ballot.entries),
            "seen": sorted(ballot.seen),
            "state": ballot.state.value,
            "outcome": outcome.ref.payload_id if outcome else None,
            "per_hour": ballot.per_hour,
            "claim_s": CLAIM_S,
        }


def on_desk(row: asyncpg.Record) -> OnDesk | None:
    """Read a row; None if it says what no approval can say."""
    amount = None
    if row["amount"] is not None:
        try:
            amount = Money(row["amount"], row["currency"] or "")
        except ValueError:
            return None
    until = row["claimed_until"]
    claimed = until is not None and until > row["looked_at"]
    return OnDesk(
        approval_id=str(row["approval_id"]),
        action_id=str(row["action_id"]),
        action_state=ActionState(row["action_state"]),
        state=ApprovalState(row["state"]),
        tool=row["tool"],
        agent_id=row["agent_id"],
        customer_ref=row["customer_ref"],
        role=row["role"],
        approvers_min=row["approvers_min"],
        amount=amount,
        barred=frozenset(row["barred"]),
        votes=row["votes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        left_s=row["left_s"],
        due_s=row["due_s"],
        at=row["looked_at"],
        escalated=frozenset(row["escalated"]),
        claimed_by=row["claimed_by"] if claimed else "",
        claimed_until=row["claimed_until"] if claimed else None,
        simulated=row["simulated"],
    )

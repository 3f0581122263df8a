"""The store: actions and interactions in PostgreSQL, one SQL function per transaction.

What must not stand in clear is sealed in payloads; what decides is read from there, so
a changed column cannot change what is executed. Reads share the ledger's group commit.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from broker.core.limit import fits, with_totals
from broker.core.sealed import action as stored
from broker.core.sealed import interaction as interactions
from broker.core.warrants.reconcile import pause_s
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from broker.core.words.effect import is_consequential
from broker.effects.keeping import rows
from broker.effects.keeping.conversations import Conversations
from broker.effects.keeping.rows import ASKING_LEASE_S, lease_s
from broker.effects.limits.budgets import (
    current,
    line_document,
    over_rules,
    totals_of,
)
from broker.ports import Claim, NoRoom, PayloadDraft, Stored, StoredWord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import ApprovalRequest, Vote
    from broker.core.words.budget import BudgetKey, Line, Total
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.scribe import Scribe
    from broker.effects.vault import PayloadVault
    from broker.ports import Clock, Finish, NewAction, Shelf

_ACTION = """
SELECT a.*,
       r.subject AS r_subject, r.purpose AS r_purpose, r.retention AS r_retention,
       r.data_class AS r_data_class, r.payload_id AS r_payload_id, r.sealed AS r_sealed,
       o.subject AS o_subject, o.purpose AS o_purpose, o.retention AS o_retention,
       o.data_class AS o_data_class, o.payload_id AS o_payload_id, o.sealed AS o_sealed
  FROM action a
  JOIN payload r ON r.payload_id = a.request_payload
  LEFT JOIN payload o ON o.payload_id = a.outcome_payload
 WHERE a.action_id = $1
"""
# Claims whose replica is gone; a permit is stored as one.
_INTERRUPTED = """
SELECT action_id FROM action WHERE state = 'executing' AND lease_until < now()
 ORDER BY updated_at LIMIT $1
"""
# Waiting actions whose identity was revoked since: not by the clocks of whoever stored
# them, but by what their tokens were issued under.
# It is hashed: compared pair by pair, 10,000 waiting actions took a second.
_REVOKED = """
SELECT action_id FROM (
  SELECT DISTINCT a.action_id, a.created_at FROM action a
   CROSS JOIN LATERAL jsonb_each(a.epochs) AS seen (scope, epoch)
    JOIN revocation_epoch r ON r.scope = seen.scope AND r.epoch > seen.epoch::bigint
   WHERE a.state IN ('pending_approval', 'ready')) AS found
 ORDER BY created_at LIMIT $1
"""
_NEWEST = """
SELECT action_id FROM action WHERE agent_id = $1 AND kind = 'request'
 ORDER BY created_at DESC LIMIT $2
"""
_APPROVAL_END = {
    ActionState.REFUSED: ApprovalState.STALE,
    ActionState.CANCELLED: ApprovalState.WITHDRAWN,
    ActionState.EXPIRED: ApprovalState.EXPIRED,
    ActionState.FAILED: ApprovalState.STALE,
}


class VerifiedVotes(Protocol):
    """Where approvals and their votes are read, signatures verified."""

    async def of(
        self, approval_id: str
    ) -> tuple[ApprovalRequest, Sequence[Vote]] | None:
        """Return an approval and its votes whose signatures verify, or None."""


class PostgresStore(Conversations):
    """The Store port over PostgreSQL and the ledger."""

    def __init__(  # noqa: PLR0913  (the composition root fills them by name)
        self,
        database: Database,
        *,
        vault: PayloadVault,
        scribe: Scribe,
        shelf: Shelf,
        votes: VerifiedVotes,
        clock: Clock,
    ) -> None:
        """Keep the adapters that rows, payloads, entries and votes go through."""
        super().__init__(database, vault=vault, scribe=scribe)
        self._shelf = shelf
        self._votes = votes
        self._clock = clock

    async def earlier(self, dedupe: str) -> tuple[str, str] | None:
        """Return (action id, fingerprint) stored under this key, or None."""
        row = await self._database.row(
            "SELECT action_id, fingerprint FROM action WHERE dedupe = $1", dedupe
        )
        return (str(row["action_id"]), row["fingerprint"]) if row else None

    async def totals(
        self, keys: Sequence[BudgetKey], *, besides: str, member: str
    ) -> Mapping[BudgetKey, Total]:
        """Return what these budgets have posted and hold beside this action."""
        return await totals_of(self._database, keys, besides=besides, member=member)

    async def submit(self, new: NewAction) -> Stored:
        """Store a decided action with its reservation; integrate its entries."""
        record = new.record
        tool = self._shelf.tool(record.request.tool)
        where = await self.interaction(record.request.interaction_id)
        assert tool is not None  # noqa: S101  (the case was made from it)
        assert where is not None  # noqa: S101
        document: dict[str, Any] = {
            "action": rows.action_json(new, tool=tool, where=where),
            "payloads": [rows.payload_json(new.payload)],
            "lines": [line_document(x) for x in new.lines if not x.of_reading],
            "readings": [line_document(x) for x in new.lines if x.of_reading],
            "approval": rows.approval_json(new.approval) if new.approval else None,
        }
        together = not (
            is_consequential(tool.effect) or document["lines"] or new.approval
        )
        if together:
            kept = await self._scribe.together(new.entries, "action_reads", document)
            answer: dict[str, Any] = {
                "word": "ok" if kept else "unread",
                "action_id": record.request.action_id,
            }
        else:
            document["entries"] = self._scribe.signed(new.entries)
            answer = await current(self._database, "SELECT action_submit($1)", document)
        if answer["word"] == "unread":
            return await self._unread(new)
        word = StoredWord(answer["word"])
        if word is not StoredWord.OK:
            named = over_rules(new.lines, answer)
            return Stored(word, answer["action_id"], named)
        if "entries" in document:
            # If we die here, whoever sequences next takes the staged entry along.
            await self._scribe.integrated(new.entries)
        claim = None
        if new.claimed_by:
            until = self._clock.now() + timedelta(seconds=lease_s(tool))
            claim = Claim(record, new.claimed_by, record.warrant_id, until)
        return Stored(word, record.request.action_id, claim=claim)

    async def action(self, action_id: str) -> ActionRecord | None:
        """Return an action, or None."""
        row = await self._database.row(_ACTION, action_id)
        if row is None:
            return None
        sealed = await self._vault.open(rows.draft_from(row, "r_"), row["r_sealed"])
        outcome = None
        if row["o_sealed"] is not None:
            opened = await self._vault.open(rows.draft_from(row, "o_"), row["o_sealed"])
            outcome = stored.outcome_from(opened)
        elif row["code"]:
            outcome = stored.bare_outcome(row["state"], row["code"])
        return stored.from_payload(rows.columns_from(row), sealed, outcome)

    async def claim(
        self,
        action_id: str,
        *,
        replica: str,
        warrant_id: str,
        lines: Sequence[Line],
        entry: AuditEntry,
    ) -> Claim | NoRoom | None:
        """Take a ready action for execution; None if somebody else has it."""
        lasts_s = lease_s(self._shelf.tool(str(entry.action.get("tool"))))
        answer = await current(
            self._database,
            "SELECT action_claim($1, $2, $3, $4, $5, $6)",
            action_id,
            replica,
            lasts_s,
            warrant_id,
            [line_document(line) for line in lines],
            self._scribe.signed((entry,)),
        )
        if answer["word"] in {"over", "stale"}:
            return NoRoom(over_rules(lines, answer))
        if answer["word"] != "claimed":
            return None
        await self._scribe.integrated((entry,))
        return await self._claimed(action_id, replica, warrant_id, lasts_s)

    async def take_over(self, action_id: str, *, replica: str) -> Claim | None:
        """Take an executing action whose lease has lapsed, without a new warrant."""
        warrant_id = await self._database.value(
            "SELECT action_take_over($1, $2, $3)", action_id, replica, ASKING_LEASE_S
        )
        if warrant_id is None:
            return None
        return await self._claimed(action_id, replica, str(warrant_id), ASKING_LEASE_S)

    async def rearm(self, claim: Claim, *, warrant_id: str) -> Claim | None:
        """Give a taken-over action a new warrant; the old one can never be sent."""
        action_id, replica = claim.record.request.action_id, claim.replica
        mine = (action_id, replica, claim.warrant_id)
        lasts_s = lease_s(self._shelf.tool(claim.record.request.tool))
        if not await self._database.value(
            "SELECT action_rearm($1, $2, $3, $4, $5)", *mine, lasts_s, warrant_id
        ):
            return None
        return await self._claimed(action_id, replica, warrant_id, lasts_s)

    async def pause(self, claim: Claim) -> ActionRecord | None:
        """Leave what could not be sent alone for a while, each time for longer."""
        mine = (claim.record.request.action_id, claim.replica, claim.warrant_id)
        seconds = pause_s(claim.record, now=self._clock.now())
        sql = "SELECT action_pause($1, $2, $3, $4)"
        await self._database.value(sql, *mine, seconds)
        return await self.action(mine[0])

    async def refuse(
        self,
        action_id: str,
        *,
        claim: Claim | None,
        state: ActionState,
        code: str,
        entry: AuditEntry,
    ) -> bool:
        """End an action of which nothing was sent, and void what it held."""
        moved: bool = await self._database.value(
            "SELECT action_refuse($1, $2, $3, $4, $5, $6, $7)",
            action_id,
            claim.replica if claim else None,
            claim.warrant_id if claim else None,
            state.value,
            code,
            _APPROVAL_END[state].value,
            self._scribe.signed((entry,)),
        )
        if moved:
            await self._scribe.integrated((entry,))
        return moved

    async def finish(self, finish: Finish) -> bool:
        """Store an outcome; False if the claim was lost meanwhile."""
        record = finish.claim.record
        tool = self._shelf.tool(record.request.tool)
        document = await self._finish_json(finish)
        if tool is not None and not is_consequential(tool.effect):
            return await self._scribe.together(
                finish.entries, "action_reads", document | {"entries": []}
            )
        document["entries"] = self._scribe.signed(finish.entries)
        done: bool = await self._database.value("SELECT action_finish($1)", document)
        if done:
            await self._scribe.integrated(finish.entries)
        return done

    async def interrupted(self, *, limit: int) -> Sequence[str]:
        """Return ids of claims whose lease has lapsed."""
        found = await self._database.rows(_INTERRUPTED, limit)
        return [str(row["action_id"]) for row in found]

    async def newest(self, *, agent_id: str, limit: int) -> Sequence[str]:
        """Return ids of an agent's newest actions, newest first."""
        found = await self._database.rows(_NEWEST, agent_id, limit)
        return [str(row["action_id"]) for row in found]

    async def revoked(self, *, limit: int) -> Sequence[str]:
        """Return ids of waiting actions whose identity was revoked meanwhile."""
        found = await self._database.rows(_REVOKED, limit)
        return [str(row["action_id"]) for row in found]

    async def approval(
        self, approval_id: str
    ) -> tuple[ApprovalRequest, Sequence[Vote]] | None:
        """Return an approval and its votes whose signatures verify, or None."""
        return await self._votes.of(approval_id)

    async def _unread(self, new: NewAction) -> Stored:
        """Say which counters of what is read had no room, or that they only moved."""
        readings = [line for line in new.lines if line.of_reading]
        member = next((line.member for line in readings if line.member), "")
        totals = await totals_of(
            self._database, [line.key for line in readings], member=member
        )
        full = [x.rule_id for x in with_totals(readings, totals) if not fits(x)]
        word = StoredWord.OVER if full else StoredWord.STALE
        return Stored(word, new.record.request.action_id, tuple(full))

    async def _claimed(
        self, action_id: str, replica: str, warrant_id: str, lasts_s: int
    ) -> Claim | None:
        record = await self.action(action_id)
        if record is None:
            return None
        until = self._clock.now() + timedelta(seconds=lasts_s)
        return Claim(replace(record, warrant_id=warrant_id), replica, warrant_id, until)

    async def _finish_json(self, finish: Finish) -> dict[str, Any]:
        payloads = [rows.payload_json(finish.payload)]
        bind = None
        if finish.bind is not None:
            draft = PayloadDraft(
                payload_id=finish.bind_payload_id,
                subject=finish.bind.customer_ref,
                purpose="interaction",
                retention="interaction",
                data_class="interaction",
            )
            sealed = await self._vault.seal(interactions.to_payload(finish.bind), draft)
            payloads.append(rows.payload_json(sealed))
            bind = {
                "customer_ref": finish.bind.customer_ref,
                "verification": int(finish.bind.verification),
                "payload_id": draft.payload_id,
            }
        return {
            "action_id": finish.claim.record.request.action_id,
            "replica": finish.claim.replica,
            "warrant": finish.claim.warrant_id,
            "state": finish.state.value,
            "code": finish.code,
            "money": finish.money,
            "posted": finish.post_minor_units,
            "currency": finish.currency or None,
            "payload": finish.payload.ref.payload_id,
            "payloads": payloads,
            "values": [dict(value) for value in finish.values],
            "ceilings": [self._ceiling(one) for one in finish.ceilings],
            "bind": bind,
            "readings": [line_document(line) for line in finish.readings],
            "forget": finish.forget,
            "alarms": list(finish.alarms),
            "resolution": finish.resolution,
        }

    def _ceiling(self, bound: tuple[str, str, str, int]) -> dict[str, str]:
        connector, kind, name, units = bound
        ref = self._vault.reference("object", connector, kind, name)
        return rows.ceiling_json(ref, self._vault.seal_fact(ref, {"units": units}))

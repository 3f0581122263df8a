"""What a history leaves behind, in memory: a Store port, and the rows to store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from broker.cli.history.money import Money, is_over
from broker.cli.history.stage import STAMP, Seen
from broker.core import limit
from broker.core.sealed.interaction import to_payload
from broker.core.words.action import ActionRecord, ActionState
from broker.core.words.approval import ApprovalRequest, ApprovalState, Vote
from broker.core.words.budget import BudgetKey, Line, Total, Window
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.moment import read_moment
from broker.core.words.subject import Interaction
from broker.effects.keeping import rows
from broker.ports import (
    Ballot,
    Claim,
    Clock,
    Finish,
    NewAction,
    NewTurn,
    NoRoom,
    PayloadDraft,
    Sealed,
    Shelf,
    Stored,
    StoredWord,
    Vault,
)

_NOT_SIGNED: Final = {"typ": None, "person_kid": None, "vote_sha256": None}
_LEASE: Final = timedelta(seconds=20)


def stamped(entry: AuditEntry, *, loaded_at: datetime) -> AuditEntry:
    """Return an entry that says that it is simulated, and takes nothing of today.

    Nobody signed a vote, no edge gave a receipt: what would prove that is left empty.
    """
    detail = {**entry.detail, STAMP: True}
    if "reserved" in detail:
        detail["reserved"] = [
            one
            for one in detail["reserved"]
            if is_over(
                Window(one["window"]), read_moment(one["since"]), loaded_at=loaded_at
            )
        ]
    if entry.kind is EntryKind.VOTE:
        detail |= _NOT_SIGNED
    if "receipt_sha256" in detail:
        detail["receipt_sha256"] = None
    return replace(entry, detail=detail, replica=STAMP)


@dataclass(slots=True)
class Kept:
    """The rows that a history consists of, as the tables have them."""

    interactions: list[dict[str, Any]] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    votes: list[dict[str, Any]] = field(default_factory=list)
    payloads: list[Sealed] = field(default_factory=list)
    entries: list[AuditEntry] = field(default_factory=list)


class MemoryStore:
    """What of the Store port the flow asks for, over a `Kept`."""

    def __init__(
        self,
        *,
        vault: Vault,
        shelf: Shelf,
        clock: Clock,
        seen: Seen,
        loaded_at: datetime,
    ) -> None:
        """Begin with nothing."""
        self.kept = Kept()
        self._vault, self._shelf, self._clock, self._seen = vault, shelf, clock, seen
        self.loaded_at = loaded_at
        self.money = Money(loaded_at)
        self._records: dict[str, ActionRecord] = {}
        self._where: dict[str, Interaction] = {}
        self._requests: dict[str, ApprovalRequest] = {}
        self._votes: dict[str, list[Vote]] = {}

    # ------------------------------------------------------------------ conversations

    async def interaction(self, interaction_id: str) -> Interaction | None:
        """Return an interaction that is still going on."""
        return self._where.get(interaction_id)

    async def open(
        self,
        interaction: Interaction,
        *,
        payload: Sealed,
        also: Sequence[Sealed],
        entry: AuditEntry,
    ) -> None:
        """Begin an interaction; its row is made when it ends."""
        self._where[interaction.interaction_id] = interaction
        self._keep((payload, *also), (entry,))

    async def add_turn(self, turn: NewTurn) -> None:
        """Keep what was said."""
        self.kept.turns.append({**rows.turn_json(turn), "at": turn.at})
        self._keep((turn.payload,), (turn.entry,))

    async def close(self, interaction_id: str, payload_id: str) -> None:
        """End an interaction, which nothing can be asked in from then on."""
        ended = replace(self._where.pop(interaction_id), closed_at=self._clock.now())
        draft = PayloadDraft(
            payload_id, ended.customer_ref, "interaction", "interaction", "interaction"
        )
        payload = await self._vault.seal(to_payload(ended), draft)
        self._keep((payload,), ())
        times = {"opened_at": ended.opened_at, "closed_at": ended.closed_at}
        row = {**rows.interaction_json(ended, payload), **times}
        self.kept.interactions.append(row)

    # -------------------------------------------------------------------------- actions

    async def earlier(self, dedupe: str) -> tuple[str, str] | None:
        """Return none: nobody repeats a call."""
        return None

    async def action(self, action_id: str) -> ActionRecord | None:
        """Return an action as it stands."""
        return self._records.get(action_id)

    async def submit(self, new: NewAction) -> Stored:
        """Keep a decided action and what it holds, if there is room."""
        record, action_id = new.record, new.record.request.action_id
        over = tuple(line.rule_id for line in new.lines if not limit.fits(line))
        if over:
            return Stored(StoredWord.OVER, action_id, over)
        tool = self._shelf.tool(record.request.tool)
        assert tool is not None  # noqa: S101  (the case was made from it)
        where = self._where[record.request.interaction_id]
        times = {"created_at": record.created_at, "expires_at": record.expires_at}
        unleased = {"dedupe": None, "lease_replica": None}
        row = rows.action_json(new, tool=tool, where=where)
        del row["lease_s"]
        self.kept.actions[action_id] = {
            **row,
            **times,
            **unleased,
            "outcome_payload": None,
            "updated_at": self._clock.now(),
        }
        self._records[action_id] = record
        self._keep((new.payload,), new.entries)
        self.money.count_reads(
            [x for x in new.lines if x.of_reading], record.customer_ref
        )
        self.money.hold(action_id, [x for x in new.lines if not x.of_reading])
        if new.approval is not None:
            self._ask(new.approval)
        claim = None
        if new.claimed_by:
            claim = self._claimed(action_id, record.warrant_id)
        return Stored(StoredWord.OK, action_id, claim=claim)

    async def claim(
        self,
        action_id: str,
        *,
        replica: str,
        warrant_id: str,
        lines: Sequence[Line],
        entry: AuditEntry,
    ) -> Claim | NoRoom | None:
        """Take an approved action, in the windows of the clock."""
        over = tuple(line.rule_id for line in lines if not limit.fits(line))
        if over:
            return NoRoom(over)
        self.money.end(action_id, "voided", None)
        self.money.hold(action_id, lines)
        self._keep((), (entry,))
        return self._claimed(action_id, warrant_id)

    async def refuse(
        self,
        action_id: str,
        *,
        claim: Claim | None,
        state: ActionState,
        code: str,
        entry: AuditEntry,
    ) -> bool:
        """End an action of which nothing was sent."""
        del claim
        self.money.end(action_id, "voided", None)
        self._move(action_id, state, code=code)
        ended = {
            ActionState.CANCELLED: ApprovalState.WITHDRAWN,
            ActionState.EXPIRED: ApprovalState.EXPIRED,
        }
        approval_id = self._records[action_id].approval_id
        if approval_id and self.kept.approvals[approval_id]["ended_at"] is None:
            self._answer(approval_id, ended.get(state, ApprovalState.STALE))
        self._keep((), (entry,))
        return True

    async def finish(self, finish: Finish) -> bool:
        """Keep an outcome, and post what moved."""
        record = finish.claim.record
        action_id = record.request.action_id
        state = "posted" if finish.money == "post" else "voided"
        self.money.end(action_id, state, finish.post_minor_units)
        self._move(action_id, finish.state, code=finish.code, payload=finish.payload)
        self._keep((finish.payload,), finish.entries)
        self.money.count_reads(finish.readings, record.customer_ref)
        self._seen.show(record.request.interaction_id, finish.values)
        for connector, kind, name, units in finish.ceilings:
            self._seen.paid[connector, kind, name] = units
        return True

    # ------------------------------------------------------------------ people who sign

    async def approval(
        self, approval_id: str
    ) -> tuple[ApprovalRequest, Sequence[Vote]] | None:
        """Return what was asked, and the votes."""
        found = self._requests.get(approval_id)
        return (found, self._votes[approval_id]) if found else None

    async def cast(self, ballot: Ballot) -> None:
        """Keep a vote, and what it leads to."""
        vote, action_id = ballot.vote, self._requests[ballot.vote.approval_id].action_id
        self._votes[vote.approval_id].append(vote)
        outcome = (ballot.outcome,) if ballot.outcome else ()
        self._keep((ballot.payload, *outcome), ballot.entries)
        self.kept.votes.append(
            {
                "vote_id": vote.vote_id,
                "approval_id": vote.approval_id,
                "person_id": vote.person_id,
                "word": vote.word.value,
                "payload_id": ballot.payload.ref.payload_id,
                "at": vote.at,
                "cast_at": vote.at,
            }
        )
        if ballot.state is ApprovalState.PENDING:
            return
        self._answer(vote.approval_id, ballot.state)
        if ballot.state is ApprovalState.APPROVED:
            self._move(action_id, ActionState.READY)
            return
        self.money.end(action_id, "voided", None)
        refused = ActionState.REFUSED
        self._move(action_id, refused, code="rejected", payload=ballot.outcome)

    def _ask(self, one: ApprovalRequest) -> None:
        self._requests[one.approval_id] = one
        self._votes[one.approval_id] = []
        # Of a history nothing becomes due; COPY takes times as they are.
        times = {
            "created_at": one.created_at,
            "expires_at": one.expires_at,
            "next_at": one.expires_at,
        }
        self.kept.approvals[one.approval_id] = {
            **rows.approval_json(one),
            **times,
            "action_id": one.action_id,
            "state": one.state.value,
            "ended_at": None,
        }

    def _answer(self, approval_id: str, state: ApprovalState) -> None:
        ended = {"state": state.value, "ended_at": self._clock.now()}
        self.kept.approvals[approval_id] |= ended

    async def totals(
        self, keys: Sequence[BudgetKey], *, besides: str, member: str
    ) -> Mapping[BudgetKey, Total]:
        """Return what these budgets have taken so far, this action left out."""
        return self.money.totals(keys, besides=besides, member=member)

    # ------------------------------------------------------------------------ the parts

    def _claimed(self, action_id: str, warrant_id: str) -> Claim:
        self._move(action_id, ActionState.EXECUTING)
        record = replace(self._records[action_id], warrant_id=warrant_id)
        self._records[action_id] = record
        self.kept.actions[action_id]["warrant_id"] = warrant_id
        return Claim(record, STAMP, warrant_id, self._clock.now() + _LEASE)

    def _move(
        self,
        action_id: str,
        state: ActionState,
        *,
        code: str = "",
        payload: Sealed | None = None,
    ) -> None:
        record = replace(self._records[action_id], state=state)
        self._records[action_id] = record
        self.kept.actions[action_id] |= {
            "state": state.value,
            "code": code,
            "outcome_payload": payload.ref.payload_id if payload else None,
            "updated_at": self._clock.now(),
        }

    def _keep(self, payloads: Sequence[Sealed], entries: Sequence[AuditEntry]) -> None:
        self.kept.payloads += payloads
        self.kept.entries += [
            stamped(entry, loaded_at=self.loaded_at) for entry in entries
        ]

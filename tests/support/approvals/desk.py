"""The desk in memory: the same promises as the one in PostgreSQL.

It passes the same contract suite (tests/contracts/test_desk.py). Rows that somebody
else put there (``forge``) are seen, and do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.approvals.votes import Voter
from broker.core.words.action import ActionState
from broker.core.words.approval import ApprovalState
from broker.ports import CastWord, OnDesk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from broker.core.approvals.card import Said
    from broker.core.words.approval import Vote
    from broker.core.words.entry import AuditEntry
    from broker.ports import Ballot

_LEADS = {
    ApprovalState.APPROVED: ActionState.READY,
    ApprovalState.REJECTED: ActionState.REFUSED,
}


@dataclass
class FakeDesk:
    """Approvals and votes in memory; ``keys`` are the people's, by person id."""

    now: Callable[[], datetime]
    keys: Mapping[str, Voter] = field(default_factory=dict)
    rows: dict[str, OnDesk] = field(default_factory=dict)
    cast_votes: dict[str, list[Vote]] = field(default_factory=dict)
    forged: dict[str, set[str]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    views: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    turns: list[Said] = field(default_factory=list)
    customer: str = ""
    records: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def put(self, row: OnDesk) -> None:
        """Let an approval wait."""
        self.rows[row.approval_id] = row

    def forge(self, approval_id: str, vote_id: str) -> None:
        """Put a row there that nobody signed."""
        self.forged.setdefault(approval_id, set()).add(vote_id)

    async def voter(self, person_id: str) -> Voter:
        return self.keys.get(person_id, Voter())

    async def votes(self, approval_id: str) -> tuple[Sequence[Vote], frozenset[str]]:
        votes = self.cast_votes.get(approval_id, [])
        seen = {vote.vote_id for vote in votes} | self.forged.get(approval_id, set())
        return tuple(votes), frozenset(seen)

    async def cast(self, ballot: Ballot) -> tuple[CastWord, ApprovalState | None]:
        vote = ballot.vote
        row = self.rows.get(vote.approval_id)
        if row is None:
            return CastWord.UNKNOWN, None
        _, stand = await self.votes(vote.approval_id)
        if vote.vote_id in stand:
            return CastWord.REPEATED, row.state
        if row.state is not ApprovalState.PENDING:
            return CastWord.CLOSED, row.state
        if row.expires_at <= self.now():
            return CastWord.EXPIRED, row.state
        if not stand <= ballot.seen:
            return CastWord.MOVED, row.state
        self.cast_votes.setdefault(vote.approval_id, []).append(vote)
        action = _LEADS.get(ballot.state, row.action_state)
        self.put(replace(row, state=ballot.state, action_state=action))
        return CastWord.COUNTED, ballot.state

    async def find(self, approval_id: str) -> OnDesk | None:
        row = self.rows.get(approval_id)
        if row is None:
            return None
        left_s = max(0.0, (row.expires_at - self.now()).total_seconds())
        _, stand = await self.votes(approval_id)
        return replace(
            row, left_s=left_s, due_s=left_s, at=self.now(), votes=len(stand)
        )

    async def viewed(
        self, approval_id: str, *, person_id: str, shown: str, entry: AuditEntry
    ) -> bool:
        key, now = (approval_id, person_id, shown), self.now()
        before = self.views.get(key)
        if before is not None and now - before < timedelta(minutes=1):
            return False
        self.views[key] = now
        return True

    async def hello(self, approval_id: str) -> None:
        self.heard.add(approval_id)

    async def ended(self, *, roles: Sequence[str], limit: int) -> Sequence[OnDesk]:
        found = [await self.find(approval_id) for approval_id in reversed(self.rows)]
        return [
            row
            for row in found
            if row and row.state is not ApprovalState.PENDING and row.role in roles
        ][:limit]

    async def pulse(self) -> str:
        return repr((self.rows, self.cast_votes))

    async def here(self, interaction_id: str, *, limit: int) -> Sequence[str]:
        return []

    async def due(self, *, limit: int) -> Sequence[str]:
        late = [
            row
            for row in self.rows.values()
            if row.state is ApprovalState.PENDING and row.expires_at <= self.now()
        ]
        return [r.approval_id for r in sorted(late, key=lambda r: r.expires_at)][:limit]

    async def said(self, interaction_id: str) -> Sequence[Said]:
        return self.turns

    async def name(self, interaction_id: str) -> str:
        return self.customer

    async def record(
        self, interaction_id: str, *, kind: str, object_id: str
    ) -> Mapping[str, Any]:
        return self.records.get((kind, object_id), {})

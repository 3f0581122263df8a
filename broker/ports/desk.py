"""Where approvals wait, and where votes are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.approvals.card import Said
    from broker.core.approvals.votes import Voter
    from broker.core.words.approval import ApprovalState, Vote
    from broker.core.words.entry import AuditEntry
    from broker.ports.values import Ballot, CastWord, OnDesk


class Desk(Protocol):
    """Where approvals wait, and where votes are counted."""

    async def voter(self, person_id: str) -> Voter:
        """Return by whose signatures a person's votes count, by their signed row."""

    async def votes(self, approval_id: str) -> tuple[Sequence[Vote], frozenset[str]]:
        """Return the votes whose signatures verify, and the ids of all rows."""

    async def cast(self, ballot: Ballot) -> tuple[CastWord, ApprovalState | None]:
        """Store a vote and what it leads to, in one transaction, and integrate it."""

    async def find(self, approval_id: str) -> OnDesk | None:
        """Return an approval's columns, or None."""

    async def viewed(
        self, approval_id: str, *, person_id: str, shown: str, entry: AuditEntry
    ) -> bool:
        """Record that a person is shown a card; False if they were within a minute."""

    async def hello(self, approval_id: str) -> None:
        """Note that a run of the workflow asked about this approval."""

    async def ended(self, *, roles: Sequence[str], limit: int) -> Sequence[OnDesk]:
        """Return approvals for these roles that ended, the latest first."""

    async def pulse(self) -> str:
        """Return a text that changes when an approval or what came of it changes."""

    async def here(self, interaction_id: str, *, limit: int) -> Sequence[str]:
        """Return ids of approvals that wait in an interaction, the oldest first."""

    async def due(self, *, limit: int) -> Sequence[str]:
        """Return ids of approvals for which time has made something due."""

    async def said(self, interaction_id: str) -> Sequence[Said]:
        """Return the newest turns of an interaction, up to WORDS_SHOWN_MAX."""

    async def name(self, interaction_id: str) -> str:
        """Return the customer's name as the system of record gave it, or nothing."""

    async def record(
        self, interaction_id: str, *, kind: str, object_id: str
    ) -> Mapping[str, Any]:
        """Return what the system of record last said of an object here, if it did."""

"""Actions that wait for people, found and stored again when a policy was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.effects.keeping import rows
from broker.effects.limits.budgets import line_document
from broker.ports import Redecided, RedecidedWord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.effects.database import Database
    from broker.effects.scribe import Scribe
    from broker.ports import Redecision

# Each replica takes them in an order of its own, so that two of them seldom decide the
# same action; if they do, the second finds it gone.
_OUTDATED = """
SELECT action_id FROM action
 WHERE policy_version < $1 AND state IN ('pending_approval', 'ready')
   AND approval_id IS NOT NULL
 ORDER BY md5(action_id::text || $2) LIMIT $3
"""


class PostgresWaiting:
    """The Waiting port over PostgreSQL and the ledger."""

    def __init__(
        self,
        database: Database,
        *,
        scribe: Scribe,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep where rows and entries go; ``changed`` tells the outbox of a message."""
        self._database = database
        self._scribe = scribe
        self._changed = changed

    async def outdated(
        self, *, version: int, replica: str, limit: int
    ) -> Sequence[str]:
        """Return ids of waiting actions that an earlier version decided."""
        found = await self._database.rows(_OUTDATED, version, replica, limit)
        return [str(row["action_id"]) for row in found]

    async def redecide(self, new: Redecision) -> Redecided:
        """Store what a new policy says of a waiting action, in one transaction."""
        asked: dict[str, Any] | None = None
        if new.approval is not None and new.payload is not None:
            asked = {
                "approval": rows.approval_json(new.approval),
                "request_payload": new.payload.ref.payload_id,
            }
        answer = await self._database.value(
            "SELECT action_redecide($1)",
            {
                "action_id": new.before.request.action_id,
                "approval_before": new.before.approval_id,
                "version_before": new.before.policy_version,
                "version": new.policy_version,
                "lines": [line_document(line) for line in new.lines],
                "payloads": [rows.payload_json(new.payload)] if new.payload else [],
                "entries": self._scribe.signed((new.entry,)),
                "asked": asked,
            },
        )
        word = RedecidedWord(answer["word"])
        if word is RedecidedWord.OK:
            # If we die here, whoever sequences next takes the staged entry along.
            self._changed()
            await self._scribe.integrated((new.entry,))
        over = {one["budget_id"] for one in answer.get("over") or []}
        named = tuple(line.rule_id for line in new.lines if line.budget_id in over)
        return Redecided(word, named)

"""An edge and a shop whose memory outlives the process that asks them.

What the edge was told to send, what came back, and what the shop refunded are rows that
commit one after the other, as the edge's fsynced journal and an upstream do. A broker
that is killed in between leaves them as they are. The shop keeps no idempotency keys:
whatever it is sent, it refunds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.execute import RunError
from broker.core.words.warrant import SentState
from broker.ports import Ran
from tests.support.flow.executor import FakeExecutor, made_receipt

if TYPE_CHECKING:
    from broker.core.words.warrant import Receipt, Warrant
    from broker.effects.database import Database

TABLES = """
CREATE TABLE kept_warrant (
  warrant_id text PRIMARY KEY, action_id text NOT NULL, state text NOT NULL,
  status int NOT NULL DEFAULT 0, said jsonb NOT NULL DEFAULT '{}');
CREATE TABLE kept_refund (
  warrant_id text PRIMARY KEY, action_id text NOT NULL, amount bigint NOT NULL);


-- Each admission must leave its budget within the limit that admitted it.
CREATE TABLE kept_overspent (rule_id text, total bigint, most bigint);
CREATE TABLE kept_admission (rule_id text);
CREATE FUNCTION kept_admitted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  total bigint := NEW.held
    + budget_posted(NEW.budget_id, NEW.span, NEW.posted, clock_timestamp());
BEGIN
  INSERT INTO kept_admission VALUES (NEW.rule_id);
  IF total > NEW.limit_seen THEN
    INSERT INTO kept_overspent VALUES (NEW.rule_id, total, NEW.limit_seen);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER kept_admitted AFTER UPDATE ON budget FOR EACH ROW
  WHEN (NEW.held > OLD.held) EXECUTE FUNCTION kept_admitted();
GRANT SELECT ON kept_overspent, kept_admission TO cf_broker;
GRANT SELECT, INSERT, UPDATE ON kept_warrant, kept_refund TO cf_broker;
"""


class KeptEdge(FakeExecutor):
    """The Executor port over those tables."""

    def __init__(self, database: Database) -> None:
        """Keep the pool."""
        super().__init__()
        self._database = database

    async def refunds(self) -> dict[str, list[int]]:
        """Return what the shop refunded, by action."""
        found: dict[str, list[int]] = {}
        for row in await self._database.rows("SELECT * FROM kept_refund"):
            found.setdefault(row["action_id"], []).append(row["amount"])
        return found

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:
        """Send it, once in all."""
        mine = await self._database.value(
            "INSERT INTO kept_warrant VALUES ($1, $2, 'sent')"
            " ON CONFLICT DO NOTHING RETURNING true",
            warrant.warrant_id,
            warrant.action_id,
        )
        if not mine:
            spent = await self._receipt(warrant.warrant_id)
            return Ran(None, RunError("warrant_spent", ""), spent, "jws")
        # If we die here, it was sent for all that anybody knows.
        status, body = self._shop(warrant)
        if warrant.tool == "orders.refund":
            await self._database.value(
                "INSERT INTO kept_refund VALUES ($1, $2, $3)",
                warrant.warrant_id,
                warrant.action_id,
                warrant.arguments["amount_minor_units"],
            )
        # If we die here, the shop has done it, and nobody was told.
        await self._database.value(
            "UPDATE kept_warrant SET state = 'answered', status = $2, said = $3"
            " WHERE warrant_id = $1",
            warrant.warrant_id,
            status,
            self._values(warrant, body),
        )
        return Ran(body, None, await self._receipt(warrant.warrant_id), "jws")

    async def ask(self, warrant_id: str, action_id: str) -> Ran:
        """Say what became of a warrant; what was not sent never will be."""
        await self._database.value(
            "INSERT INTO kept_warrant VALUES ($1, $2, 'not_sent')"
            " ON CONFLICT DO NOTHING",
            warrant_id,
            action_id,
        )
        receipt = await self._receipt(warrant_id)
        return Ran(None, RunError("interrupted", ""), receipt, "jws")

    async def _receipt(self, warrant_id: str) -> Receipt:
        [row] = await self._database.rows(
            "SELECT * FROM kept_warrant WHERE warrant_id = $1", warrant_id
        )
        said: dict[str, Any] = row["said"]
        state = SentState(row["state"])
        return made_receipt(warrant_id, row["action_id"], state, row["status"], said)

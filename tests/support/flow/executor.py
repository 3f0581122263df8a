"""A runner, an edge and a small shop in memory, for tests of the flow.

It keeps the edge's promises: a warrant is spent once, "not sent" is final, and receipts
carry what the upstream said. Faults are switched on by name.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from broker.core.execute import RunError
from broker.core.jws import sign
from broker.core.warrants.orders import receipt_claims
from broker.core.words.errors import ExecutorUnavailableError
from broker.core.words.warrant import RECEIPT_TYP, Receipt, SentState
from broker.ports import Ran
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from broker.core.warrants.probes import ProbeOrder
    from broker.core.words.warrant import Warrant

CUSTOMER = "noah_brown_6181"
ORDER = "W7678072"
PAID = 53_665
CARD = "credit_card_7815826"


@dataclass
class FakeExecutor:
    """The Executor port; ``moved`` is what the shop really refunded, by order."""

    down: bool = False
    fault: str = ""
    dies: bool = False
    moved: list[tuple[str, int, str]] = field(default_factory=list)
    runs: list[Warrant] = field(default_factory=list)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    void: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    revoked: Callable[[Warrant], bool] = lambda _: False
    paid: int = PAID
    reaches: bool = False
    reversed: list[Warrant] = field(default_factory=list)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    def amounts(self) -> list[int]:
        """Return what was refunded, in order."""
        return [amount for _, amount, _ in self.moved]

    async def address(self) -> tuple[str, str]:
        if self.down:
            msg = "down"
            raise ExecutorUnavailableError(msg)
        return "edge-1", "boot-1"

    def order(self, order: ProbeOrder) -> str:
        return f"order:{order.order_id}"

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:  # noqa: PLR0911
        await self.address()
        if self.dies:
            # As if this replica's process ended here.
            raise asyncio.CancelledError
        self.runs.append(warrant)
        spent = self.receipts.get(warrant.warrant_id)
        if spent is not None:
            return Ran(None, RunError("warrant_spent", ""), spent, "jws")
        if warrant.warrant_id in self.void:
            return self._not_sent(warrant, "warrant_spent")
        if self.revoked(warrant):
            return self._not_sent(warrant, "revoked")
        if self.fault == "before_send":
            return self._not_sent(warrant, "crashed")
        if self.fault == "no_answer" and warrant.idempotency_key:
            return self._unanswered(warrant)
        status, body = self._shop(warrant)
        values = self._values(warrant, body)
        self._keep(warrant, SentState.ANSWERED, status, values)
        if self.fault == "lost":
            return Ran(None, RunError("lost", ""), None)
        receipt = self.receipts[warrant.warrant_id]
        if status == 404 and warrant.tool == "customers.verify":
            return Ran({"matched": False}, None, receipt, "jws")
        if status >= 400:
            return Ran(None, RunError("connector_error", ""), receipt, "jws")
        result = {"matched": True} if warrant.tool == "customers.verify" else body
        return Ran(result, None, receipt, _signed(receipt))

    async def ask(self, warrant_id: str, action_id: str) -> Ran:
        await self.address()
        receipt = self.receipts.get(warrant_id)
        if receipt is None:
            self.void.add(warrant_id)
            receipt = made_receipt(warrant_id, action_id, SentState.NOT_SENT, 0, {})
        return Ran(None, RunError("interrupted", ""), receipt, "jws")

    def _unanswered(self, warrant: Warrant) -> Ran:
        if self.reaches:
            self._shop(warrant)
        self._keep(warrant, SentState.SENT, 0, {})
        return Ran(None, RunError("timeout", ""), self.receipts[warrant.warrant_id])

    def _not_sent(self, warrant: Warrant, code: str) -> Ran:
        self.void.add(warrant.warrant_id)
        receipt = made_receipt(
            warrant.warrant_id, warrant.action_id, SentState.NOT_SENT, 0, {}
        )
        return Ran(None, RunError(code, ""), receipt, "jws")

    def _keep(
        self, warrant: Warrant, state: SentState, status: int, values: Mapping[str, Any]
    ) -> None:
        self.receipts[warrant.warrant_id] = made_receipt(
            warrant.warrant_id, warrant.action_id, state, status, values
        )

    def _values(self, warrant: Warrant, body: Mapping[str, Any]) -> dict[str, Any]:
        if warrant.tool == "orders.refunds.find":
            return dict(body)
        paid = self.paid if "order_id" in body else None
        return {
            "owner": body.get("customer_id"),
            "object": body.get("order_id"),
            "amount": body.get("amount_minor_units"),
            "currency": body.get("currency"),
            "paid": paid,
            "status": body.get("status"),
            "refund": body.get("refund_id"),
        }

    def _found(self, reference: str) -> dict[str, Any]:
        """Return what an edge's receipt says of the shop's list of refunds."""
        mine = [amount for _, amount, action in self.moved if action == reference]
        found: dict[str, Any] = {"found": len(mine), "more": False}
        if len(mine) == 1:
            found |= {"owner": CUSTOMER, "object": ORDER}
            found |= {"amount": mine[0], "currency": "USD"}
        return found

    def _shop(  # noqa: PLR0911  (one for each tool)
        self, warrant: Warrant
    ) -> tuple[int, dict[str, Any]]:
        args = warrant.arguments
        match warrant.tool:
            case "customers.verify":
                found = args.get("email") == "noah.brown7922@example.com"
                return (200, {"customer_id": CUSTOMER}) if found else (404, {})
            case "customers.get":
                return 200, {
                    "customer_id": CUSTOMER,
                    "name": {"first_name": "Noah", "last_name": "Brown"},
                    "email": "noah.brown7922@example.com",
                    "payment_methods": [
                        {"payment_method_id": CARD, "source": "credit_card"}
                    ],
                    "order_ids": [ORDER],
                }
            case "orders.get":
                return 200, {
                    "order_id": args["order_id"],
                    "customer_id": CUSTOMER,
                    "status": "delivered",
                    "currency": "USD",
                    "items": [],
                    "paid_minor_units": self.paid,
                    "refunded_minor_units": sum(a for _, a, _ in self.moved),
                    "payments": [],
                    "notes": [
                        {"note_id": "n1", "author": "x", "text": t} for t in self.notes
                    ],
                }
            case "orders.refund.reverse":
                self.reversed.append(warrant)
                return 201, {**args, "customer_id": CUSTOMER, "status": "reversed"}
            case "orders.refunds.find":
                return 200, self._found(args["reference"])
            case "orders.refund" if warrant.idempotency_key in self.keys:
                return 201, self.keys[warrant.idempotency_key]
            case "orders.refund":
                self.moved.append(
                    (args["order_id"], args["amount_minor_units"], warrant.action_id)
                )
                self.keys[warrant.idempotency_key] = {
                    "refund_id": f"refund_{len(self.moved):08d}",
                    "order_id": args["order_id"],
                    "customer_id": CUSTOMER,
                    "amount_minor_units": args["amount_minor_units"],
                    "currency": "USD",
                    "status": "accepted",
                }
                return 201, self.keys[warrant.idempotency_key]
            case "answers.send":
                self.replies.append(args["text"])
                return 201, {"reply_id": "p1", "customer_id": CUSTOMER}
            case _:
                return 200, {"customer_id": CUSTOMER}


def answered(
    executor: FakeExecutor, action_id: str, *, status: int = 201, **values: Any
) -> None:
    """Let the edge hear late what the shop says of an action that it was sent."""
    [old] = [r for r in executor.receipts.values() if r.action_id == action_id]
    said = {"owner": CUSTOMER, "object": ORDER, "currency": "USD", **values}
    executor.receipts[old.warrant_id] = replace(
        old, state=SentState.ANSWERED, upstream_status=status, values=said
    )


def _signed(receipt: Receipt) -> str:
    return sign(receipt_claims(receipt), key=key_of("receipt"), typ=RECEIPT_TYP)


def made_receipt(
    warrant_id: str,
    action_id: str,
    state: SentState,
    status: int,
    values: Mapping[str, Any],
) -> Receipt:
    """Return a receipt as this edge gives it."""
    return Receipt(
        warrant_id=warrant_id,
        action_id=action_id,
        edge="edge-1",
        boot="boot-1",
        nonce="",
        state=state,
        upstream_status=status,
        values=values,
        requests=(),
        alarms=(),
        issued_at=datetime.now(UTC),
    )

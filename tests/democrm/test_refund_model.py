"""Random refunds, cancellations and repeats against a model of a few lines."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infra.democrm.books import changes, reads, replays
from infra.democrm.books.source import Catalogue, Customer, Order, Payment
from infra.democrm.books.store import Store
from infra.democrm.words import Answer, Occasion, canonical
from tests.democrm.at import NOW

PAID = {"W1": 1000, "W2": 1, "W3": 250}
STATUS = {"W1": "pending", "W2": "pending", "W3": "delivered"}
METHODS = ("card", "gift", "other", "nobodys")
ALLOWED = ("card", "gift")
CATALOGUE = Catalogue(
    customers=(
        Customer(
            customer_id="c1",
            email="a@example.com",
            first_name="A",
            last_name="B",
            zip_code="1",
            view=canonical({}),
            methods=(
                ("card", "credit_card"),
                ("gift", "gift_card"),
                ("other", "paypal"),
            ),
        ),
    ),
    orders=tuple(
        Order(
            order_id=order_id,
            customer_id="c1",
            status=STATUS[order_id],
            cancel_reason=None,
            fixed=canonical({}),
            payments=(Payment("payment", paid, "card"),),
        )
        for order_id, paid in PAID.items()
    ),
    products=(),
)

order_ids = st.sampled_from(sorted(PAID))
keys = st.none() | st.sampled_from(["k1", "k2", "k3"])


@dataclass
class Model:
    """What the books must say."""

    refunded: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PAID, 0))
    status: dict[str, str] = field(default_factory=lambda: dict(STATUS))
    moved: list[int] = field(default_factory=list)
    kept: dict[str, tuple[str, int, Any]] = field(default_factory=dict)


class Books(RuleBasedStateMachine):
    """The real books on one side, the model on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store.open(Path(":memory:"), catalogue=lambda: CATALOGUE)
        self.model = Model()

    def teardown(self) -> None:
        self.store.close()

    @rule(
        order_id=order_ids,
        amount=st.integers(1, 1200),
        method=st.sampled_from(METHODS),
        key=keys,
    )
    def refund(self, order_id: str, amount: int, method: str, key: str | None) -> None:
        wish = changes.RefundWish(amount, method, "r")

        def run(connection: Any, occasion: Occasion) -> Answer:
            rules = changes.RefundRules()
            return changes.refund(
                connection, occasion, order_id, wish=wish, rules=rules
            )

        expected = self._expected_refund(order_id, amount, method)
        self._once(f"refund {order_id} {amount} {method}", key, run, expected)

    @rule(order_id=order_ids, key=keys)
    def cancel(self, order_id: str, key: str | None) -> None:
        def run(connection: Any, occasion: Occasion) -> Answer:
            return changes.cancel(
                connection, occasion, order_id, reason="why", reference="r"
            )

        pending = self.model.status[order_id] == "pending"
        self._once(f"cancel {order_id}", key, run, 200 if pending else 409)

    def _expected_refund(self, order_id: str, amount: int, method: str) -> int:
        if method not in ALLOWED:
            return 422
        total = self.model.refunded[order_id] + amount
        return 201 if total <= PAID[order_id] else 409

    def _once(self, request: str, key: str | None, run: Any, expected: int) -> None:
        occasion = Occasion(now=NOW, idempotency_key=key)
        answer = replays.once(self.store, occasion, run, request=request, ttl_s=60)
        if key in self.model.kept:
            kept_request, status, body = self.model.kept[key]
            if kept_request != request:
                assert answer.body == {"error": "idempotency_conflict"}
            else:
                assert (answer.status, answer.body) == (status, body)
                assert answer.headers == replays.REPLAYED
            return
        assert answer.status == expected
        assert answer.headers == {}
        if key is not None:
            self.model.kept[key] = (request, answer.status, answer.body)
        if answer.status in (200, 201):
            assert isinstance(answer.body, dict)
            self._book(answer.body)

    def _book(self, body: dict[str, Any]) -> None:
        order_id, amount = body["order_id"], body["amount_minor_units"]
        if body["status"] == "cancelled":
            assert amount == PAID[order_id] - self.model.refunded[order_id]
            self.model.status[order_id] = "cancelled"
        self.model.refunded[order_id] += amount
        self.model.moved.append(amount)

    @invariant()
    def refunds_never_exceed_what_was_paid(self) -> None:
        for order_id, paid in PAID.items():
            order = reads.order(self.store.connection, order_id).body
            assert isinstance(order, dict)
            assert order["paid_minor_units"] == paid
            assert (
                order["refunded_minor_units"] == self.model.refunded[order_id] <= paid
            )
            assert order["status"] == self.model.status[order_id]

    @invariant()
    def the_journal_has_exactly_one_entry_per_change(self) -> None:
        journal = reads.journal(self.store.connection, 0)
        assert [entry["amount_minor_units"] for entry in journal] == self.model.moved
        assert [entry["seq"] for entry in journal] == [
            *range(1, len(self.model.moved) + 1)
        ]


TestBooks = Books.TestCase

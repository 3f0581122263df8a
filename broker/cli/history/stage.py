"""Ports that reach nothing: a set clock, drawn ids, a shop in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from broker.cli.history.shop import ATTACKER, Shop
from broker.core.words.approval import Approver
from broker.core.words.budget import CountedBy, RateAnswer, RateKey
from broker.core.words.effect import Tier
from broker.core.words.labels import Integrity
from broker.core.words.subject import Interaction
from broker.core.words.warrant import Receipt, SentState, Warrant
from broker.ports import AuthorityView, PayloadDraft, Policy, Ran, Sealed, Shown, Vault

STAMP: Final = "simulated"
"""The mark in rows, in sealed contents and in entries; also who wrote the entries."""

_RANDOM_BITS = 74
_RELEASED_BITS = 62


@dataclass(slots=True)
class SetClock:
    """A clock that stands where it is set."""

    at: datetime

    def now(self) -> datetime:
        """Return where it stands."""
        return self.at

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


class DrawnIds:
    """UUIDv7 of the set clock, with drawn bits. Source: RFC 9562, section 5.7."""

    def __init__(self, clock: SetClock, seed: int) -> None:
        """Keep the clock and the dice."""
        self._clock = clock
        self._dice = Random(seed)  # noqa: S311  (ids of a drawn history are no secret)
        self._last = 0

    def new(self) -> str:
        """Return the next id in lower-case text."""
        drawn = self._dice.getrandbits(_RANDOM_BITS)
        value = int(self._clock.now().timestamp() * 1000) << 80
        value |= 0x7 << 76 | (drawn >> _RELEASED_BITS) << 64
        value |= 0b10 << 62 | drawn & ((1 << _RELEASED_BITS) - 1)
        text = f"{value:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class StampingVault:
    """A vault that seals nothing without the stamp."""

    def __init__(self, vault: Vault) -> None:
        """Keep who seals."""
        self._vault = vault

    async def seal(self, value: Mapping[str, Any], ref: PayloadDraft) -> Sealed:
        """Seal it, stamped."""
        return await self._vault.seal({**value, STAMP: True}, ref)

    async def keyed_hash(self, value: Any, *, subject: str, purpose: str) -> str:  # noqa: ANN401
        """Return what the vault returns."""
        return await self._vault.keyed_hash(value, subject=subject, purpose=purpose)

    def reference(self, *parts: str) -> str:
        """Return what the vault returns."""
        return self._vault.reference(*parts)


@dataclass(frozen=True, slots=True)
class SetAuthority:
    """What signed rows said when the history was made, the same for all sixty days.

    Nothing was signed in advance: a standing approval of today did not exist then.
    """

    seen: AuthorityView
    people: Mapping[str, Approver]

    async def view(
        self,
        agent_id: str,
        scopes: Sequence[str],
        *,
        chain: Sequence[str] = (),
        ended: bool = False,
    ) -> AuthorityView:
        """Return what was set."""
        return self.seen

    async def policy(self) -> Policy:
        """Return the policy."""
        return self.seen.policy

    async def shadow(self) -> None:
        """Return that nothing runs beside it."""

    async def approvers(self) -> Mapping[str, Approver]:
        """Return who may sign."""
        return self.people

    async def channel(self, channel_id: str) -> None:
        """Return none: no channel asserts anything here."""

    async def released(self, budget_id: str) -> Mapping[str, int]:
        """Return none: nothing is frozen in what nobody lived through."""
        return {}


class OpenRates:
    """Rates of a history are not counted: nothing hurries."""

    async def check(self, keys: Sequence[RateKey], *, tier: Tier) -> RateAnswer:
        """Let it pass."""
        return RateAnswer(allowed=True, counted_by=CountedBy.NONE)


class QuietJournal:
    """There is nothing to wait for, and nothing that belongs to no transaction."""

    async def ready(self) -> None:
        """Return at once."""

    async def record(self, entry: object) -> None:
        """Refuse what the store would not see."""
        msg = f"an entry of its own in a history: {entry}"
        raise AssertionError(msg)


@dataclass(slots=True)
class Seen:
    """The Handles port in memory: what an interaction was shown, by its lookup."""

    vault: Vault
    released: dict[tuple[str, str], list[Shown]] = field(default_factory=dict)
    paid: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def show(self, interaction_id: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Remember released values."""
        for one in values:
            shown = Shown(Integrity(one["integrity"]), one["source"], one["kind"])
            key = (interaction_id, one["lookup"])
            self.released.setdefault(key, []).append(shown)

    async def origins(
        self, interaction: Interaction, values: Mapping[str, Any]
    ) -> Mapping[str, Sequence[Shown]]:
        """Return where values were seen; what an attacker planted stood in a note."""
        where = interaction.interaction_id
        note = Shown(Integrity.THIRD_PARTY, "orders.get#/notes/0/text", "")
        return {
            pointer: [note]
            if value == ATTACKER
            else self.released.get(
                (where, self.vault.reference("value", where, str(value))), []
            )
            for pointer, value in values.items()
        }

    async def ceilings(
        self, objects: Sequence[tuple[str, str, str]]
    ) -> Mapping[tuple[str, str, str], int]:
        """Return what receipts said was paid."""
        return {one: self.paid[one] for one in objects if one in self.paid}


@dataclass(slots=True)
class ShopInMemory:
    """The Executor as a history needs it: the shop's data answer, nothing is sent.

    ``fails`` lets the next read of an order fail.
    """

    shop: Shop
    clock: SetClock
    fails: bool = False
    moved: dict[str, int] = field(default_factory=dict)

    async def address(self) -> tuple[str, str]:
        """Return an edge that does not exist."""
        return STAMP, STAMP

    async def run(self, warrant: Warrant, *, timeout_s: int) -> Ran:
        """Answer as the CRM would."""
        status, body = self._answer(warrant)
        receipt = Receipt(
            warrant_id=warrant.warrant_id,
            action_id=warrant.action_id,
            edge=warrant.edge,
            boot=warrant.boot,
            nonce="",
            state=SentState.ANSWERED,
            upstream_status=status,
            values={
                "owner": body.get("customer_id"),
                "object": body.get("order_id"),
                "amount": body.get("amount_minor_units"),
                "currency": body.get("currency"),
                "paid": body.get("paid_minor_units"),
                "status": body.get("status"),
            },
            requests=(),
            alarms=(),
            issued_at=self.clock.now(),
        )
        return Ran(body, None, receipt)

    def _answer(self, warrant: Warrant) -> tuple[int, dict[str, Any]]:
        whose = {"customer_id": warrant.customer_id}
        order = self.shop.orders.get(str(warrant.arguments.get("order_id")), {})
        match warrant.tool:
            case "customers.get":
                return 200, dict(self.shop.customers[warrant.customer_id])
            case "orders.get" if self.fails:
                return 503, whose
            case "orders.get":
                refunded = self.moved.get(str(order["order_id"]), 0)
                return 200, {**order, "refunded_minor_units": refunded}
            case "orders.refund":
                amount = int(warrant.arguments["amount_minor_units"])
                name = str(order["order_id"])
                self.moved[name] = self.moved.get(name, 0) + amount
                paid = order["paid_minor_units"]
                said = {"order_id": name, "amount_minor_units": amount}
                said |= {"currency": "USD", "status": "accepted"}
                return 201, {**whose, **said, "paid_minor_units": paid}
            case "orders.cancel":
                said = {"order_id": order["order_id"], "status": "cancelled"}
                return 200, {**whose, **said, "currency": "USD"}
            case _:
                return 201, {**whose, "currency": "USD"}

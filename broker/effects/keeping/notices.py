"""Notices in PostgreSQL, and the signed rows of who gets them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from broker.core.notices.schedule import Told
from broker.core.words.errors import LedgerUnavailableError
from broker.core.words.money import Money
from broker.core.words.notice import NoticeKind
from broker.effects.keeping import rows
from broker.effects.parsed import Parsed
from broker.effects.vault import ErasedError
from broker.ports import PayloadDraft
from broker.ports.notices import Address, Delivery
from broker.registry.notices.subscriptions import KIND, parse_subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncpg

    from broker.core.notices.schedule import Subscription
    from broker.core.words.entry import AuditEntry
    from broker.core.words.notice import Carried
    from broker.effects.database import Database
    from broker.effects.registry import Entries, Registry
    from broker.effects.vault import PayloadVault

LEASE_S: Final = 60
"""After this long a delivery whose replica died is taken by another one, in seconds."""

PURPOSE: Final = "notice"
_FRESH = """
SELECT notice_id, kind, topic, role, person_id, tool, amount, currency, expires_at,
       made_at
  FROM notice WHERE spread_at IS NULL ORDER BY made_at LIMIT $1
"""
_ADDRESS = "SELECT * FROM payload WHERE payload_id = $1"
_DIGEST = "SELECT digest FROM approval WHERE approval_id = $1"


class PostgresNotices:
    """The Notices port over PostgreSQL and the registry."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        *,
        vault: PayloadVault,
        entries: Entries,
        new_id: Callable[[], str],
    ) -> None:
        """Keep where rows, signed rows, addresses and entries are."""
        self._database = database
        self._registry = registry
        self._vault = vault
        self._entries = entries
        self._new_id = new_id
        self._parsed = Parsed(parse_subscription)

    async def subscriptions(self) -> Sequence[Subscription]:
        """Return every subscription whose row verifies, removed ones too, by id."""
        found = await self._registry.list(KIND)
        read = [self._parsed.of(row) for row in found]
        return [one for one in read if one is not None]

    async def epochs(self, subscription_id: str) -> tuple[tuple[str, int], ...]:
        """Return what an order for this subscriber is issued under."""
        scope = f"{KIND}:{subscription_id}"
        epochs = await self._registry.epochs([scope])
        return ((scope, epochs.get(scope, 0)),)

    async def keep_address(self, person_id: str, address: str) -> Address:
        """Seal an address under its person's key, and keep it."""
        draft = PayloadDraft(
            payload_id=self._new_id(),
            subject=person_id,
            purpose=PURPOSE,
            retention="subscription",
            data_class="address",
        )
        sealed = await self._vault.seal({"address": address}, draft)
        await self._database.value(
            "SELECT notice_address($1)", [rows.payload_json(sealed)]
        )
        return Address(sealed.ref.payload_id, sealed.ref.sha256)

    async def address(self, subscription: Subscription) -> str:
        """Return a subscriber's address; empty if it was erased or is not theirs."""
        row = await self._database.row(_ADDRESS, subscription.address)
        if (
            row is None
            or row["sha256"] != subscription.address_sha256
            or row["subject"] != subscription.person_id
        ):
            return ""
        try:
            opened = await self._vault.open(rows.draft_from(row), row["sealed"])
        except (ErasedError, ValueError):
            return ""
        return str(opened.get("address", ""))

    async def expiring(self) -> None:
        """Make the notices of approvals that end soon."""
        await self._database.value("SELECT notices_expiring()")

    async def fresh(self, *, limit: int) -> Sequence[Told]:
        """Return what nobody was chosen for yet, the oldest first."""
        return [_told(row) for row in await self._database.rows(_FRESH, limit)]

    async def spread(self, told: Told, to: Sequence[Subscription]) -> None:
        """Note who gets it; what is beyond a cap is held back."""
        document: list[dict[str, Any]] = [
            {"subscription": one.subscription_id, "per_hour": one.per_hour}
            for one in to
        ]
        await self._database.value(
            "SELECT notice_spread($1, $2)", told.notice_id, document
        )

    async def take(self, *, limit: int) -> Sequence[Delivery]:
        """Take deliveries that are due, for a while."""
        found = await self._database.rows(
            "SELECT * FROM notices_take($1, $2)", limit, LEASE_S
        )
        return [
            Delivery(
                delivery_id=str(row["delivery_id"]),
                subscription_id=row["subscription"],
                tries=row["tries"],
                held_back=row["held_back"],
                told=_told(row),
            )
            for row in found
        ]

    async def done(
        self,
        delivery: Delivery,
        carried: Carried,
        *,
        state: str,
        pause_s: float,
        entries: Sequence[AuditEntry],
    ) -> None:
        """Note what became of one, with the entry of its alarm if it raised one."""
        stored = await self._database.value(
            "SELECT notice_done($1, $2, $3, $4, $5, $6)",
            delivery.delivery_id,
            state,
            carried.status,
            carried.code,
            pause_s,
            self._entries.signed(entries),
        )
        if stored and entries:
            # It is staged: whoever sequences next takes it along.
            with suppress(LedgerUnavailableError):
                await self._entries.integrated(entries)

    async def digest(self, approval_id: str) -> str:
        """Return the digest that an approval's columns name, empty if there is none."""
        return str(await self._database.value(_DIGEST, approval_id) or "")

    async def purge(self) -> None:
        """Delete what is old."""
        await self._database.value("SELECT notices_purge()")


def _told(row: asyncpg.Record) -> Told:
    amount = None
    if row["amount"] is not None:
        # What no amount can be is not told: somebody else wrote it.
        with suppress(ValueError):
            amount = Money(row["amount"], row["currency"] or "")
    return Told(
        notice_id=str(row["notice_id"]),
        kind=NoticeKind(row["kind"]),
        topic=str(row["topic"]),
        at=row["made_at"],
        role=row["role"],
        person_id=row["person_id"],
        tool=row["tool"],
        amount=amount,
        expires_at=row["expires_at"],
    )

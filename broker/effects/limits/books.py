"""The books: budgets and reservations as rows, and what the log says of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.core.transparency.entry_leaf import open_entry
from broker.core.words.errors import TooLargeError
from broker.core.words.moment import write_moment
from broker.effects.limits.budgets import PostgresBudgets, budget_row
from broker.effects.scribe import Scribe
from broker.watch.books import Account, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.jwk import PrivateKey
    from broker.core.words.budget import BudgetRow, ReservationRow, ReservationState
    from broker.core.words.entry import AuditEntry
    from broker.effects.database import Database
    from broker.effects.ledger import CheckpointKeeper, PostgresLedger
    from broker.effects.ledger.history import Entry
    from broker.watch.books import Difference, Place

RECONCILED_ENTRIES_MAX = 500_000
"""Most entries that are compared at once; each costs about 0.15 ms of one core."""

ACCOUNT_KEPT_MAX = 200_000
"""Most budgets, customers and open actions that are remembered of them at once."""

LOOKS = 3
"""What is under way differs for a moment: only what differs in all looks is said."""

LOOK_AGAIN_S = 0.4

_ALL = """
SELECT budget_id, window_start, rule_id, span, unit, scope, posted, held, version,
       frozen, freezes, limit_seen, simulated
  FROM budget
"""


class Books:
    """What people look at, release and compare."""

    def __init__(
        self,
        database: Database,
        ledger: PostgresLedger,
        *,
        key: PrivateKey | Callable[[], PrivateKey],
        keeper: CheckpointKeeper,
        kept_max: int = ACCOUNT_KEPT_MAX,
    ) -> None:
        """Keep the tables and the log, and what signs its entries."""
        self._kept_max = kept_max
        self._database = database
        self._budgets = PostgresBudgets(database)
        self._history = ledger.history
        self._scribe = Scribe(ledger, key=key, keeper=keeper)
        self._ledger = ledger

    async def budgets(
        self, *, budget_id: str | None, rule_id: str | None, frozen: bool
    ) -> Sequence[BudgetRow]:
        """Return budgets, newest windows first; each filter narrows."""
        return await self._budgets.budgets(
            budget_id=budget_id, rule_id=rule_id, frozen=frozen
        )

    async def reservations(
        self,
        *,
        budget_id: str | None,
        action_id: str | None,
        states: Sequence[ReservationState] | None,
    ) -> Sequence[ReservationRow]:
        """Return reservations, last moved first; each filter narrows."""
        return await self._budgets.reservations(
            budget_id=budget_id, action_id=action_id, states=states
        )

    async def release(self, budget_id: str, entry: AuditEntry) -> int:
        """Let a frozen budget admit again; return how many windows were frozen."""
        sql = "SELECT budget_release($1, $2)"
        signed = self._scribe.signed((entry,))
        freed: int = await self._database.value(sql, budget_id, signed)
        if freed:
            await self._scribe.integrated((entry,))
        return freed

    async def compare(self) -> tuple[int, Sequence[Difference]]:
        """Return how many entries were read, and where budgets differ from them.

        Raises:
            TooLargeError: The log is longer than RECONCILED_ENTRIES_MAX, or there is
                more to remember of it than ACCOUNT_KEPT_MAX.
            EntryError: An entry does not verify.
        """
        account = Account()
        lasting: set[Difference] = set()
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_AGAIN_S)
            await self._read(account)
            found = differences(account.expected(), await self._rows())
            lasting = {*found} if look == 0 else lasting & {*found}
            if not lasting:
                break
        order = sorted(lasting, key=lambda one: (one.budget_id, one.since))
        return account.entries, order

    async def _read(self, account: Account) -> None:
        size, _ = await self._history.head()
        if size > RECONCILED_ENTRIES_MAX:
            msg = f"the log has {size} entries, more than can be compared at once"
            raise TooLargeError(msg, hint="compare an export, offline")
        while account.entries < size:
            page = await self._history.entries(account.entries)
            if not page:
                break
            # Signatures cost; others are served meanwhile.
            await asyncio.to_thread(self._open, account, page)
            if account.kept > self._kept_max:
                msg = f"there are more than {self._kept_max} budgets and customers"
                raise TooLargeError(msg, hint="compare an export, offline")

    def _open(self, account: Account, page: Sequence[Entry]) -> None:
        # Whatever key the log accepted then, it accepts to be read by now.
        keys = self._ledger.keys
        account.read([open_entry(entry.leaf, keys) for entry in page])

    async def _rows(self) -> dict[Place, BudgetRow]:
        rows = [budget_row(row) for row in await self._database.rows(_ALL)]
        return {(row.budget_id, write_moment(row.window_start)): row for row in rows}

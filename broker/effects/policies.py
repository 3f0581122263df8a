"""How a policy is read out of its signed row, with the tools that are on the shelf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.effects.keeping.past import PostgresPast
from broker.effects.keeping.shadows import PostgresShadows
from broker.effects.keeping.waiting import PostgresWaiting
from broker.ports import Policy, PolicyRoom
from broker.registry.policy.books import (
    PolicyError,
    approvals_per_hour,
    limits_of,
    rule_book,
)
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.effects.database import Database
    from broker.effects.scribe import Scribe
    from broker.effects.vault import PayloadVault
    from broker.ports import Shelf
    from broker.registry.authority import AuthorityRow


def policy_reader(shelf: Shelf) -> Callable[[AuthorityRow], Policy]:
    """Return a reader that raises RowError for a policy that cannot be used."""

    def read(row: AuthorityRow) -> Policy:
        try:
            rates, budgets = limits_of(row.body)
            book = rule_book(row.body, shelf.tools())
            per_hour = approvals_per_hour(row.body)
        except (KeyError, TypeError, PolicyError) as error:
            msg = f"the policy cannot be used: {error}"
            raise RowError(msg) from error
        return Policy(
            book=book,
            rates=rates,
            budgets=budgets,
            author=str(row.body.get("author", "")),
            approvals_per_hour=per_hour,
        )

    return read


def policy_room(
    database: Database,
    vault: PayloadVault,
    scribe: Scribe,
    changed: Callable[[], None] = lambda: None,
) -> PolicyRoom:
    """Return what publishing and rehearsing a policy touches, over PostgreSQL.

    ``changed`` is called when there is a message for Temporal.
    """
    return PolicyRoom(
        waiting=PostgresWaiting(database, scribe=scribe, changed=changed),
        past=PostgresPast(database, vault=vault),
        shadows=PostgresShadows(database),
    )

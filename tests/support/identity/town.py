"""Rows of authority in real tables, and the port that reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from broker.core.jws import sign
from broker.core.words.moment import write_moment
from broker.effects.authority import SignedAuthority
from broker.effects.database import Database
from broker.effects.registry import Registry
from broker.registry.reading import RowError
from broker.registry.records import Change
from broker.registry.standing import STANDING_TYP, standing_claims, terms_digest
from tests.contracts.test_registry import Unsequenced, entry
from tests.support.fake_registry import AUTHORITY_KEY, REALM
from tests.support.identities import (
    AGENT_ID,
    key_of,
)

if TYPE_CHECKING:
    from broker.registry.authority import AuthorityRow

STANDING_ID = "0197a000-0000-7000-8000-0000000000f1"
PEOPLE = {
    name: f"0197a000-0000-7000-8000-0000000000b{number}"
    for number, name in enumerate(("olivia", "alice", "bob"), start=1)
}


class Counting(Database):
    """Counts statements."""

    statements = 0

    async def value(self, sql: str, *args: Any) -> Any:
        Counting.statements += 1
        return await super().value(sql, *args)

    async def row(self, sql: str, *args: Any) -> Any:
        Counting.statements += 1
        return await super().row(sql, *args)

    async def rows(self, sql: str, *args: Any) -> Any:
        Counting.statements += 1
        return await super().rows(sql, *args)


class Town:
    """Rows in real tables, and the port that reads them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.registry = Registry(
            database, realm=REALM, key=AUTHORITY_KEY, entries=Unsequenced()
        )
        self.authority = SignedAuthority(
            database, self.registry, read_policy=read_policy
        )

    async def put(self, kind: str, row_id: str, body: Any, **changes: Any) -> None:
        row = await self.registry.get(kind, row_id)
        change = Change(
            kind=kind,
            row_id=row_id,
            body=(dict(row.body) if row and not body else body) | changes,
            by=("bootstrap",),
            at=datetime.now(UTC),
            after=row.revision if row else 0,
        )
        await self.registry.put(change, entry())

    async def standing(
        self, *signers: str, row_id: str = STANDING_ID, **changes: Any
    ) -> None:
        terms = {
            "tool": "orders.refund",
            "agents": [AGENT_ID],
            "constraints": {},
            "per_action_minor_units": 5_000,
            "total_minor_units": 20_000,
            "currency": "USD",
            "expires_at": write_moment(datetime.now(UTC) + timedelta(days=1)),
        }
        digest = terms_digest(row_id, terms)
        signatures = [
            sign(
                standing_claims(PEOPLE[name], approval_id=row_id, digest=digest),
                key=key_of(name),
                typ=STANDING_TYP,
            )
            for name in signers
        ]
        body = terms | {
            "signed_by": [PEOPLE[name] for name in signers],
            "signatures": signatures,
            "status": "active",
        }
        await self.put("standing_approval", row_id, body | changes)


def read_policy(row: AuthorityRow) -> Any:
    if "book" not in row.body:
        msg = "the policy cannot be used"
        raise RowError(msg)
    return row.body["book"]

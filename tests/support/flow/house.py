"""A broker's flow on real PostgreSQL, with a fake executor: for tests of the flow.

Everything that decides or stores is the real thing; only runner, edge and signer are
stood in for. Times are real, because SQL compares them with its own clock.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from broker import conversation, flow
from broker.case import Ask
from broker.cli.seed_policy import demo_policy
from broker.core.jwk import Algorithm, public_to_jwk
from broker.core.jws import sign
from broker.core.transparency.entry_leaf import open_entry
from broker.core.words.action import ActionState
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.moment import write_moment
from broker.core.words.subject import (
    Caller,
    Epochs,
    Grant,
    Interaction,
    SubjectKind,
    VerificationLevel,
)
from broker.effects.approvals.queue import PostgresQueue
from broker.effects.authority import SignedAuthority
from broker.effects.clock import RandomIds, SystemClock
from broker.effects.database import Database
from broker.effects.keeping.handles import PostgresHandles
from broker.effects.keeping.store import PostgresStore
from broker.effects.keeping.unknown import PostgresUnknown
from broker.effects.ledger import PostgresLedger
from broker.effects.policies import policy_reader, policy_room
from broker.effects.registry import Registry
from broker.effects.scribe import Scribe
from broker.effects.shelf import CatalogShelf
from broker.effects.vault import PayloadVault
from broker.ports import Ports
from broker.registry.authority import Realm
from broker.registry.records import Change
from broker.registry.standing import STANDING_TYP, standing_claims, terms_digest
from tests.support.channels import opening, turn
from tests.support.flow.executor import CARD, CUSTOMER, ORDER, FakeExecutor
from tests.support.flow.standins import (
    JumpedClock,
    MemoryReplay,
    OpenRates,
    SignerIsThere,
    votes_of,
)
from tests.support.identities import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.jwk import PrivateKey

ROOT = Path(__file__).resolve().parents[3]
TENANT, ENVIRONMENT, USE_CASE = "demo", "dev", "retail-care"
PEOPLE = {
    "alice": "0197a000-0000-7000-8000-0000000000b1",
    "bob": "0197a000-0000-7000-8000-0000000000b2",
    "carol": "0197a000-0000-7000-8000-0000000000b3",
    "olivia": "0197a000-0000-7000-8000-0000000000b4",
}
AGENT_ID = "0197a000-0000-7000-8000-00000000a001"
CHANNEL_ID = "0197a000-0000-7000-8000-0000000000c1"
STANDING_ID = "0197a000-0000-7000-8000-0000000000d1"
ISSUER = "http://127.0.0.1:8400"


@dataclass
class House:
    """A running flow and what a test needs to play its parts."""

    ports: Ports
    executor: FakeExecutor
    registry: Registry
    database: Database
    keeper: SignerIsThere
    rates: OpenRates
    ledger: PostgresLedger
    owner_dsn: str

    def caller(self, *, proof: bool = True, **changes: Any) -> Caller:
        """Return an authenticated agent."""
        caller = Caller(
            kind=SubjectKind.AGENT,
            subject_id=AGENT_ID,
            tenant=TENANT,
            environment=ENVIRONMENT,
            token_id="t1",
            grant_id="g1",
            instance_id="i1",
            kid=key_of("agent").kid,
            proof_of_possession=proof,
            expires_at=self.ports.clock.now() + timedelta(minutes=5),
            epochs=Epochs((("global:dev", 0), (f"agent:{AGENT_ID}", 0))),
            grant=Grant(),
        )
        return replace(caller, **changes)

    def entry(self) -> AuditEntry:
        """Return an entry for a change of the registry."""
        return AuditEntry(
            entry_id=self.ports.ids.new(),
            kind=EntryKind.AUTHORITY,
            at=self.ports.clock.now(),
            tenant=TENANT,
            environment=ENVIRONMENT,
        )

    def jumped(self, hours: float) -> Ports:
        """Return the ports of a replica whose clock is wrong."""
        return replace(self.ports, clock=JumpedClock(hours))

    async def interaction(
        self,
        *,
        level: VerificationLevel = VerificationLevel.MATCHED,
        customer: str = CUSTOMER,
        **claims: Any,
    ) -> Interaction:
        """Open an interaction as a channel would, with further claims of its own."""
        now = self.ports.clock.now()
        token = opening(
            iat=int(now.timestamp()),
            exp=int(now.timestamp()) + 60,
            jti=self.ports.ids.new(),
            ai_disclosed_at=write_moment(now),
            customer=customer if level > VerificationLevel.NONE else "",
            verification_level=int(level),
            **claims,
        )
        return await conversation.open_interaction(self.ports, token, issuer=ISSUER)

    async def say(self, interaction: Interaction, text: str) -> str:
        """Report what the customer said, as the channel would."""
        now = self.ports.clock.now()
        token = turn(
            iat=int(now.timestamp()),
            exp=int(now.timestamp()) + 60,
            jti=self.ports.ids.new(),
            at=write_moment(now),
            text=text,
            interaction=interaction.interaction_id,
        )
        return await conversation.add_turn(
            self.ports, interaction.interaction_id, token, issuer=ISSUER
        )

    def ask(
        self, tool: str, interaction: Interaction, /, *, key: str = "", **arguments: Any
    ) -> Ask:
        """Return what the agent asks for."""
        return Ask(
            caller=self.caller(),
            tool=tool,
            arguments=arguments,
            interaction_id=interaction.interaction_id,
            reason="the customer asked for it",
            idempotency_key=key,
        )

    async def read_order(self, interaction: Interaction) -> None:
        """Let the agent read customer and order, so that it may name them."""
        for ask in (
            self.ask("customers.get", interaction),
            self.ask("orders.get", interaction, order_id=ORDER),
        ):
            answer = await flow.submit(self.ports, ask)
            assert answer.record is not None
            assert answer.record.state is ActionState.DONE, answer

    def refund(
        self, interaction: Interaction, amount: int, *, to: str = CARD, key: str = ""
    ) -> Ask:
        """Return a request for a refund on the customer's order."""
        return self.ask(
            "orders.refund",
            interaction,
            key=key,
            order_id=ORDER,
            amount_minor_units=amount,
            currency="USD",
            payment_method_id=to,
        )

    async def revoke(self, scope: str) -> None:
        """Move a scope's epoch, as security staff would."""
        entry = AuditEntry(
            entry_id=self.ports.ids.new(),
            kind=EntryKind.REVOCATION,
            at=self.ports.clock.now(),
            tenant=TENANT,
            environment=ENVIRONMENT,
        )
        await self.registry.revoke([scope], entry)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Lend a connection as the database's owner, to play time and intruders."""
        owner = await asyncpg.connect(self.owner_dsn)
        try:
            yield owner
        finally:
            await owner.close()

    async def lapse(self) -> None:
        """Let every lease lapse, as time would."""
        async with self.admin() as owner:
            await owner.execute(
                "UPDATE action SET lease_until = now() - interval '1 second'"
                " WHERE lease_until IS NOT NULL"
            )

    async def entries(self, action_id: str) -> list[dict[str, Any]]:
        """Return the log's entries about an action, opened."""
        keys = {key_of("entry", Algorithm.EDDSA).kid: key_of("entry", Algorithm.EDDSA)}
        public = {kid: key.public() for kid, key in keys.items()}
        found = await self.ledger.history.of_action(action_id)
        return [open_entry(entry.leaf, public) for entry in found]

    async def all_entries(self) -> list[dict[str, Any]]:
        """Return the log's first entries, opened."""
        key = key_of("entry", Algorithm.EDDSA)
        found = await self.ledger.history.entries(0)
        return [open_entry(entry.leaf, {key.kid: key.public()}) for entry in found]

    async def held(self) -> int:
        """Return the minor units that the agent's daily budget holds."""
        sql = "SELECT coalesce(sum(held), 0) FROM budget WHERE rule_id = 'agent-day'"
        return int(await self.database.value(sql))

    async def posted(self) -> int:
        """Return the minor units that the agent's daily budget has posted."""
        sql = "SELECT coalesce(sum(posted), 0) FROM budget WHERE rule_id = 'agent-day'"
        return int(await self.database.value(sql))


@asynccontextmanager
async def open_house(
    dsn: str, *, owner_dsn: str, replica: str = "broker-0"
) -> AsyncIterator[House]:
    """Open a flow on a migrated database, with the demo's people and policy."""
    database, logbook = Database(dsn, password=""), Database(dsn, password="")
    entry_key = key_of("entry", Algorithm.EDDSA)
    authority_key = key_of("authority", Algorithm.EDDSA)
    ledger = PostgresLedger(
        logbook,
        keys=lambda: {entry_key.kid: entry_key.public()},
        alarm=lambda word, more: None,
    )
    keeper, rates, clock = SignerIsThere(), OpenRates(), SystemClock()
    scribe = Scribe(ledger, key=entry_key, keeper=keeper)  # type: ignore[arg-type]
    realm = Realm(TENANT, ENVIRONMENT, {authority_key.kid: authority_key.public()})
    registry = Registry(database, realm=realm, key=authority_key, entries=scribe)
    shelf = catalog_shelf()
    vault, executor = PayloadVault(database, kek=b"k" * 32), FakeExecutor()
    votes = votes_of(database, vault, registry, scribe)
    authority = SignedAuthority(database, registry, read_policy=policy_reader(shelf))
    ports = Ports(
        clock=clock,
        ids=RandomIds(),
        shelf=shelf,
        authority=authority,
        rates=rates,
        handles=PostgresHandles(database, vault=vault),
        vault=vault,
        store=PostgresStore(
            database, vault=vault, scribe=scribe, shelf=shelf, votes=votes, clock=clock
        ),
        executor=executor,
        journal=scribe,
        replay=MemoryReplay(),
        replica=replica,
        tenant=TENANT,
        desk=votes,
        queue=PostgresQueue(database, vault=vault, entries=scribe),
        policies=policy_room(database, vault, scribe),
        unknown=PostgresUnknown(database, entries=scribe),
        console_key=key_of("console"),
    )
    house = House(ports, executor, registry, database, keeper, rates, ledger, owner_dsn)
    await _seed(house)
    try:
        yield house
    finally:
        await ledger.close()
        await database.close()
        await logbook.close()


@cache
def catalog_shelf() -> CatalogShelf:
    """Return the catalogue as it stands: reading 40 manifests took 20 ms a house."""
    return CatalogShelf(ROOT / "tools" / "catalog")


async def _seed(house: House) -> None:
    if await house.registry.get("policy", "main") is not None:
        return
    limits = {"alice": 200_000, "bob": 500_000}
    for name, person_id in PEOPLE.items():
        role = {"carol": "security", "olivia": "owner"}.get(name, "supervisor")
        await put_row(
            house,
            "person",
            person_id,
            {
                "name": name,
                "roles": [role],
                "approval_limits": {"USD": limits[name]} if name in limits else {},
                "keys": _slots(key_of(name)),
                "status": "active",
                "console_votes": name == "alice",
            },
        )
    await put_row(
        house,
        "agent",
        AGENT_ID,
        {
            "name": "care-agent",
            "owner": PEOPLE["olivia"],
            "use_case": USE_CASE,
            "tier_max": 3,
            "tools": [tool.name for tool in house.ports.shelf.tools()],
            "keys": _slots(key_of("agent")),
            "status": "active",
        },
    )
    await put_row(
        house,
        "channel",
        CHANNEL_ID,
        {
            "name": "webchat",
            "keys": _slots(key_of("channel")),
            "use_cases": [USE_CASE],
            "verification_max": 2,
            "status": "active",
        },
    )
    policy = demo_policy(author=PEOPLE["carol"], approver=PEOPLE["alice"])
    await put_row(house, "policy", "main", policy)
    await put_row(house, "standing_approval", STANDING_ID, standing_body(house))


def standing_body(
    house: House, approval_id: str = STANDING_ID, *, total: int = 20_000
) -> dict[str, Any]:
    """Return a standing approval that alice and bob have signed."""
    body: dict[str, Any] = {
        "tool": "orders.refund",
        "agents": [AGENT_ID],
        "constraints": {},
        "per_action_minor_units": 5_000,
        "total_minor_units": total,
        "currency": "USD",
        "expires_at": write_moment(house.ports.clock.now() + timedelta(days=30)),
        "signed_by": [PEOPLE["alice"], PEOPLE["bob"]],
        "status": "active",
    }
    digest = terms_digest(approval_id, body)
    body["signatures"] = [
        sign(
            standing_claims(PEOPLE[name], approval_id=approval_id, digest=digest),
            key=key_of(name),
            typ=STANDING_TYP,
        )
        for name in ("alice", "bob")
    ]
    return body


def _slots(key: PrivateKey) -> list[dict[str, Any]]:
    return [{"kid": key.kid, "jwk": public_to_jwk(key.public())}]


async def put_row(house: House, kind: str, row_id: str, body: dict[str, Any]) -> None:
    """Put the first revision of a row, as the bootstrap would."""
    now = house.ports.clock.now()
    change = Change(kind, row_id, body, ("bootstrap",), now, 0)
    await house.registry.put(change, house.entry())

"""Give a fresh state its keys, and the demo its people, agent, channel and policy.

It runs once, after the migrations and before any part that needs a key, and finds its
work done at every later start. Who would hold a key in real life gets it as a file
under ``clients/``; the broker's folder holds none of those.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from broker.cli.seed_policy import demo_policy
from broker.core.jwk import Algorithm, PrivateKey, private_to_jwk, public_to_jwk
from broker.core.jws import sign
from broker.core.record import envelope
from broker.core.transparency.entry_leaf import seal_entry
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.moment import write_moment
from broker.effects.clock import RandomIds, SystemClock
from broker.effects.database import Database
from broker.effects.keyfiles import make_key, read_secret, save_key, write_secret
from broker.effects.keys import KeyRing, generate_keys
from broker.effects.registry import Registry
from broker.effects.scribe import entry_json
from broker.effects.shelf import CatalogShelf
from broker.effects.temporal.keyfile import generate_codec_keys
from broker.registry.authority import Realm
from broker.registry.records import Change
from broker.registry.standing import STANDING_TYP, standing_claims, terms_digest

USE_CASE = "retail-care"
AGENT, CHANNEL, WORKER = "care-agent", "webchat", "worker"
STANDING_PER_ACTION, STANDING_TOTAL = 5_000, 20_000
STANDING_DAYS = 90
# What the demo's agent may ask for; its use case has more, and a person may add it.
AGENT_TOOLS = (
    "answers.send",
    "customers.balances",
    "customers.get",
    "customers.hand_over",
    "customers.verify",
    "items.get",
    "orders.cancel",
    "orders.get",
    "orders.refund",
    "products.get",
    "products.list",
    "sums.calculate",
)
PEOPLE: Mapping[str, tuple[Sequence[str], int]] = {
    "alice": (["supervisor"], 200_000),
    "bob": (["supervisor"], 500_000),
    "carol": (["security", "admin"], 0),
    "erin": (["security", "admin"], 0),
    "olivia": (["owner"], 0),
    "dave": (["compliance"], 0),
}


# Where one of these is set, what wraps signing keys does not lie beside them.
_KEK_ELSEWHERE = ("COUNTERFOIL_SIGNING_KEK_FILE", "COUNTERFOIL_SIGNING_TRANSIT_URL")


@dataclass(frozen=True, slots=True)
class Staged:
    """Signs entries for staging; the first broker integrates them."""

    keys: KeyRing

    def signed(self, entries: Sequence[AuditEntry]) -> list[dict[str, str]]:
        """Return signed entries as SQL functions stage them."""
        return [
            entry_json(entry.entry_id, seal_entry(envelope(entry), key=self.keys.entry))
            for entry in entries
        ]

    async def integrated(self, entries: Sequence[AuditEntry]) -> None:
        """Leave it to the broker: there is no log to write to yet."""


def bootstrap(environment: Mapping[str, str] = os.environ) -> None:
    """Make what is missing; needs the owner's database access and the whole state."""
    state = Path(environment["COUNTERFOIL_STATE"])
    elsewhere = any(environment.get(name) for name in _KEK_ELSEWHERE)
    keys = generate_keys(state, signing_kek=not elsewhere)
    generate_codec_keys(state)
    if environment.get("COUNTERFOIL_STAMP") == "demo":
        file = environment.get("COUNTERFOIL_DATABASE_PASSWORD_FILE", "")
        password = read_secret(Path(file)).decode().strip() if file else ""
        database = Database(environment["COUNTERFOIL_DATABASE_URL"], password=password)
        asyncio.run(_demo(state, keys, environment, database=database))


async def _demo(
    state: Path, keys: KeyRing, environment: Mapping[str, str], *, database: Database
) -> None:
    realm = Realm(
        environment.get("COUNTERFOIL_TENANT", "demo"),
        environment.get("COUNTERFOIL_ENVIRONMENT", "dev"),
        {keys.authority.kid: keys.authority.public()},
    )
    registry = Registry(database, realm=realm, key=keys.authority, entries=Staged(keys))
    shelf = CatalogShelf(Path(environment["COUNTERFOIL_CATALOG"]))
    try:
        # The policy comes last, so that a start that was cut short begins anew.
        if await registry.get("policy", "main") is None:
            tools = [tool.name for tool in shelf.tools() if tool.connector == "retail"]
            await Seeder(state, registry, realm, tools).seed()
    finally:
        await database.close()


class Seeder:
    """Puts the demo's rows there, and its keys where their owners would have them."""

    def __init__(
        self, state: Path, registry: Registry, realm: Realm, tools: Sequence[str]
    ) -> None:
        """Keep where rows and keys go."""
        self._clients = state / "clients"
        self._state = state
        self._registry = registry
        self._realm = realm
        self._tools = tools
        self._clock, self._ids = SystemClock(), RandomIds()

    async def seed(self) -> None:
        """Put everything there."""
        people = {name: await self._person(name) for name in PEOPLE}
        ids = {name: person_id for name, (person_id, _) in people.items()}
        agent_id = await self._keyed(
            "agent",
            AGENT,
            self._clients / "agents",
            owner=ids["olivia"],
            use_case=USE_CASE,
            tier_max=3,
            tools=list(AGENT_TOOLS),
        )
        await self._keyed(
            "channel",
            CHANNEL,
            self._clients / "channels",
            use_cases=[USE_CASE],
            verification_max=2,
        )
        await self._keyed("service", WORKER, self._state / "worker", purpose="worker")
        await self._put(
            "use_case",
            USE_CASE,
            {
                "name": "Retail care",
                "owner": ids["olivia"],
                "purpose": "service",
                "tools": list(self._tools),
                "retention_days": 365,
                "release": {"id": "demo-1", "grade": "attested"},
            },
        )
        await self._standing(agent_id, people)
        policy = demo_policy(author=ids["carol"], approver=ids["dave"])
        await self._put("policy", "main", policy)

    async def _person(self, name: str) -> tuple[str, PrivateKey]:
        roles, limit = PEOPLE[name]
        key = make_key(Algorithm.ES256)
        person_id = await self._keyed(
            "person",
            name,
            self._clients / "people",
            key=key,
            roles=list(roles),
            approval_limits={"USD": limit} if limit else {},
            # A demo has no passkeys: there the console may sign for its approvers.
            console_votes="supervisor" in roles,
        )
        return person_id, key

    async def first(self, name: str, roles: Sequence[str], key: PrivateKey) -> str:
        """Put one of the first administrators there; whoever calls keeps the key."""
        person_id = self._ids.new()
        body = {
            "name": name,
            "keys": [{"kid": key.kid, "jwk": public_to_jwk(key.public())}],
            "status": "active",
            "roles": list(roles),
            "approval_limits": {},
        }
        await self._put("person", person_id, body)
        return person_id

    async def _keyed(
        self,
        kind: str,
        name: str,
        folder: Path,
        *,
        key: PrivateKey | None = None,
        **body: Any,  # noqa: ANN401  (the row's own fields)
    ) -> str:
        """Put a row with a key there, and the key into its owner's folder."""
        key, row_id = key or make_key(Algorithm.ES256), self._ids.new()
        client_id = f"{kind}:{row_id}"
        if kind == "service":
            # A process of ours, not a client's command: it has a folder of its own.
            write_secret(folder / "client.id", client_id.encode())
            save_key(folder / "client.jwk", key)
        else:
            document = private_to_jwk(key) | {"client_id": client_id, "name": name}
            write_secret(folder / f"{name}.jwk", json.dumps(document).encode())
        slots = [{"kid": key.kid, "jwk": public_to_jwk(key.public())}]
        common = {"name": name, "keys": slots, "status": "active"}
        await self._put(kind, row_id, common | body)
        return row_id

    async def _standing(
        self, agent_id: str, people: Mapping[str, tuple[str, PrivateKey]]
    ) -> None:
        signers = ("alice", "bob")
        standing_id = self._ids.new()
        ends = self._clock.now() + timedelta(days=STANDING_DAYS)
        body: dict[str, Any] = {
            "tool": "orders.refund",
            "agents": [agent_id],
            "constraints": {},
            "per_action_minor_units": STANDING_PER_ACTION,
            "total_minor_units": STANDING_TOTAL,
            "currency": "USD",
            "expires_at": write_moment(ends),
            "signed_by": [people[name][0] for name in signers],
            "status": "active",
        }
        terms = terms_digest(standing_id, body)
        body["signatures"] = [
            sign(
                standing_claims(people[name][0], approval_id=standing_id, digest=terms),
                key=people[name][1],
                typ=STANDING_TYP,
            )
            for name in signers
        ]
        await self._put("standing_approval", standing_id, body)

    async def _put(self, kind: str, row_id: str, body: Mapping[str, Any]) -> None:
        now = self._clock.now()
        entry = AuditEntry(
            entry_id=self._ids.new(),
            kind=EntryKind.AUTHORITY,
            at=now,
            tenant=self._realm.tenant,
            environment=self._realm.environment,
            detail={"kind": kind, "id": row_id, "revision": 1, "by": ["bootstrap"]},
            replica="bootstrap",
        )
        change = Change(kind, row_id, body, ("bootstrap",), now, 0)
        await self._registry.put(change, entry)

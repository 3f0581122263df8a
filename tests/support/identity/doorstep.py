"""Who stands at the front door, and the fakes that are behind it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker.core.identity.signing_keys import Pace
from broker.core.jwk import PrivateKey, PublicKey, public_to_jwk
from broker.core.record import envelope
from broker.core.transparency.entry_leaf import about_of
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import LedgerUnavailableError
from broker.core.words.identity import RegisteredKey
from broker.core.words.subject import Interaction, VerificationLevel
from broker.registry.reading import write_keys
from broker.registry.records import Change
from broker.watch.timeline import Acted, Found, Logged
from tests.support.identities import (
    AGENT_ID,
    CHANNEL_ID,
    ENVIRONMENT,
    INTERACTION_ID,
    NOW,
    OTHER_AGENT_ID,
    TENANT,
    TOKEN_KEY,
    key_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.api.identity.desk import Registry
    from tests.support.fake_registry import FakeRegistry

PEOPLE = {
    "alice": ("0197a000-0000-7000-8000-0000000000b1", ["supervisor"]),
    "bob": ("0197a000-0000-7000-8000-0000000000b2", ["supervisor"]),
    "carol": ("0197a000-0000-7000-8000-0000000000b3", ["admin", "security"]),
    "olivia": ("0197a000-0000-7000-8000-0000000000b4", ["owner", "security"]),
    "dave": ("0197a000-0000-7000-8000-0000000000b5", ["compliance"]),
}
WORKER_ID = "0197a000-0000-7000-8000-0000000000d1"
TOOLS = ["customers.get", "orders.get", "orders.refund"]


@dataclass
class Times:
    """A clock that stands still."""

    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def pass_(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Counter:
    """Ids that count up."""

    last: int = 0

    def new(self) -> str:
        self.last += 1
        return f"0197b000-0000-7000-8000-{self.last:012x}"


@dataclass
class Logbook:
    """A journal that can refuse."""

    entries: list[AuditEntry] = field(default_factory=list)
    full: bool = False

    async def record(self, entry: AuditEntry) -> None:
        if self.full:
            msg = "the log cannot take the entry"
            raise LedgerUnavailableError(msg)
        self.entries.append(entry)

    async def ready(self) -> None:
        return


@dataclass
class Remembered:
    """The past of identities, out of a logbook and a registry; positions count up."""

    journal: Logbook
    registry: FakeRegistry
    done: list[Acted] = field(default_factory=list)
    entries_max: int = 1_000
    actions_max: int = 1_000

    async def entries(self, subject_id: str, *, first: int = 0) -> Found[Logged]:
        everything = sorted(
            [*self.journal.entries, *self.registry.entries], key=lambda one: one.at
        )
        envelopes = [envelope(one) for one in everything]
        found = [
            Logged(seq, entry)
            for seq, entry in enumerate(envelopes)
            if about_of(entry) == subject_id and seq >= first
        ]
        most = self.entries_max
        return Found(found[:most], more=found[most].seq if len(found) > most else None)

    async def actions(
        self, agent_id: str, *, until: datetime | None = None
    ) -> Found[Acted]:
        found = [one for one in self.done if until is None or one.at <= until]
        most = self.actions_max
        more = found[-most - 1].at if len(found) > most else None
        return Found(found[-most:], more=more)


@dataclass
class Conversations:
    """The interactions that there are."""

    open: dict[str, Interaction] = field(default_factory=dict)

    async def interaction(self, interaction_id: str) -> Interaction | None:
        return self.open.get(interaction_id)


@dataclass
class FixedKeys:
    """The broker's keys, the same in every run."""

    token: PrivateKey = TOKEN_KEY
    nonce_secret: bytes = b"n" * 32
    pace: Pace = field(default_factory=Pace)

    @property
    def tokens(self) -> Mapping[str, PublicKey]:
        return {self.token.kid: self.token.public()}

    def jwks(self) -> dict[str, Any]:
        return {"keys": [public_to_jwk(self.token.public())]}

    async def fresh(self) -> PublicKey:
        raise AssertionError

    async def refresh(self) -> None:
        return

    async def drop(self, kid: str) -> None:
        return


def conversation(**changes: Any) -> Interaction:
    """Return an open interaction of the agent."""
    base = Interaction(
        interaction_id=INTERACTION_ID,
        tenant=TENANT,
        environment=ENVIRONMENT,
        use_case="retail-care",
        agent_id=AGENT_ID,
        channel_id=CHANNEL_ID,
        channel="webchat",
        customer_id="customer-7",
        customer_ref="ref-7",
        verification=VerificationLevel.MATCHED,
        topics=(),
        locale="en-US",
        purpose="service",
        consent_version="2026-10",
        release="",
        ai_disclosed_at=None,
        opened_at=NOW,
    )
    return replace(base, **changes)


def slots(*names: str) -> list[dict[str, Any]]:
    """Return the keys that belong to names, as a body holds them."""
    return write_keys([RegisteredKey(key_of(name).public()) for name in names])


async def put(
    registry: Registry, kind: str, row_id: str, body: Any, *, after: int = 0
) -> None:
    """Put a row."""
    change = Change(
        kind=kind, row_id=row_id, body=body, by=("bootstrap",), at=NOW, after=after
    )
    entry = AuditEntry("e", EntryKind.AUTHORITY, NOW, TENANT, ENVIRONMENT)
    await registry.put(change, entry)


async def populate(registry: FakeRegistry) -> None:
    """Register everybody."""
    for name, (person_id, roles) in PEOPLE.items():
        await put(
            registry,
            "person",
            person_id,
            {
                "name": name,
                "roles": roles,
                "approval_limits": {"USD": 200_000} if "supervisor" in roles else {},
                "keys": slots(name),
                "status": "active",
            },
        )
    for agent_id, name in ((AGENT_ID, "agent"), (OTHER_AGENT_ID, "other")):
        await put(
            registry,
            "agent",
            agent_id,
            {
                "name": name,
                "owner": PEOPLE["olivia"][0],
                "use_case": "retail-care",
                "tier_max": 3,
                "tools": TOOLS,
                "keys": slots(name),
                "status": "active",
            },
        )
    await _others(registry)


async def _others(registry: FakeRegistry) -> None:
    """Register a channel, the worker and the use case."""
    await put(
        registry,
        "channel",
        CHANNEL_ID,
        {
            "name": "webchat",
            "keys": slots("channel"),
            "use_cases": ["retail-care"],
            "verification_max": 2,
            "status": "active",
        },
    )
    await put(
        registry,
        "service",
        WORKER_ID,
        {
            "name": "worker",
            "purpose": "worker",
            "keys": slots("worker"),
            "status": "active",
        },
    )
    await put(
        registry,
        "use_case",
        "retail-care",
        {
            "name": "Retail care",
            "owner": PEOPLE["dave"][0],
            "purpose": "service",
            "tools": [*TOOLS, "orders.cancel"],
            "retention_days": 365,
            "release": {"id": "", "grade": "absent"},
        },
    )

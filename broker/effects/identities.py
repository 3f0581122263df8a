"""What is known about callers now: rows, keys, epochs, instances.

Each answer is one statement. Rows are read once per revision and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.registry.channels import parse_channel
from broker.registry.clients import ClientRow, parse_client
from broker.registry.people import parse_person
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.authenticate import ChannelFacts, ClientId
    from broker.core.words.identity import AccessToken, OneUse
    from broker.effects.database import Database
    from broker.effects.registry import Registry
    from broker.registry.authority import AuthorityRow
    from broker.registry.people import PersonRow

CLIENTS_KEPT_MAX: Final = 10_000
INSTANCES_MAX: Final = 1_000
"""Keys that one identity may prove within an hour."""

INSTANCES_LISTED_MAX: Final = 500

_ADMIT = "SELECT token_admit($1, $2, $3, $4, $5, $6, $7, $8)"
_INSTANCES = """
SELECT instance_id::text, jkt, first_seen, last_seen, tokens FROM instance
 WHERE subject = $1 ORDER BY last_seen DESC LIMIT $2
"""
_KEY_USES = "SELECT kid, first_used, last_used, uses FROM key_use WHERE subject = $1"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A verified token request, to be remembered."""

    subject: str
    kid: str
    instance_id: str
    jkt: str
    one_use: OneUse
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """A running copy of an identity, by the key that it proves."""

    instance_id: str
    jkt: str
    first_seen: datetime
    last_seen: datetime
    tokens: int


@dataclass(frozen=True, slots=True)
class KeyUse:
    """When a registered key authenticated, and how often."""

    kid: str
    first_used: datetime
    last_used: datetime
    uses: int


class Identities:
    """Callers and channels, over the registry and PostgreSQL."""

    def __init__(self, database: Database, registry: Registry) -> None:
        """Keep where answers come from."""
        self._database = database
        self._registry = registry
        self._clients: OrderedDict[tuple[str, str, int], ClientRow] = OrderedDict()

    async def client(self, client: ClientId) -> ClientRow | None:
        """Return a client with its keys, or None if there is no such row."""
        row = await self._registry.get(client.kind.value, client.subject_id)
        return self._client(row)

    async def standing(
        self, token: AccessToken
    ) -> tuple[frozenset[str], Mapping[str, int]]:
        """Return the keys of an active holder, else none, and the epochs now."""
        scopes = [scope for scope, _ in token.epochs.scopes]
        row, epochs = await self._registry.now(
            token.kind.value, token.subject_id, scopes
        )
        client = self._client(row)
        return (client.kids if client else frozenset()), epochs

    async def channel(self, channel_id: str) -> ChannelFacts | None:
        """Return what a channel may say, or None if there is no such row."""
        row = await self._registry.get("channel", channel_id)
        try:
            return parse_channel(row).facts() if row else None
        except RowError:
            return None

    async def person(self, person_id: str) -> PersonRow | None:
        """Return a person, or None if there is no such row."""
        row = await self._registry.get("person", person_id)
        try:
            return parse_person(row) if row else None
        except RowError:
            return None

    async def policy_version(self) -> int:
        """Return the revision of the policy in force, 0 if there is none."""
        row = await self._registry.get("policy", "main")
        return row.revision if row else 0

    async def admit(self, arrival: Arrival) -> tuple[str, Mapping[str, int]]:
        """Remember a token request; return ok, replayed or crowded, and the epochs."""
        answer = await self._database.value(
            _ADMIT,
            arrival.subject,
            arrival.one_use.name,
            arrival.one_use.until,
            arrival.kid,
            arrival.instance_id,
            arrival.jkt,
            INSTANCES_MAX,
            list(arrival.scopes),
        )
        return answer["word"], answer.get("epochs", {})

    async def instances(self, subject: str) -> Sequence[Instance]:
        """Return the instances of an identity, the latest seen first."""
        rows = await self._database.rows(_INSTANCES, subject, INSTANCES_LISTED_MAX)
        return [Instance(**dict(row)) for row in rows]

    async def key_uses(self, subject: str) -> Mapping[str, KeyUse]:
        """Return when each key of an identity was used, by kid."""
        rows = await self._database.rows(_KEY_USES, subject)
        return {row["kid"]: KeyUse(**dict(row)) for row in rows}

    def _client(self, row: AuthorityRow | None) -> ClientRow | None:
        if row is None:
            return None
        key = (row.kind, row.row_id, row.revision)
        kept = self._clients.get(key)
        if kept is not None:
            self._clients.move_to_end(key)
            return kept
        try:
            client = parse_client(row)
        except RowError:
            return None
        self._clients[key] = client
        while len(self._clients) > CLIENTS_KEPT_MAX:
            self._clients.popitem(last=False)
        return client

"""What is known about callers now: rows, keys, epochs, instances.

Each answer is one statement. Rows are read once per revision and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.effects.parsed import Parsed
from broker.registry.clients import chain_stands, parse_client
from broker.registry.kit.permissions import ToolUse
from broker.registry.people import parse_person
from broker.registry.records import Admission, Instance, KeyUse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.authenticate import ClientId
    from broker.core.words.identity import AccessToken
    from broker.effects.database import Database
    from broker.effects.registry import Registry
    from broker.registry.clients import ClientRow
    from broker.registry.people import PersonRow
    from broker.registry.records import Arrival

INSTANCES_MAX: Final = 1_000
"""Keys that one identity may prove within an hour."""

INSTANCES_LISTED_MAX: Final = 500

TOOL_USES_MAX: Final = 100_000
"""Pairs of an agent and a tool; those used longest ago are left out."""

_ADMIT = "SELECT token_admit($1, $2, $3, $4, $5, $6, $7, $8)"
_INSTANCES = """
SELECT instance_id::text, jkt, first_seen, last_seen, tokens FROM instance
 WHERE subject = $1 ORDER BY last_seen DESC LIMIT $2
"""
_KEY_USES = "SELECT kid, first_used, last_used, uses FROM key_use WHERE subject = $1"
_TOOL_USES = """
SELECT agent_id, tool, count(*) AS uses, max(created_at) AS last_used FROM action
 WHERE tenant = $1 AND environment = $2 AND created_at >= $3
   AND warrant_id IS NOT NULL
 GROUP BY agent_id, tool ORDER BY last_used DESC LIMIT $4
"""


class Identities:
    """Callers and channels, over the registry and PostgreSQL."""

    def __init__(self, database: Database, registry: Registry) -> None:
        """Keep where answers come from."""
        self._database = database
        self._registry = registry
        self._clients = Parsed(parse_client)
        self._people = Parsed(parse_person)

    async def client(self, client: ClientId) -> ClientRow | None:
        """Return a client with its keys, or None if there is no such row."""
        row = await self._registry.get(client.kind.value, client.subject_id)
        return self._clients.of(row)

    async def standing(
        self, token: AccessToken
    ) -> tuple[frozenset[str], Mapping[str, int]]:
        """Return the keys of an active holder, else none, and the epochs now.

        A holder that acts on the authority of others is active while all of them are.
        """
        scopes = [scope for scope, _ in token.epochs.scopes]
        row, epochs = await self._registry.now(
            token.kind.value, token.subject_id, scopes
        )
        holder = self._clients.of(row)
        if holder is None or (
            token.actors and not await chain_stands(token, holder, client=self.client)
        ):
            return frozenset(), epochs
        return holder.kids, epochs

    async def person(self, person_id: str) -> PersonRow | None:
        """Return a person, or None if there is no such row."""
        return self._people.of(await self._registry.get("person", person_id))

    async def policy_version(self) -> int:
        """Return the revision of the policy in force, 0 if there is none."""
        row = await self._registry.get("policy", "main")
        return row.revision if row else 0

    async def admit(self, arrival: Arrival) -> Admission:
        """Remember a token request, unless its assertion was used before."""
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
        return Admission(answer["word"], answer.get("epochs", {}))

    async def instances(self, subject: str) -> Sequence[Instance]:
        """Return the instances of an identity, the latest seen first."""
        rows = await self._database.rows(_INSTANCES, subject, INSTANCES_LISTED_MAX)
        return [Instance(**dict(row)) for row in rows]

    async def key_uses(self, subject: str) -> Mapping[str, KeyUse]:
        """Return when each key of an identity was used, by kid."""
        rows = await self._database.rows(_KEY_USES, subject)
        return {row["kid"]: KeyUse(**dict(row)) for row in rows}

    async def tool_uses(
        self, tenant: str, environment: str, *, since: datetime
    ) -> Sequence[ToolUse]:
        """Return for which tools warrants were issued to whom since then."""
        rows = await self._database.rows(
            _TOOL_USES, tenant, environment, since, TOOL_USES_MAX
        )
        return [ToolUse(**dict(row)) for row in rows]

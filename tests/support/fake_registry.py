"""The registry and the memory of single uses, in memory: fakes of their adapters.

Each passes the same contract suite as the adapter (tests/contracts/test_registry.py and
test_replay.py). Rows are signed and verified as in the real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from broker.core.identity.dpop import NonceRule
from broker.core.jwk import Algorithm
from broker.core.jws import sign
from broker.core.words.errors import (
    ConflictError,
    RowHiddenError,
    StoreUnavailableError,
)
from broker.effects.parsed import Parsed
from broker.effects.registry import FORGED_MAX
from broker.registry.authority import (
    AUTHORITY_TYP,
    ROW_BYTES_MAX,
    AuthorityRow,
    Realm,
    row_claims,
    verify_row,
)
from broker.registry.clients import chain_stands, parse_client
from broker.registry.kit.permissions import ToolUse
from broker.registry.people import parse_person
from broker.registry.reading import RowError
from broker.registry.records import Admission, Change, Instance, KeyUse, hint_of
from tests.support.identities import ENVIRONMENT, NOW, TENANT, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.authenticate import ClientId
    from broker.core.words.entry import AuditEntry
    from broker.core.words.identity import AccessToken, OneUse
    from broker.registry.clients import ClientRow
    from broker.registry.people import PersonRow
    from broker.registry.records import Arrival

AUTHORITY_KEY = key_of("authority", Algorithm.EDDSA)
REALM = Realm(TENANT, ENVIRONMENT, {AUTHORITY_KEY.kid: AUTHORITY_KEY.public()})


def signed_row(row: AuthorityRow, *, key: Any = AUTHORITY_KEY) -> str:
    """Return a row as the table holds it."""
    return sign(row_claims(row), key=key, typ=AUTHORITY_TYP, bytes_max=ROW_BYTES_MAX)


@dataclass
class FakeRegistry:
    """Signed rows and epochs; ``entries`` are what was logged with them."""

    realm: Realm = REALM
    rows: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    entries: list[AuditEntry] = field(default_factory=list)
    down: bool = False

    async def insert(self, kind: str, row_id: str, revision: int, signed: str) -> None:
        """Write to the table without asking anybody."""
        self.rows.setdefault((kind, row_id), {})[revision] = signed

    async def bury(self, kind: str, row_id: str, *, below: int) -> None:
        """Write rows that do not verify from the second revision on."""
        for revision in range(2, below):
            await self.insert(kind, row_id, revision, "forged")

    async def staged(self) -> int:
        """Return how many entries were staged."""
        return len(self.entries)

    async def get(self, kind: str, row_id: str) -> AuthorityRow | None:
        row, _ = await self.now(kind, row_id, ())
        return row

    async def now(
        self, kind: str, row_id: str, scopes: Sequence[str]
    ) -> tuple[AuthorityRow | None, dict[str, int]]:
        if self.down:
            msg = "the database does not answer"
            raise StoreUnavailableError(msg)
        epochs = {scope: self.moved[scope] for scope in scopes if scope in self.moved}
        newest = sorted(self.rows.get((kind, row_id), {}), reverse=True)[:FORGED_MAX]
        for revision in newest:
            row = self._verified(kind, row_id, revision)
            if row is not None:
                return row, epochs
        if len(newest) == FORGED_MAX:
            msg = f"a row of {kind} lies behind rows that do not verify"
            raise RowHiddenError(msg)
        return None, epochs

    async def list(self, kind: str) -> list[AuthorityRow]:
        ids = sorted(row_id for one, row_id in self.rows if one == kind)
        found = [await self.get(kind, row_id) for row_id in ids]
        return [row for row in found if row is not None]

    async def history(
        self, kind: str, row_id: str, *, limit: int
    ) -> Sequence[AuthorityRow]:
        newest = sorted(self.rows.get((kind, row_id), {}), reverse=True)[:limit]
        rows = [self._verified(kind, row_id, revision) for revision in newest]
        return [row for row in rows if row is not None]

    async def epochs(self, scopes: Sequence[str]) -> dict[str, int]:
        _, epochs = await self.now("agent", "none", scopes)
        return epochs

    async def waiting(self, kind: str, about: str) -> int:
        found = [hint_of(kind, row.body) for row in await self.list(kind)]
        return sum(
            about in hint.about
            and hint.until is not None
            and hint.until > datetime.now(UTC)
            for hint in found
        )

    async def put(self, change: Change, entry: AuditEntry) -> AuthorityRow:
        current = await self.get(change.kind, change.row_id)
        if (current.revision if current else 0) != change.after:
            msg = "somebody else changed this meanwhile"
            raise ConflictError(msg)
        revision = change.after + 1
        while revision in self.rows.get((change.kind, change.row_id), {}):
            revision += 1
        row = AuthorityRow(
            kind=change.kind,
            row_id=change.row_id,
            revision=revision,
            at=change.at,
            by=change.by,
            tenant=self.realm.tenant,
            environment=self.realm.environment,
            body=change.body,
        )
        await self.insert(row.kind, row.row_id, row.revision, signed_row(row))
        self._move(change.revokes)
        self.entries.append(entry)
        return row

    async def revoke(self, scopes: Sequence[str], entry: AuditEntry) -> dict[str, int]:
        self._move(scopes)
        self.entries.append(entry)
        return {scope: self.moved[scope] for scope in scopes}

    def _move(self, scopes: Sequence[str]) -> None:
        for scope in scopes:
            self.moved[scope] = self.moved.get(scope, 0) + 1

    def _verified(self, kind: str, row_id: str, revision: int) -> AuthorityRow | None:
        try:
            return verify_row(
                self.rows[kind, row_id][revision],
                realm=self.realm,
                kind=kind,
                row_id=row_id,
                revision=revision,
            )
        except RowError:
            return None


@dataclass
class FakeIdentities:
    """Callers out of a fake registry."""

    registry: FakeRegistry
    instances_max: int = 1_000
    now: Callable[[], datetime] = lambda: NOW
    seen: set[bytes] = field(default_factory=set)
    running: dict[str, dict[str, Instance]] = field(default_factory=dict)
    used: dict[str, dict[str, KeyUse]] = field(default_factory=dict)
    tools_used: list[ToolUse] = field(default_factory=list)
    clients: Parsed[ClientRow] = field(default_factory=lambda: Parsed(parse_client))
    people: Parsed[PersonRow] = field(default_factory=lambda: Parsed(parse_person))

    async def client(self, client: ClientId) -> ClientRow | None:
        return self.clients.of(
            await self.registry.get(client.kind.value, client.subject_id)
        )

    async def standing(
        self, token: AccessToken
    ) -> tuple[frozenset[str], Mapping[str, int]]:
        scopes = [scope for scope, _ in token.epochs.scopes]
        row, epochs = await self.registry.now(
            token.kind.value, token.subject_id, scopes
        )
        holder = self.clients.of(row)
        if holder is None or (
            token.actors and not await chain_stands(token, holder, client=self.client)
        ):
            return frozenset(), epochs
        return holder.kids, epochs

    async def person(self, person_id: str) -> PersonRow | None:
        return self.people.of(await self.registry.get("person", person_id))

    async def policy_version(self) -> int:
        row = await self.registry.get("policy", "main")
        return row.revision if row else 0

    async def admit(self, arrival: Arrival) -> Admission:
        if arrival.one_use.name in self.seen:
            return Admission("replayed", {})
        self.seen.add(arrival.one_use.name)
        running = self.running.setdefault(arrival.subject, {})
        known = running.get(arrival.instance_id)
        if known is None and len(running) >= self.instances_max:
            return Admission("crowded", {})
        running[arrival.instance_id] = Instance(
            instance_id=arrival.instance_id,
            jkt=arrival.jkt,
            first_seen=known.first_seen if known else self.now(),
            last_seen=self.now(),
            tokens=known.tokens + 1 if known else 1,
        )
        used = self.used.setdefault(arrival.subject, {})
        before = used.get(arrival.kid)
        used[arrival.kid] = KeyUse(
            kid=arrival.kid,
            first_used=before.first_used if before else self.now(),
            last_used=self.now(),
            uses=before.uses + 1 if before else 1,
        )
        return Admission("ok", await self.registry.epochs(arrival.scopes))

    async def instances(self, subject: str) -> Sequence[Instance]:
        return list(self.running.get(subject, {}).values())

    async def key_uses(self, subject: str) -> Mapping[str, KeyUse]:
        return self.used.get(subject, {})

    async def tool_uses(
        self, tenant: str, environment: str, *, since: datetime
    ) -> Sequence[ToolUse]:
        return [use for use in self.tools_used if use.last_used >= since]


@dataclass
class FakeMemory:
    """Single uses: a fast memory that can be lost, and one that cannot.

    ``away`` is the fast one not answering; `forget` is it losing what it knew.
    """

    now: Callable[[], datetime] = lambda: NOW
    epoch: int = 2
    changed_at: datetime = NOW - timedelta(days=1)
    keeper: str = "fast"
    away: bool = False
    fast: set[bytes] = field(default_factory=set)
    slow: set[bytes] = field(default_factory=set)
    lost: bool = False

    def forget(self) -> None:
        """Lose everything that the fast memory knew."""
        self.fast.clear()
        self.lost = True

    async def rule(self) -> NonceRule:
        if self.keeper == "slow" and not self.away:
            self._move("fast")
        return NonceRule(self.epoch, self.changed_at, self.keeper == "slow")

    async def refresh(self) -> NonceRule:
        return NonceRule(self.epoch, self.changed_at, self.keeper == "slow")

    async def first_proof(self, use: OneUse, *, epoch: int) -> bool | None:
        if epoch != self.epoch:
            return None
        if self.keeper == "fast" and (self.away or self.lost):
            self._move("slow" if self.away else "fast")
            return None
        kept = self.fast if self.keeper == "fast" else self.slow
        return self._first(kept, use)

    async def first_ever(self, use: OneUse) -> bool:
        return self._first(self.slow, use)

    def _move(self, keeper: str) -> None:
        self.epoch += 1
        self.keeper = keeper
        self.changed_at = self.now()
        self.lost = False

    def _first(self, kept: set[bytes], use: OneUse) -> bool:
        first = use.name not in kept
        kept.add(use.name)
        return first

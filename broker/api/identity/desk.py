"""The desk: everything that establishing a caller needs, put together once.

`broker.wiring` fills it in and hangs it on ``app.state.desk``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from broker.api.identity.read_tokens import ReadTokens
from broker.core.authenticate import Trust
from broker.core.identity.refusals import HolderRefusals, Refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from broker.core.authenticate import ClientId, NonceRule
    from broker.core.identity.signing_keys import Pace
    from broker.core.identity.workload import Federation, IssuerKey
    from broker.core.jwk import PrivateKey, PublicKey
    from broker.core.words.entry import AuditEntry
    from broker.core.words.identity import AccessToken, OneUse
    from broker.core.words.subject import Interaction
    from broker.core.words.tool import Tool
    from broker.ports import Clock, Ids, Journal, Replay
    from broker.registry.authority import AuthorityRow
    from broker.registry.clients import ClientRow
    from broker.registry.keys.ages import OwnKey
    from broker.registry.kit.permissions import ToolUse
    from broker.registry.people import PersonRow
    from broker.registry.records import Admission, Arrival, Change, Instance, KeyUse
    from broker.watch.timeline import Acted, Found, Logged

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  (a path)


class Identities(Protocol):
    """Callers, as the signed rows know them now."""

    async def client(self, client: ClientId) -> ClientRow | None:
        """Return a client with its keys, or None if there is no such row."""

    async def standing(
        self, token: AccessToken
    ) -> tuple[frozenset[str], Mapping[str, int]]:
        """Return the keys of an active holder, else none, and the epochs now."""

    async def person(self, person_id: str) -> PersonRow | None:
        """Return a person, or None if there is no such row."""

    async def policy_version(self) -> int:
        """Return the revision of the policy in force, 0 if there is none."""

    async def admit(self, arrival: Arrival) -> Admission:
        """Remember a token request, unless its assertion was used before."""

    async def instances(self, subject: str) -> Sequence[Instance]:
        """Return the instances of an identity, the latest seen first."""

    async def key_uses(self, subject: str) -> Mapping[str, KeyUse]:
        """Return when each key of an identity was used, by kid."""

    async def tool_uses(
        self, tenant: str, environment: str, *, since: datetime
    ) -> Sequence[ToolUse]:
        """Return for which tools warrants were issued to whom since then."""


class Proofs(Protocol):
    """The memory of DPoP proofs, and the nonce epoch that goes with it."""

    async def rule(self) -> NonceRule:
        """Return what holds as far as this replica knows."""

    async def refresh(self) -> NonceRule:
        """Ask what holds, and return it."""

    async def first_proof(self, use: OneUse, *, epoch: int) -> bool | None:
        """Return whether a proof is used first, or None if the epoch has moved."""


class Registry(Protocol):
    """Signed rows, and their changes."""

    async def get(self, kind: str, row_id: str) -> AuthorityRow | None:
        """Return the row in force, or None if there is none that verifies."""

    async def list(self, kind: str) -> list[AuthorityRow]:
        """Return every row of a kind that is in force, by id."""

    async def history(
        self, kind: str, row_id: str, *, limit: int
    ) -> Sequence[AuthorityRow]:
        """Return the newest revisions that verify, newest first."""

    async def waiting(self, kind: str, about: str) -> int:
        """Return how many rows of a kind are about somebody, and wait."""

    async def put(self, change: Change, entry: AuditEntry) -> AuthorityRow:
        """Sign and add a revision, revoke what it narrows, and log it."""

    async def revoke(self, scopes: Sequence[str], entry: AuditEntry) -> dict[str, int]:
        """Void everything issued under these scopes, and log it."""


class Interactions(Protocol):
    """Where a token that is bound to one interaction finds it."""

    async def interaction(self, interaction_id: str) -> Interaction | None:
        """Return an interaction, or None."""


class Past(Protocol):
    """What the record says about identities."""

    async def entries(self, subject_id: str, *, first: int = 0) -> Found[Logged]:
        """Return the entries about an identity that verify, in their order."""

    async def actions(
        self, agent_id: str, *, until: datetime | None = None
    ) -> Found[Acted]:
        """Return the latest actions of an agent, the earliest first."""


class Issuers(Protocol):
    """The keys of issuers that agents' rows trust."""

    async def key(self, federation: Federation, kid: str) -> IssuerKey | None:
        """Return the issuer's key of this name, or None if it has none."""


class NoIssuers:
    """Nobody else's word counts."""

    async def key(self, federation: Federation, kid: str) -> IssuerKey | None:  # noqa: ARG002
        """Return none."""
        return None


class Keys(Protocol):
    """The keys that tokens and nonces are made with."""

    @property
    def pace(self) -> Pace:
        """Return the times that a signing key's life follows from."""

    @property
    def token(self) -> PrivateKey:
        """Signs access tokens."""

    @property
    def tokens(self) -> Mapping[str, PublicKey]:
        """Verify access tokens, by kid."""

    @property
    def nonce_secret(self) -> bytes:
        """Makes DPoP nonces."""

    def jwks(self) -> dict[str, Any]:
        """Return the document at ``jwks_uri``."""

    async def fresh(self) -> PublicKey:
        """Make and seal a key, to be published."""

    async def refresh(self) -> None:
        """Read the ring of keys again."""

    async def drop(self, kid: str) -> None:
        """Delete the private half of a key that was compromised."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that establishing a caller needs.

    ``origins`` are the public origins of all replicas, as `origin_of` writes them;
    ``replica`` names this process in entries; ``tools`` are those that are loaded;
    ``own_keys`` gives the broker's that are files.
    """

    issuer: str
    origins: frozenset[str]
    tenant: str
    environment: str
    replica: str
    clock: Clock
    ids: Ids
    keys: Keys
    identities: Identities
    proofs: Proofs
    replay: Replay
    registry: Registry
    interactions: Interactions
    journal: Journal
    past: Past
    tools: tuple[Tool, ...] = ()
    own_keys: Callable[[], tuple[OwnKey, ...]] = tuple
    issuers: Issuers = field(default_factory=NoIssuers)
    refusals: Refusals = field(default_factory=Refusals)
    holders: HolderRefusals = field(default_factory=HolderRefusals)
    tokens: ReadTokens = field(default_factory=ReadTokens)

    def trust(self, *audiences: str) -> Trust:
        """Return what a token is compared with at a resource of these names."""
        return Trust(
            issuer=self.issuer,
            audiences=frozenset(audiences),
            keys=self.keys.tokens,
            tenant=self.tenant,
            environment=self.environment,
        )

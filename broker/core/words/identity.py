"""What identities show: registered keys, assertions, proofs, tokens, reported turns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  (dataclass fields are inspected)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.jwk import PublicKey
    from broker.core.words.subject import (
        Epochs,
        Grant,
        SubjectKind,
        VerificationLevel,
    )

ACCESS_TOKEN_TYP = "at+jwt"  # noqa: S105  (a media type, RFC 9068)
INTERACTION_TYP = "counterfoil-interaction+jwt"
TURN_TYP = "counterfoil-turn+jwt"
ASKING_TYP = "counterfoil-asking+jwt"
ENDING_TYP = "counterfoil-ending+jwt"


@dataclass(frozen=True, slots=True)
class RegisteredKey:
    """A public key in one of an identity's slots, and when it may authenticate.

    ``not_before`` is inclusive, ``not_after`` exclusive; None leaves that side open.
    """

    key: PublicKey
    not_before: datetime | None = None
    not_after: datetime | None = None

    def valid_at(self, now: datetime) -> bool:
        """Return whether this key may authenticate at ``now``."""
        started = self.not_before is None or self.not_before <= now
        return started and (self.not_after is None or now < self.not_after)


@dataclass(frozen=True, slots=True)
class OneUse:
    """What must never be seen twice: a 32 byte name, to be remembered ``until``.

    The name is a hash over the kind of artefact, the key that signed and the ``jti``:
    another party's equal ``jti`` is another name, so nobody can use up ours.
    """

    name: bytes
    until: datetime


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """A verified ``private_key_jwt``: who authenticates, and with which key."""

    subject: str
    kid: str
    issued_at: datetime | None
    expires_at: datetime
    one_use: OneUse


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified DPoP proof: the key it shows, and the server nonce it carries."""

    jkt: str
    nonce: str
    issued_at: datetime
    one_use: OneUse


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What an access token says; ``jkt`` is empty for a Bearer token.

    ``client_kid`` is the key that the client authenticated with, ``policy`` the policy
    version at issue, ``customer_ref`` the opaque reference of the interaction's
    customer (empty while unbound).

    Of a delegated token ``kind`` and ``subject_id`` are whoever holds it, which is the
    current actor; ``principal`` is on whose authority, and ``actors`` are all who act,
    the current one first. ``delegation_id`` names this link of the chain, ``may_act``
    the one agent that may exchange it; ``lent_with`` are the keys that everybody above
    authenticated with, the nearest first; ``counts`` are (name, most) of counts that it
    is charged to.
    """

    kind: SubjectKind
    subject_id: str
    audience: str
    token_id: str
    grant_id: str
    instance_id: str
    client_kid: str
    jkt: str
    tenant: str
    environment: str
    issued_at: datetime
    expires_at: datetime
    epochs: Epochs
    grant: Grant
    policy: int = 0
    customer_ref: str = ""
    principal: str = ""
    actors: tuple[str, ...] = ()
    delegation_id: str = ""
    may_act: str = ""
    lent_with: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    @property
    def subject(self) -> str:
        """Return its holder as tokens and entries name it, such as ``agent:<id>``."""
        return f"{self.kind.value}:{self.subject_id}"


@dataclass(frozen=True, slots=True)
class InteractionOpening:
    """A channel's verified word that a conversation began, and with whom.

    ``customer`` is the upstream's id, empty while nobody knows; ``evidence`` says how
    the channel knows the customer, as it said it (graded *attested*);
    ``customer_flags`` what it marks the customer as, such as ``vulnerable``.
    """

    channel_id: str
    kid: str
    agent_id: str
    use_case: str
    customer: str
    verification: VerificationLevel
    channel: str
    topics: tuple[str, ...]
    locale: str
    purpose: str
    consent_version: str
    ai_disclosed_at: datetime | None
    evidence: Mapping[str, Any]
    issued_at: datetime
    one_use: OneUse
    customer_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnReport:
    """A channel's verified word of what was said; ``speaker`` is customer or agent."""

    channel_id: str
    kid: str
    interaction_id: str
    speaker: str
    text: str
    at: datetime
    one_use: OneUse

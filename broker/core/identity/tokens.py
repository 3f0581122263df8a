"""Access tokens: what they say, how they are read, and which scopes can void them.

A token is an order of the moment, not a record: 300 seconds, one audience, no personal
data. Each names the revocation epochs under which it was issued, so that a revocation
ends it without anybody keeping a list.

Source: RFC 9068; RFC 8693 section 4.1 (act); RFC 9449 section 6 (cnf.jkt).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from broker.core.identity.chain import (
    ACTORS_MAX,
    parse_agent,
    parse_principal,
)
from broker.core.identity.claims import CLOCK_AHEAD_S_MAX, text_claim, time_claim
from broker.core.identity.grants import GrantError, read_detail, write_detail
from broker.core.jwk import JwsError, Problem, is_kid
from broker.core.jws import check, claims_of, unpack
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.identity import ACCESS_TOKEN_TYP, AccessToken
from broker.core.words.subject import Epochs, Grant, SubjectKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.jwk import PublicKey

ACCESS_TOKEN_TTL_S_MAX: Final = 300
TOKEN_BYTES_MAX: Final = 8_192
EPOCHS_MAX: Final = 14
"""Scopes that one token names: for each of four agents itself and its running copy, for
each of three links the link, the grant, the environment, and one to spare."""

_CLAIM_CHARS = 512
_HOLDERS = frozenset({SubjectKind.AGENT, SubjectKind.PERSON, SubjectKind.SERVICE})
_SUBJECT = re.compile(r"([a-z]+):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_REFUSED = "the access token is not acceptable"
_HINT = "get a new one at the token endpoint"


@dataclass(frozen=True, slots=True)
class Trust:
    """What a token must match: our name and keys, and where it is shown.

    ``audiences`` are the resources that the called endpoint belongs to; a token names
    exactly one of them. None is for reading a token about which somebody asks, and
    opens nothing.
    """

    issuer: str
    audiences: frozenset[str] | None
    keys: Mapping[str, PublicKey]
    tenant: str
    environment: str


@dataclass(frozen=True, slots=True)
class ReadToken:
    """A token whose signature holds: what it says, who issued it, with which key."""

    token: AccessToken
    issuer: str
    kid: str


def instance_id(subject: str, *, jkt: str) -> str:
    """Return the id of a running instance: one key of one identity, always the same id.

    It is computed, not looked up: deleting a row somewhere does not give a revoked
    instance a new name.

    Source: RFC 9562 section 5.8 (UUIDv8).
    """
    digest = bytearray(sha256(f"{subject}\0{jkt}".encode("ascii")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(digest)))


def revocation_scopes(
    subject: str, *, environment: str, instance: str, grant: str
) -> tuple[str, ...]:
    """Return the scopes whose epochs can void a token of this subject."""
    return (
        f"global:{environment}",
        subject,
        f"instance:{instance}",
        f"grant:{grant}",
    )


def key_scope(kid: str) -> str:
    """Return the scope whose epoch moves when a signing key is compromised."""
    return f"key:{kid}"


def access_token_claims(token: AccessToken, *, issuer: str) -> dict[str, Any]:
    """Return the claims of an access token, to be signed as ``at+jwt`` with ES256."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": token.principal or token.subject,
        "client_id": token.subject,
        "aud": token.audience,
        "iat": int(token.issued_at.timestamp()),
        "nbf": int(token.issued_at.timestamp()),
        "exp": int(token.expires_at.timestamp()),
        "jti": token.token_id,
        "gid": token.grant_id,
        "ins": token.instance_id,
        "ckid": token.client_kid,
        "tenant": token.tenant,
        "env": token.environment,
        "epochs": dict(token.epochs.scopes),
        "pol": token.policy,
    }
    if token.jkt:
        claims["cnf"] = {"jkt": token.jkt}
    if token.grant != Grant():
        claims["authorization_details"] = [write_detail(token.grant)]
    if token.customer_ref:
        claims["customer_ref"] = token.customer_ref
    if token.delegation_id:
        claims["did"] = token.delegation_id
    if token.lent_with:
        claims["lent_with"] = list(token.lent_with)
    if token.may_act:
        claims["may_act"] = {"sub": token.may_act}
    if token.counts:
        claims["counts"] = dict(token.counts)
    act: dict[str, Any] | None = None
    for actor in reversed(token.actors):
        act = {"sub": actor} | ({"act": act} if act else {})
    return claims | ({"act": act} if act else {})


def verify_access_token(token: str, *, trust: Trust, now: datetime) -> AccessToken:
    """Verify an access token by itself: signature, type, issuer, audience and times.

    Whether it has been revoked, and whether its holder holds the key, is for the caller
    to find out (``authenticate.admit``).

    Raises:
        UnauthenticatedError: It is not one of ours, not for here, or not for now.

    Source: RFC 9068 section 4.
    """
    return check_access_token(
        read_access_token(token, trust.keys), trust=trust, now=now
    )


def read_access_token(token: str, keys: Mapping[str, PublicKey]) -> ReadToken:
    """Verify the signature of a token and read it; what it is for is checked apart.

    This half depends on the text and the keys alone, so it may be remembered.

    Raises:
        UnauthenticatedError: It is not one of ours.
    """
    try:
        claims, kid = _signed(token, keys)
    except JwsError as error:
        msg = f"{_REFUSED} ({error.problem})"
        raise UnauthenticatedError(msg, hint=_HINT) from None
    return ReadToken(_read(claims, kid), _text(claims, "iss"), kid)


def check_access_token(token: ReadToken, *, trust: Trust, now: datetime) -> AccessToken:
    """Check that a token is for here and for now.

    Raises:
        UnauthenticatedError: It is not, or its key is no longer trusted.
    """
    read = token.token
    here = (trust.issuer, trust.tenant, trust.environment)
    if token.kid not in trust.keys:
        msg = f"{_REFUSED} (its key is not trusted any more)"
        raise UnauthenticatedError(msg, hint=_HINT)
    if (token.issuer, read.tenant, read.environment) != here:
        msg = f"{_REFUSED} (issued for another place)"
        raise UnauthenticatedError(msg, hint=_HINT)
    if trust.audiences is not None and read.audience not in trust.audiences:
        msg = "the access token is for another resource"
        hint = "ask for this one with the resource parameter"
        raise UnauthenticatedError(msg, hint=hint)
    if read.expires_at <= now:
        msg = "the access token has expired"
        raise UnauthenticatedError(msg, hint=_HINT)
    if read.issued_at > now + timedelta(seconds=CLOCK_AHEAD_S_MAX):
        msg = "the access token is from the future"
        raise UnauthenticatedError(msg, hint=_HINT)
    # Authority is short-lived whoever signed it: a stolen signing key mints no year.
    life = read.expires_at - read.issued_at
    if life > timedelta(seconds=ACCESS_TOKEN_TTL_S_MAX):
        msg = f"{_REFUSED} (lives too long)"
        raise UnauthenticatedError(msg, hint=_HINT)
    return read


def claimed_holder(token: str) -> tuple[str, str]:
    """Return whose token it says it is, and got with which key; nothing verified it.

    Each is empty where it has not the form of one.
    """
    try:
        claims = claims_of(unpack(token, bytes_max=TOKEN_BYTES_MAX))
    except JwsError:
        return "", ""
    subject, kid = claims.get("client_id"), claims.get("ckid")
    return (
        subject if isinstance(subject, str) and _SUBJECT.fullmatch(subject) else "",
        kid if isinstance(kid, str) and is_kid(kid) else "",
    )


def _signed(token: str, keys: Mapping[str, PublicKey]) -> tuple[dict[str, Any], str]:
    parts = unpack(token, bytes_max=TOKEN_BYTES_MAX)
    if parts.typ != ACCESS_TOKEN_TYP:
        raise JwsError(Problem.TYP, f"not a {ACCESS_TOKEN_TYP}")
    if parts.kid not in keys:
        raise JwsError(Problem.UNKNOWN_KEY, "signed by a key that is not ours")
    check(parts, key=keys[parts.kid])
    return claims_of(parts), parts.kid


def _read(claims: Mapping[str, Any], kid: str) -> AccessToken:
    actors = _actors(claims)
    kind, subject_id = _holder(claims)
    holder = f"{kind.value}:{subject_id}"
    issued_at, expires_at = time_claim(claims, "iat"), time_claim(claims, "exp")
    policy = claims.get("pol")
    if issued_at is None or expires_at is None or type(policy) is not int:
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return AccessToken(
        kind=kind,
        subject_id=subject_id,
        audience=_text(claims, "aud"),
        token_id=_text(claims, "jti"),
        grant_id=_text(claims, "gid"),
        instance_id=_text(claims, "ins"),
        client_kid=_text(claims, "ckid"),
        jkt=_jkt(claims),
        tenant=_text(claims, "tenant"),
        environment=_text(claims, "env"),
        issued_at=issued_at,
        expires_at=expires_at,
        epochs=_epochs(claims, kid),
        grant=_grant(claims),
        policy=policy,
        customer_ref=_text(claims, "customer_ref") if "customer_ref" in claims else "",
        principal=_principal(claims, holder, actors),
        actors=actors,
        delegation_id=_text(claims, "did") if "did" in claims else "",
        may_act=_may_act(claims),
        lent_with=_lent_with(claims, actors),
        counts=_counts(claims),
    )


def _text(claims: Mapping[str, Any], name: str) -> str:
    return text_claim(claims, name, chars_max=_CLAIM_CHARS)


def _holder(claims: Mapping[str, Any]) -> tuple[SubjectKind, str]:
    match = _SUBJECT.fullmatch(_text(claims, "client_id"))
    if match is None or match[1] not in _HOLDERS:
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return SubjectKind(match[1]), match[2]


def _principal(claims: Mapping[str, Any], holder: str, actors: tuple[str, ...]) -> str:
    """Return on whose authority a token is, empty for its holder's own.

    A token with actors is never read as one of its subject, nor one of its holder.
    """
    subject = _text(claims, "sub")
    if not actors:
        if subject != holder or "did" in claims:
            raise UnauthenticatedError(_REFUSED, hint=_HINT)
        return ""
    if (
        actors[0] != holder
        or "did" not in claims
        or parse_principal(subject) is None
        or not all(parse_agent(actor) for actor in actors)
        or len({subject, *actors}) != len(actors) + 1
    ):
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return subject


def _may_act(claims: Mapping[str, Any]) -> str:
    if "may_act" not in claims:
        return ""
    match claims["may_act"]:
        case {"sub": str(agent), **rest} if parse_agent(agent) and not rest:
            return agent
        case _:
            # A restriction that is not understood must not be dropped.
            raise UnauthenticatedError(_REFUSED, hint=_HINT)


def _lent_with(claims: Mapping[str, Any], actors: tuple[str, ...]) -> tuple[str, ...]:
    kids = claims.get("lent_with", [])
    if (
        not isinstance(kids, list)
        or len(kids) > len(actors)
        or not all(isinstance(kid, str) and kid for kid in kids)
    ):
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return tuple(kids)


def _counts(claims: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    counts = claims.get("counts", {})
    if (
        not isinstance(counts, dict)
        or len(counts) > ACTORS_MAX + 1
        or not all(type(most) is int and most > 0 for most in counts.values())
    ):
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return tuple(sorted(counts.items()))


def _jkt(claims: Mapping[str, Any]) -> str:
    if "cnf" not in claims:
        return ""
    match claims["cnf"]:
        case {"jkt": str(jkt), **rest} if jkt and not rest:
            return jkt
        case _:
            # A confirmation that is not understood must not make a token unbound.
            raise UnauthenticatedError(_REFUSED, hint=_HINT)


def _epochs(claims: Mapping[str, Any], kid: str) -> Epochs:
    """Return the epochs that a token was issued under, and that of its signing key.

    The last is 0, whatever the token says of it: it moves once, when the key is known
    to be compromised, and whoever has the key could write down anything.
    """
    epochs = claims.get("epochs")
    if (
        not isinstance(epochs, dict)
        or not 0 < len(epochs) <= EPOCHS_MAX
        or not all(type(epoch) is int for epoch in epochs.values())
    ):
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return Epochs(tuple(sorted((epochs | {key_scope(kid): 0}).items())))


def _grant(claims: Mapping[str, Any]) -> Grant:
    if "authorization_details" not in claims:
        return Grant()
    match claims["authorization_details"]:
        case [dict() as detail]:
            try:
                return read_detail(detail)
            except GrantError:
                pass
        case _:
            pass
    raise UnauthenticatedError(_REFUSED, hint=_HINT)


def _actors(claims: Mapping[str, Any]) -> tuple[str, ...]:
    actors: list[str] = []
    act = claims.get("act")
    while act is not None:
        if not isinstance(act, dict) or len(actors) == ACTORS_MAX:
            raise UnauthenticatedError(_REFUSED, hint=_HINT)
        actors.append(_text(act, "sub"))
        act = act.get("act")
    return tuple(actors)

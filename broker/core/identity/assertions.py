"""Client assertions: ``private_key_jwt``, the one way in which a client authenticates.

The profile is narrower than RFC 7523: one audience, which is the issuer; one use; at
most five minutes; a key from one of the client's registered slots.

Source: RFC 7523 sections 2.2 and 3; RFC 7523bis (draft 11); FAPI 2.0, section 5.3.2.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.identity.claims import (
    ASSERTION_LIFE_S_MAX,
    check_audience,
    check_times,
    jti_of,
    one_use,
)
from broker.core.identity.foreign import Foreign, read_foreign
from broker.core.jwk import (
    SEED_BYTES,
    Algorithm,
    JwsError,
    PublicKey,
    is_kid,
    private_from_seed,
)
from broker.core.jws import check
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.identity import ClientAssertion
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from broker.core.words.identity import RegisteredKey

KEY_SLOTS_MAX: Final = 2
"""Keys that one identity may have registered at once: the current and the next."""

SUBJECT_CHARS_MAX: Final = 64

_FIELDS = frozenset({"kid", "typ"})
_TYPES = frozenset({"", "jwt", "client-authentication+jwt"})
_SUBJECT = re.compile(
    r"(agent|person|service):([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
# Keys that nobody has: their seed is public, and they are never trusted. An unknown
# client costs the same check as a known one: neither text nor time tells them apart.
DECOYS: Final = {
    algorithm: private_from_seed(bytes(SEED_BYTES), algorithm=algorithm).public()
    for algorithm in Algorithm
}
_REFUSED = "the client could not be authenticated"
_HINT = "check client_id, kid and key against `counterfoil agents show`"


@dataclass(frozen=True, slots=True)
class ClientId:
    """Who a client says it is; the text form is ``agent:<uuid>`` and the like."""

    kind: SubjectKind
    subject_id: str

    def __str__(self) -> str:
        """Return the client id as it stands in ``iss``, ``sub`` and ``client_id``."""
        return f"{self.kind.value}:{self.subject_id}"


def parse_client_id(text: str) -> ClientId:
    """Read a client id.

    Raises:
        UnauthenticatedError: Not of the form ``agent:<uuid>``, ``person:<uuid>`` or
            ``service:<uuid>``.
    """
    match = _SUBJECT.fullmatch(text) if len(text) <= SUBJECT_CHARS_MAX else None
    if match is None:
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return ClientId(SubjectKind(match[1]), match[2])


def claimed_client(assertion: str) -> ClientId:
    """Return who an assertion says it is from, before anything is verified.

    Raises:
        UnauthenticatedError: It cannot be read.
    """
    claims = _read(assertion).claims
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return parse_client_id(subject)


def verify_client_assertion(
    assertion: str,
    *,
    client: ClientId,
    keys: Sequence[RegisteredKey],
    issuer: str,
    now: datetime,
) -> ClientAssertion:
    """Verify a ``private_key_jwt`` assertion of one client.

    Args:
        assertion: The compact serialization.
        client: Who it has to be from.
        keys: The client's registered slots; none for a client that is unknown or may
            not authenticate, which is refused in the same words and time.
        issuer: Our issuer identifier, the only audience.
        now: The moment of the request.

    Returns:
        What was verified. The caller must still learn that ``one_use`` is the first.

    Raises:
        UnauthenticatedError: It is not this client's, or not for us, or not for now.
    """
    foreign = _read(assertion)
    key = _signer(foreign, [slot.key for slot in keys if slot.valid_at(now)])
    claims = foreign.claims
    if claims.get("iss") != str(client) or claims.get("sub") != str(client):
        msg = "iss and sub must both be the client_id"
        raise UnauthenticatedError(msg)
    check_audience(claims, issuer)
    times = check_times(claims, now=now, life_s_max=ASSERTION_LIFE_S_MAX)
    return ClientAssertion(
        subject=str(client),
        kid=key.kid,
        issued_at=times.issued_at,
        expires_at=times.expires_at,
        one_use=one_use(
            "client", key=key.kid, jti=jti_of(claims), until=times.expires_at
        ),
    )


def assertion_claims(
    client_id: str, *, issuer: str, jti: str, now: datetime, life_s: int = 60
) -> dict[str, str | int]:
    """Return the claims of an assertion that `verify_client_assertion` accepts."""
    issued_s = int(now.timestamp())
    return {
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "jti": jti,
        "iat": issued_s,
        "exp": issued_s + min(life_s, ASSERTION_LIFE_S_MAX),
    }


def claimed_kid(assertion: str) -> str:
    """Return the key that an assertion names, if it has the form of one; unverified."""
    try:
        kid = _read(assertion).parts.kid
    except UnauthenticatedError:
        return ""
    return kid if is_kid(kid) else ""


def _read(assertion: str) -> Foreign:
    try:
        foreign = read_foreign(assertion, fields=_FIELDS)
    except JwsError as error:
        msg = f"the client assertion is not acceptable ({error.problem})"
        raise UnauthenticatedError(msg, hint="sign with ES256 or EdDSA") from None
    if foreign.parts.typ.lower() not in _TYPES:
        msg = "the client assertion is not acceptable (typ)"
        raise UnauthenticatedError(msg, hint="leave typ out, or set it to JWT")
    return foreign


def _signer(foreign: Foreign, keys: Iterable[PublicKey]) -> PublicKey:
    """Return the key that signed; without a ``kid`` every slot is tried.

    As many signatures are checked whoever is named and whatever keys they have: how
    long a refusal takes must not tell who exists, or who is changing their key.
    """
    kid, algorithm = foreign.parts.kid, foreign.parts.algorithm
    wanted = [
        key for key in keys if kid in {"", key.kid} and key.algorithm is algorithm
    ]
    tries = 1 if kid else KEY_SLOTS_MAX
    decoys = [DECOYS[algorithm]] * (tries - len(wanted))
    found = None
    for key in (*wanted, *decoys):
        with suppress(JwsError):
            check(foreign.parts, key=key)
            found = found or (key if key in wanted else None)
    if found is None:
        raise UnauthenticatedError(_REFUSED, hint=_HINT)
    return found

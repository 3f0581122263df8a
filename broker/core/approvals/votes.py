"""Votes: what a person signs about one frozen action, and how it is read again.

A vote is a compact JWS by the person's own key. It names approval, digest, what the
person was shown, the verdict and how strongly they were signed in, so that it is
evidence by itself: a row in a table is none.

A vote from the console is another kind with a ``typ`` of its own: the broker's console
key signs it for a person who is signed in, and it names the session. It says less, and
counts only where the person's signed row lets the console vote for them.

A vote from a mail is a third kind: the broker signs it for whoever followed a reject
link of this person's, and it can say no alone.

Source: RFC 7515; DESIGN, chapters 3 (invariants 5 and 11) and 7 (Votes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.core.identity.claims import CLOCK_AHEAD_S_MAX, TIME_S_MAX
from broker.core.jwk import Algorithm, JwsError
from broker.core.jws import unpack, verify
from broker.core.words.approval import (
    CONSOLE_STRENGTHS,
    CONSOLE_VOTE_TYP,
    LINK_STRENGTH,
    LINK_VOTE_TYP,
    VOTE_REASON_LENGTH_MAX,
    VOTE_TYP,
    Vote,
    VoteWord,
)
from broker.core.words.errors import ForbiddenError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from broker.core.jwk import PublicKey
    from broker.core.words.identity import RegisteredKey

VOTE_BYTES_MAX: Final = 8_192

VOTE_AGE_S_MAX: Final = 60
"""How old a vote may be when it arrives, in seconds."""

STRENGTHS: Final = frozenset({"key"})
"""How a person can be signed in: with the key file that also signed the vote."""

_BROKERS = frozenset({CONSOLE_VOTE_TYP, LINK_VOTE_TYP})
_STRENGTHS: Final = {
    VOTE_TYP: STRENGTHS,
    CONSOLE_VOTE_TYP: CONSOLE_STRENGTHS,
    LINK_VOTE_TYP: frozenset({LINK_STRENGTH}),
}
_CLAIMS = frozenset(
    {
        "approval",
        "digest",
        "iat",
        "jti",
        "person",
        "reason",
        "shown",
        "strength",
        "verdict",
    }
)
_CONSOLE_CLAIMS = _CLAIMS | {"session"}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID7 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Voter:
    """By whose signatures a person's votes count.

    ``own`` are the slots in the person's signed row. ``console`` are the broker's
    console keys by kid; there are none unless that row lets the console vote for this
    person, and this installation counts such votes. ``links`` are those that sign votes
    from mails.
    """

    own: tuple[RegisteredKey, ...] = ()
    console: Mapping[str, PublicKey] = field(default_factory=dict)
    links: Mapping[str, PublicKey] = field(default_factory=dict)


def vote_claims(vote: Vote) -> dict[str, Any]:
    """Return the claims of a vote, to be signed as its ``typ``.

    ``iat`` is in whole seconds: a vote that is read again has lost its fraction.
    """
    claims = {
        "approval": vote.approval_id,
        "digest": vote.digest,
        "iat": int(vote.at.timestamp()),
        "jti": vote.vote_id,
        "person": vote.person_id,
        "reason": vote.reason,
        "shown": vote.shown,
        "strength": vote.strength,
        "verdict": vote.word.value,
    }
    return claims | {"session": vote.session} if vote.session else claims


def verify_vote(signed: str, *, person_id: str, voter: Voter) -> Vote:
    """Return the vote that this person signed, or the console for them.

    Args:
        signed: The compact serialization.
        person_id: Whose vote it has to be.
        voter: By whose signatures it counts. Of the person's own keys only P-256 ones
            do, and only one that was valid when the vote was made. A key that was taken
            out of the row takes its votes along; one that was replaced in good order
            keeps its slot until ``not_after``.

    Raises:
        InvalidError: A claim is missing, unknown or of the wrong form.
        ForbiddenError: It is somebody else's, or not signed by such a key.
    """
    slots = {k.key.kid: k for k in voter.own if k.key.algorithm is Algorithm.ES256}
    try:
        parts = unpack(signed, bytes_max=VOTE_BYTES_MAX)
        typ = parts.typ if parts.typ in _BROKERS else VOTE_TYP
        keys = {
            VOTE_TYP: {kid: slot.key for kid, slot in slots.items()},
            CONSOLE_VOTE_TYP: voter.console,
            LINK_VOTE_TYP: voter.links,
        }[typ]
        claims = verify(signed, keys=keys, typ=typ, bytes_max=VOTE_BYTES_MAX)
    except JwsError as error:
        msg = f"the vote is not signed by a key of this person ({error.problem})"
        raise ForbiddenError(msg, pointer="/vote") from None
    vote = _read(claims, parts.kid, typ=typ)
    if vote.person_id != person_id:
        msg = "the vote is somebody else's"
        raise ForbiddenError(msg, pointer="/vote")
    if typ == LINK_VOTE_TYP and vote.word is not VoteWord.REJECT:
        msg = "a link in a mail can reject, and nothing else"
        raise ForbiddenError(msg, pointer="/vote")
    if typ == VOTE_TYP and not slots[parts.kid].valid_at(vote.at):
        msg = "the key was not valid when the vote was made"
        raise ForbiddenError(msg, pointer="/vote")
    return vote


def is_id(text: str) -> bool:
    """Return whether a text is a UUID in lower case."""
    return _UUID.fullmatch(text) is not None


def check_fresh(vote: Vote, *, now: datetime) -> None:
    """Require that a vote was made just now.

    Raises:
        InvalidError: It is older than VOTE_AGE_S_MAX, or of the future.
    """
    if vote.at < now - timedelta(seconds=VOTE_AGE_S_MAX):
        msg = f"the vote is older than {VOTE_AGE_S_MAX} s"
        raise InvalidError(msg, hint="look at it again, and sign anew")
    if vote.at > now + timedelta(seconds=CLOCK_AHEAD_S_MAX):
        msg = f"the vote is more than {CLOCK_AHEAD_S_MAX} s in the future"
        raise InvalidError(msg, hint="set the clock")


def _read(claims: Mapping[str, Any], kid: str, *, typ: str) -> Vote:
    from_console = typ == CONSOLE_VOTE_TYP
    known = _CONSOLE_CLAIMS if from_console else _CLAIMS
    strengths = _STRENGTHS[typ]
    if set(claims) ^ known:
        msg = f"a vote has the claims {', '.join(sorted(known))}, nothing else"
        raise InvalidError(msg, pointer="/vote")
    return Vote(
        vote_id=_text(claims, "jti", _UUID7),
        approval_id=_text(claims, "approval", _UUID),
        person_id=_text(claims, "person", _UUID),
        word=VoteWord(_word(claims, "verdict", {*VoteWord})),
        digest=_text(claims, "digest", _DIGEST),
        shown=_text(claims, "shown", _DIGEST),
        strength=_word(claims, "strength", strengths),
        reason=_reason(claims["reason"]),
        at=_moment(claims),
        kid=kid,
        session=_text(claims, "session", _UUID7) if from_console else "",
    )


def _text(claims: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = claims[name]
    if not isinstance(value, str) or not form.fullmatch(value):
        raise _wrong(name)
    return value


def _word(claims: Mapping[str, Any], name: str, known: AbstractSet[str]) -> str:
    value = claims[name]
    if not isinstance(value, str) or value not in known:
        raise _wrong(name)
    return value


def _moment(claims: Mapping[str, Any]) -> datetime:
    name = "iat"
    value = claims[name]
    if type(value) is not int or not 0 <= value <= TIME_S_MAX:
        raise _wrong(name)
    return datetime.fromtimestamp(value, tz=UTC)


def _reason(value: object) -> str:
    # Printable: it is shown in terminals and given to agents.
    if (
        not isinstance(value, str)
        or len(value) > VOTE_REASON_LENGTH_MAX
        or not value.isprintable()
    ):
        msg = f"a reason is one line of up to {VOTE_REASON_LENGTH_MAX} characters"
        raise InvalidError(msg, pointer="/vote/reason")
    return value


def _wrong(name: str) -> InvalidError:
    return InvalidError(f"the vote's {name} has the wrong form", pointer="/vote")

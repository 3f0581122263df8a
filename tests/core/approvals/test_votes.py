"""Votes: signed by the person's own key over one digest, or no vote."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.approvals.votes import (
    STRENGTHS,
    VOTE_AGE_S_MAX,
    VOTE_BYTES_MAX,
    Voter,
    check_fresh,
    is_id,
    verify_vote,
    vote_claims,
)
from broker.core.identity.claims import CLOCK_AHEAD_S_MAX, TIME_S_MAX
from broker.core.jwk import Algorithm
from broker.core.jws import sign
from broker.core.words.approval import (
    CONSOLE_STRENGTHS,
    CONSOLE_VOTE_TYP,
    VOTE_REASON_LENGTH_MAX,
    VOTE_TYP,
    Vote,
    VoteWord,
)
from broker.core.words.errors import ForbiddenError, InvalidError
from broker.core.words.identity import INTERACTION_TYP, RegisteredKey
from tests.support.identities import NOW, PERSON_ID, compact, edited, key_of

KEY = key_of("alice")
SLOTS = (RegisteredKey(KEY.public()),)
VOTE = Vote(
    vote_id="0197a000-0000-7000-8000-000000000001",
    approval_id="0197a000-0000-7000-8000-000000000002",
    person_id=PERSON_ID,
    word=VoteWord.APPROVE,
    digest="d" * 64,
    shown="5" * 64,
    strength="key",
    reason="I called them",
    at=NOW,
    kid=KEY.kid,
)


def signed(**changes: Any) -> str:
    """Return the vote; changes replace or (...) remove claims."""
    claims = edited(vote_claims(VOTE), changes)
    return compact({"alg": "ES256", "kid": KEY.kid, "typ": VOTE_TYP}, claims, KEY)


def verified(text: str, **more: Any) -> Vote:
    return verify_vote(
        text,
        person_id=more.get("person_id", PERSON_ID),
        voter=Voter(tuple(more.get("keys", SLOTS)), more.get("console", {})),
    )


votes = st.builds(
    Vote,
    vote_id=st.just(VOTE.vote_id),
    approval_id=st.uuids().map(str),
    person_id=st.just(PERSON_ID),
    word=st.sampled_from(VoteWord),
    digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
    shown=st.binary(min_size=32, max_size=32).map(bytes.hex),
    strength=st.sampled_from(sorted(STRENGTHS)),
    reason=st.text(max_size=40).filter(str.isprintable),
    at=st.integers(0, TIME_S_MAX).map(lambda s: datetime.fromtimestamp(s, tz=UTC)),
    kid=st.just(KEY.kid),
)


@given(vote=votes)
def test_a_vote_reads_back_as_it_was_signed(vote: Vote) -> None:
    text = sign(vote_claims(vote), key=KEY, typ=VOTE_TYP)
    assert verified(text) == vote


def test_a_vote_is_in_whole_seconds() -> None:
    vote = replace(VOTE, at=NOW + timedelta(milliseconds=999))
    assert verified(sign(vote_claims(vote), key=KEY, typ=VOTE_TYP)).at == NOW


@given(
    name=st.sampled_from(sorted(vote_claims(VOTE))),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=5),
        st.lists(st.integers(), max_size=2),
        st.just({}),
        st.just("D" * 64),
        st.just("0197A000-0000-7000-8000-000000000001"),
        st.just("0197a000-0000-4000-8000-000000000001"),
    ),
)
def test_a_claim_of_another_form_makes_no_vote(name: str, value: Any) -> None:
    try:
        vote = verified(signed(**{name: value}))
    except (InvalidError, ForbiddenError):
        return
    # What got through is what was said, in the one form that it may have.
    assert vote_claims(vote)[name] == value


@pytest.mark.parametrize("name", sorted(vote_claims(VOTE)))
def test_no_claim_may_be_missing(name: str) -> None:
    with pytest.raises(InvalidError):
        verified(signed(**{name: ...}))


def test_no_claim_may_be_added() -> None:
    with pytest.raises(InvalidError, match="nothing else"):
        verified(signed(aud="x"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "abstain"),
        ("verdict", "APPROVE"),
        ("strength", "password"),
        ("iat", -1),
        ("iat", TIME_S_MAX + 1),
        ("iat", True),
        ("jti", "0197a000-0000-4000-8000-000000000001"),
        ("digest", "d" * 63),
        ("shown", "D" * 64),
        ("approval", "../../x"),
        ("reason", "two\nlines"),
        ("reason", "\x1b[2J"),
        ("reason", "x" * (VOTE_REASON_LENGTH_MAX + 1)),
    ],
)
def test_what_could_mislead_a_reader_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidError):
        verified(signed(**{field: value}))


def test_a_reason_may_be_as_long_as_its_limit() -> None:
    assert verified(signed(reason="x" * VOTE_REASON_LENGTH_MAX)).reason


def test_a_vote_may_be_as_long_as_its_limit_and_not_longer() -> None:
    with pytest.raises(ForbiddenError, match="too_large"):
        verified("x" * (VOTE_BYTES_MAX + 1))
    with pytest.raises(ForbiddenError, match="malformed"):
        verified("x" * VOTE_BYTES_MAX)


@pytest.mark.parametrize(
    "name", ["bob", "agent", "instance", "token", "channel", "worker"]
)
def test_nobody_signs_for_somebody_else(name: str) -> None:
    key = key_of(name)
    for kid in (KEY.kid, key.kid):
        text = compact(
            {"alg": "ES256", "kid": kid, "typ": VOTE_TYP}, vote_claims(VOTE), key
        )
        with pytest.raises(ForbiddenError):
            verified(text)


def test_a_vote_is_no_vote_in_another_persons_place() -> None:
    with pytest.raises(ForbiddenError, match="somebody else"):
        verified(signed(), person_id=VOTE.vote_id)


@pytest.mark.parametrize(
    "header",
    [
        {"typ": INTERACTION_TYP},
        {"typ": "at+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": ...},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "EdDSA"},
        {"kid": "another"},
        {"jwk": {}},
        {"crit": ["b64"]},
    ],
)
def test_an_artefact_of_another_sort_is_no_vote(header: dict[str, Any]) -> None:
    head = edited({"alg": "ES256", "kid": KEY.kid, "typ": VOTE_TYP}, header)
    with pytest.raises(ForbiddenError):
        verified(compact(head, vote_claims(VOTE), KEY))


def test_a_key_for_another_algorithm_signs_no_votes() -> None:
    key = key_of("alice", Algorithm.EDDSA)
    text = sign(vote_claims(VOTE), key=key, typ=VOTE_TYP)
    with pytest.raises(ForbiddenError):
        verified(text, keys=(RegisteredKey(key.public()),))


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (None, None, True),
        (NOW, None, True),
        (NOW + timedelta(seconds=1), None, False),
        (None, NOW + timedelta(seconds=1), True),
        (None, NOW, False),
    ],
)
def test_the_key_must_have_been_valid_when_the_vote_was_made(
    before: datetime | None, after: datetime | None, *, counts: bool
) -> None:
    keys = (RegisteredKey(KEY.public(), not_before=before, not_after=after),)
    if counts:
        assert verified(signed(), keys=keys) == VOTE
    else:
        with pytest.raises(ForbiddenError, match="not valid when"):
            verified(signed(), keys=keys)


def test_a_person_without_keys_casts_no_votes() -> None:
    with pytest.raises(ForbiddenError):
        verified(signed(), keys=())


@given(seconds=st.integers(-300, 300))
def test_a_vote_arrives_while_it_is_fresh_or_not_at_all(seconds: int) -> None:
    vote = replace(VOTE, at=NOW + timedelta(seconds=seconds))
    if -VOTE_AGE_S_MAX <= seconds <= CLOCK_AHEAD_S_MAX:
        check_fresh(vote, now=NOW)
    else:
        with pytest.raises(InvalidError):
            check_fresh(vote, now=NOW)


@given(text=st.one_of(st.text(max_size=40), st.uuids().map(str)))
def test_an_id_is_a_uuid_in_lower_case_and_nothing_that_changes_a_path(
    text: str,
) -> None:
    if is_id(text):
        assert set(text) <= set("0123456789abcdef-")
    assert is_id(PERSON_ID)
    assert not is_id(PERSON_ID.upper())
    assert not is_id(PERSON_ID + "/settle")


# ------------------------------------------------------------- votes from the console

CONSOLE = key_of("console")
CONSOLE_KEYS = {CONSOLE.kid: CONSOLE.public()}
FROM_CONSOLE = replace(
    VOTE,
    strength="link",
    kid=CONSOLE.kid,
    session="0197a000-0000-7000-8000-00000000f001",
)


def console_signed(
    vote: Vote = FROM_CONSOLE, *, key: Any = CONSOLE, **more: Any
) -> str:
    claims = vote_claims(vote) | more
    return sign(claims, key=key, typ=CONSOLE_VOTE_TYP)


def test_a_vote_from_the_console_reads_back_with_its_session_and_strength() -> None:
    vote = verified(console_signed(), console=CONSOLE_KEYS)
    assert vote == FROM_CONSOLE
    assert vote.typ == CONSOLE_VOTE_TYP != VOTE.typ
    assert "session" not in vote_claims(VOTE)


def test_where_the_console_may_not_vote_for_a_person_its_votes_are_none() -> None:
    with pytest.raises(ForbiddenError):
        verified(console_signed(), console={})


def test_neither_kind_of_vote_counts_in_the_place_of_the_other() -> None:
    # The console's key signs no vote of a person's own, a person's key none of its.
    as_own = sign(vote_claims(VOTE), key=CONSOLE, typ=VOTE_TYP)
    as_console = console_signed(key=KEY)
    for text in (as_own, as_console):
        with pytest.raises(ForbiddenError):
            verified(text, console=CONSOLE_KEYS)


@pytest.mark.parametrize(
    "more", [{"strength": "key"}, {"session": ""}, {"session": "x"}, {"session": None}]
)
def test_a_vote_from_the_console_says_how_somebody_was_signed_in(
    more: dict[str, Any],
) -> None:
    with pytest.raises(InvalidError):
        verified(console_signed(**more), console=CONSOLE_KEYS)
    with pytest.raises(InvalidError):
        verified(signed(strength="link"), console=CONSOLE_KEYS)
    assert {"key"} == STRENGTHS
    assert {"link"} == CONSOLE_STRENGTHS


def test_a_vote_from_the_console_is_nobody_elses() -> None:
    with pytest.raises(ForbiddenError):
        verified(console_signed(), console=CONSOLE_KEYS, person_id=str(UUID(int=1)))

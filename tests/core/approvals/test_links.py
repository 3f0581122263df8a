"""Reject links: for one person, one digest, some time, and no yes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.core.approvals.links import (
    REJECT_LINK_BYTES_MAX,
    REJECT_LINK_S_MAX,
    REJECT_LINK_TYP,
    RejectLink,
    link_claims,
    link_expiry,
    read_link,
)
from broker.core.approvals.votes import Voter, verify_vote, vote_claims
from broker.core.jws import sign
from broker.core.words.approval import (
    CONSOLE_VOTE_TYP,
    LINK_STRENGTH,
    LINK_VOTE_TYP,
    VOTE_TYP,
    Vote,
    VoteWord,
)
from broker.core.words.errors import BrokerError, ForbiddenError, InvalidError
from broker.core.words.identity import RegisteredKey
from tests.support.identities import key_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = key_of("console")
KEYS = {KEY.kid: KEY.public()}
APPROVAL, PERSON, LINK = (
    f"0197a000-0000-7000-8000-0000000000{n}" for n in ("a1", "b1", "c1")
)
DIGEST = "9" * 64


def link(**changes) -> RejectLink:
    plain: dict[str, Any] = {
        "link_id": LINK,
        "approval_id": APPROVAL,
        "person_id": PERSON,
        "digest": DIGEST,
        "expires_at": NOW + timedelta(hours=1),
    }
    return RejectLink(**(plain | changes))


def token(claims=None, *, key=KEY, typ=REJECT_LINK_TYP) -> str:
    return sign(claims or link_claims(link()), key=key, typ=typ)


def test_a_link_is_read_as_it_was_written_until_it_ends() -> None:
    assert read_link(token(), keys=KEYS, now=NOW) == link()
    assert len(token()) <= REJECT_LINK_BYTES_MAX
    with pytest.raises(ForbiddenError, match="ended"):
        read_link(token(), keys=KEYS, now=NOW + timedelta(hours=1))


def test_a_link_ends_with_its_approval_and_after_a_day_at_most() -> None:
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(days=7)
    assert link_expiry(NOW, approval_expires_at=soon) == soon
    day = NOW + timedelta(seconds=REJECT_LINK_S_MAX)
    assert link_expiry(NOW, approval_expires_at=late) == day


@pytest.mark.parametrize(
    "wrong",
    [
        token(key=key_of("alice")),
        token(typ=VOTE_TYP),
        token() + "x",
        "a" * (REJECT_LINK_BYTES_MAX + 1),
        "",
    ],
)
def test_what_was_not_signed_as_a_link_is_none(wrong) -> None:
    with pytest.raises(ForbiddenError, match="no link of ours"):
        read_link(wrong, keys=KEYS, now=NOW)


@pytest.mark.parametrize("name", sorted(link_claims(link())))
def test_a_link_with_a_claim_that_is_missing_wrong_or_unknown_is_none(name) -> None:
    claims = link_claims(link())
    for changed in (
        {key: value for key, value in claims.items() if key != name},
        claims | {name: "x"},
        claims | {name: -1},
        claims | {"verdict": "approve"},
    ):
        with pytest.raises(InvalidError):
            read_link(token(changed), keys=KEYS, now=NOW)


def vote(word: VoteWord, *, typ: str = LINK_VOTE_TYP, key=KEY, **changes) -> str:
    made = Vote(LINK, APPROVAL, PERSON, word, DIGEST, DIGEST, LINK_STRENGTH, "", NOW)
    return sign(vote_claims(made) | changes, key=key, typ=typ)


VOTER = Voter(own=(RegisteredKey(key_of("alice").public()),), console=KEYS, links=KEYS)


def test_a_no_from_a_mail_counts_as_what_it_is() -> None:
    read = verify_vote(vote(VoteWord.REJECT), person_id=PERSON, voter=VOTER)
    assert (read.strength, read.typ) == (LINK_STRENGTH, LINK_VOTE_TYP)
    assert read.word is VoteWord.REJECT


def test_a_yes_from_a_mail_is_refused_wherever_it_turns_up() -> None:
    with pytest.raises(ForbiddenError, match="can reject, and nothing else"):
        verify_vote(vote(VoteWord.APPROVE), person_id=PERSON, voter=VOTER)


@pytest.mark.parametrize("word", VoteWord)
@pytest.mark.parametrize(
    "other",
    [
        {"typ": VOTE_TYP},
        {"typ": CONSOLE_VOTE_TYP},
        {"typ": VOTE_TYP, "key": key_of("alice")},
        {"key": key_of("alice")},
        {"strength": "key"},
        {"strength": "link"},
    ],
)
def test_a_vote_from_a_mail_passes_for_no_other_kind_and_no_other_for_it(
    word, other
) -> None:
    with pytest.raises(BrokerError):
        verify_vote(vote(word, **other), person_id=PERSON, voter=VOTER)


def test_where_no_link_key_is_known_no_vote_from_a_mail_counts() -> None:
    with pytest.raises(ForbiddenError):
        verify_vote(vote(VoteWord.REJECT), person_id=PERSON, voter=Voter(console=KEYS))

"""Standing approvals hold only if two people who may do so signed these very terms."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.jws import sign
from broker.core.words.identity import RegisteredKey
from broker.core.words.moment import write_moment
from broker.registry.people import PersonRow, Role
from broker.registry.reading import RowError
from broker.registry.standing import (
    CONSTRAINT_VALUES_MAX,
    CONSTRAINTS_MAX,
    SIGNATURE_CHARS_MAX,
    STANDING_AGENTS_MAX,
    STANDING_TYP,
    parse_standing_approval,
    standing_claims,
    standing_holds,
    terms_digest,
)
from tests.support.identities import AGENT_ID, NOW, key_of
from tests.support.identity.rows import row_of

STANDING_ID = "0197a000-0000-7000-8000-0000000000f1"
IDS = {
    name: f"0197a000-0000-7000-8000-0000000000b{number}"
    for number, name in enumerate(("alice", "bob", "olivia"), start=1)
}
TERMS: dict[str, Any] = {
    "tool": "orders.refund",
    "agents": [AGENT_ID],
    "constraints": {"/amount_minor_units": {"max": 5_000}},
    "per_action_minor_units": 5_000,
    "total_minor_units": 20_000,
    "currency": "USD",
    "expires_at": write_moment(NOW + timedelta(days=90)),
}


def somebody(name: str, **changes: Any) -> PersonRow:
    base = PersonRow(
        person_id=IDS[name],
        revision=1,
        name=name,
        roles=frozenset({Role.SUPERVISOR}),
        limits={"USD": 200_000},
        keys=(RegisteredKey(key_of(name).public()),),
        active=True,
    )
    return replace(base, **changes)


def everybody(**changes: PersonRow) -> dict[str, PersonRow]:
    people = {name: somebody(name) for name in IDS} | changes
    return {person.person_id: person for person in people.values()}


def body(*signers: str, terms: dict[str, Any] | None = None, **more: Any) -> Any:
    terms = terms or TERMS
    names = signers or ("alice", "bob")
    digest = terms_digest(STANDING_ID, terms)
    signatures = [
        sign(
            standing_claims(IDS[name], approval_id=STANDING_ID, digest=digest),
            key=key_of(name),
            typ=STANDING_TYP,
        )
        for name in names
    ]
    return (
        terms
        | {
            "signed_by": [IDS[name] for name in names],
            "signatures": signatures,
            "status": "active",
        }
        | more
    )


def read(content: Any) -> Any:
    row = row_of(content, kind="standing_approval", row_id=STANDING_ID)
    return parse_standing_approval(row)


def holds(content: Any, people: Any = None, owner: str = IDS["olivia"]) -> bool:
    return standing_holds(read(content), people=people or everybody(), owner=owner)


def test_what_two_supervisors_signed_holds_and_says_what_they_signed():
    assert holds(body())
    approval = read(body()).approval
    assert approval.approval_id == STANDING_ID
    assert approval.agents == {AGENT_ID}
    assert approval.per_action_minor_units == 5_000
    assert approval.signed_by == (IDS["alice"], IDS["bob"])
    assert approval.active
    assert not read(body(status="revoked")).approval.active


@given(
    name=st.sampled_from(sorted(TERMS)),
    value=st.sampled_from(
        [
            "orders.cancel",
            ["0197a000-0000-7000-8000-00000000a002"],
            {},
            5_001,
            20_001,
            "EUR",
            write_moment(NOW + timedelta(days=91)),
        ]
    ),
)
def test_no_term_can_be_changed_after_it_was_signed(name, value):
    changed = body() | {name: value}
    with suppress(RowError):
        assert not holds(changed) or changed == body()


def test_what_was_signed_for_one_id_does_not_hold_under_another():
    row = row_of(body(), kind="standing_approval", row_id=STANDING_ID[:-1] + "2")
    signed = parse_standing_approval(row)
    assert not standing_holds(signed, people=everybody(), owner=IDS["olivia"])


@pytest.mark.parametrize(
    "changes",
    [
        {"active": False},
        {"roles": frozenset({Role.SECURITY})},
        {"limits": {"USD": 4_999}},
        {"limits": {"EUR": 200_000}},
        {"limits": {}},
        {"keys": ()},
        {"keys": (RegisteredKey(key_of("another").public()),)},
    ],
)
def test_a_signer_who_may_not_sign_that_makes_it_void(changes):
    assert not holds(body(), everybody(bob=somebody("bob", **changes)))


def test_a_signer_at_their_own_limit_may_sign():
    assert holds(body(), everybody(bob=somebody("bob", limits={"USD": 5_000})))


def test_a_signer_who_is_gone_makes_it_void():
    people = everybody()
    del people[IDS["alice"]]
    assert not holds(body(), people)


def test_the_owners_signature_does_not_count():
    assert not holds(body("alice", "olivia"))
    assert not holds(body("olivia", "bob"))
    assert holds(body("alice", "olivia"), owner=IDS["bob"])


def test_one_person_cannot_sign_twice():
    with pytest.raises(RowError, match="signed_by"):
        read(body("alice", "alice"))


def test_nobody_signs_in_the_name_of_another():
    swapped = body() | {"signed_by": [IDS["bob"], IDS["alice"]]}
    assert not holds(swapped)
    forged = body()
    forged["signatures"] = [forged["signatures"][0]] * 2
    assert not holds(forged)


def test_a_signature_of_another_type_does_not_count():
    claims = standing_claims(
        IDS["bob"], approval_id=STANDING_ID, digest=terms_digest(STANDING_ID, TERMS)
    )
    vote = sign(claims, key=key_of("bob"), typ="counterfoil-vote+jwt")
    forged = body()
    forged["signatures"][1] = vote
    assert not holds(forged)


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": "usd"},
        {"per_action_minor_units": 0},
        {"total_minor_units": -1},
        {"expires_at": "2026"},
        {"agents": []},
        {"agents": [f"a{number}" for number in range(STANDING_AGENTS_MAX + 1)]},
        {"signatures": []},
        {"signatures": ["x"]},
        {"signatures": ["x", "y" * (SIGNATURE_CHARS_MAX + 1)]},
        {"signed_by": [IDS["alice"]]},
        {"signed_by": [*IDS.values()]},
        {"status": "maybe"},
        {"constraints": []},
        {"constraints": {"/a": {}}},
        {"constraints": {"/a": {"max": 1.5}}},
        {"constraints": {"/a": {"max": True}}},
        {"constraints": {"/a": {"max": 1, "min": 0}}},
        {"constraints": {"/a": {"in": []}}},
        {"constraints": {"/a": {"in": [*range(CONSTRAINT_VALUES_MAX + 1)]}}},
        {"constraints": {"a": {"max": 1}}},
        {"constraints": {f"/a{n}": {"max": 1} for n in range(CONSTRAINTS_MAX + 1)}},
        {"more": 1},
    ],
)
def test_a_body_that_is_not_of_this_form_is_refused(changes):
    with pytest.raises(RowError):
        read(body() | changes)


def test_a_signature_and_a_constraint_at_their_lengths_are_read_and_longer_are_not():
    longest = "x" * SIGNATURE_CHARS_MAX
    assert read(body(signatures=[longest, longest]))
    room = 8_192 - len('{"in":[""]}')
    fits = {"constraints": {"/a": {"in": ["x" * room]}}}
    assert read(body() | fits)
    longer = {"constraints": {"/a": {"in": ["x" * (room + 1)]}}}
    with pytest.raises(RowError, match="too long"):
        read(body() | longer)


def test_a_body_at_its_limits_is_read():
    terms = TERMS | {
        "agents": [f"a{number}" for number in range(STANDING_AGENTS_MAX)],
        "constraints": {
            f"/a{number}": {"in": [*range(CONSTRAINT_VALUES_MAX)]}
            for number in range(CONSTRAINTS_MAX)
        },
    }
    assert holds(body(terms=terms))

"""Rows verify where they were signed for, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.jwk import Algorithm
from broker.core.jws import sign
from broker.registry.authority import (
    AUTHORITY_TYP,
    KINDS,
    REVISION_MAX,
    SIGNERS_MAX,
    row_claims,
    verify_row,
)
from broker.registry.reading import RowError
from tests.support.fake_registry import AUTHORITY_KEY, REALM, signed_row
from tests.support.identities import AGENT_ID, key_of
from tests.support.identity import rows
from tests.support.identity.rows import AGENT_BODY, row_of


def verify(signed, *, kind="agent", row_id=AGENT_ID, revision=1, realm=REALM):
    return verify_row(signed, realm=realm, kind=kind, row_id=row_id, revision=revision)


@given(
    body=rows.agents,
    kind=st.sampled_from(sorted(KINDS)),
    revision=st.integers(1, REVISION_MAX),
)
def test_a_signed_row_verifies_in_its_place_and_in_no_other(body, kind, revision):
    row = row_of(body, kind=kind, revision=revision)
    signed = signed_row(row)
    assert verify(signed, kind=kind, revision=revision) == row
    other = min(KINDS - {kind})
    for place in (
        {"kind": other, "revision": revision},
        {"kind": kind, "revision": revision + 1},
        {"kind": kind, "revision": revision, "row_id": "another"},
    ):
        with pytest.raises(RowError):
            verify(signed, **place)


@pytest.mark.parametrize("changes", [{"tenant": "other"}, {"environment": "prod"}])
def test_a_row_of_another_realm_does_not_verify(changes):
    with pytest.raises(RowError, match="another tenant or environment"):
        verify(signed_row(row_of(AGENT_BODY, **changes)))
    with pytest.raises(RowError):
        verify(signed_row(row_of(AGENT_BODY)), realm=replace(REALM, **changes))


def test_a_row_of_another_key_or_type_does_not_verify():
    row = row_of(AGENT_BODY)
    for signed in (
        signed_row(row, key=key_of("intruder", Algorithm.EDDSA)),
        signed_row(row, key=key_of("authority")),
        sign(row_claims(row), key=AUTHORITY_KEY, typ="at+jwt"),
        "",
        "a.b.c",
    ):
        with pytest.raises(RowError):
            verify(signed)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "king"},
        {"id": "A"},
        {"id": "a b"},
        {"id": "x" * 65},
        {"revision": 0},
        {"revision": REVISION_MAX + 1},
        {"revision": True},
        {"at": "now"},
        {"by": []},
        {"by": ["a", "a"]},
        {"by": [f"person:{number}" for number in range(SIGNERS_MAX + 1)]},
        {"body": []},
        {"body": None},
        {"more": 1},
    ],
)
def test_a_row_that_we_signed_by_mistake_does_not_count(changes):
    claims = row_claims(row_of(AGENT_BODY)) | changes
    signed = sign(claims, key=AUTHORITY_KEY, typ=AUTHORITY_TYP)
    with pytest.raises(RowError):
        verify(signed)


def test_a_kind_that_does_not_exist_verifies_nowhere():
    with pytest.raises(RowError, match="kind"):
        verify(signed_row(row_of(AGENT_BODY, kind="king")), kind="king")


def test_the_last_revision_is_the_largest_integer_of_the_column():
    assert REVISION_MAX == 2_147_483_647


def test_as_many_signers_as_the_limit_are_read():
    by = tuple(f"person:{number}" for number in range(SIGNERS_MAX))
    assert verify(signed_row(row_of(AGENT_BODY, by=by))).by == by

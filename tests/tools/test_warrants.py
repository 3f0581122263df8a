"""Warrants: read for routing, whatever the signature, and refused when malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_edge import token, warrant
from tools.warrants import WarrantError, read_warrant


def test_the_claims_that_route_a_call_are_read():
    jws = warrant(jti="w", arguments={"order_id": "W1"}, customer="c", action="a")
    found = read_warrant(jws)
    assert (found.warrant_id, found.action, found.customer) == ("w", "a", "c")
    assert found.arguments == {"order_id": "W1"}
    assert found.jws == jws


@pytest.mark.parametrize(
    "claim", ["jti", "action", "tool", "connector", "manifest", "customer", "arguments"]
)
def test_a_warrant_that_lacks_a_claim_or_has_it_wrong_is_refused(claim):
    for value in (None, 1, ["x"]):
        with pytest.raises(WarrantError):
            read_warrant(warrant(**{claim: value}))


def test_another_artefact_in_its_place_is_refused():
    claims = {"jti": "w"}
    for typ in ("counterfoil-receipt+jwt", "at+jwt", ""):
        with pytest.raises(WarrantError, match="type"):
            read_warrant(token(typ, claims))


@given(st.text(max_size=40) | st.just("..") | st.just("e30.e30."))
def test_any_other_text_is_refused(text):
    with pytest.raises(WarrantError):
        read_warrant(text)


def test_claims_with_two_meanings_are_refused():
    head, _, signature = warrant().split(".")
    twice = "eyJqdGkiOjEsImp0aSI6Mn0"  # {"jti":1,"jti":2}
    with pytest.raises(WarrantError):
        read_warrant(f"{head}.{twice}.{signature}")

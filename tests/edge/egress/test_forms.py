"""Forms: what leaves is the decided form, byte for byte."""

from __future__ import annotations

import tomllib
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.core.warrants.template import Filling
from broker.edge.egress.rules import FORM, JSON, Allowed, Asked, Refusal, decide
from broker.registry.tools import ManifestError, parse_manifest

MANIFEST = """
schema = 1
tool = { name = "payments.refund", version = 1, connector = "payments", \
title = "Refund", description = "Refund", effect = "money", entry = "refund" }
binding = { amount = "/amount", currency = "/currency" }
[arguments]
type = "object"
additionalProperties = false
required = ["charge", "amount", "currency"]
properties = { charge = {}, amount = {}, currency = {}, note = {} }
[[egress.requests]]
id = "refund"
method = "POST"
path = "/v1/refunds"
body_encoding = "form"
effectful = true
refused = [400]
[egress.requests.body]
charge = "{args.charge}"
amount = "{args.amount}"
"expand[0]" = "charge"
"metadata[action]" = "{action}"
"metadata[note]" = "{args.note}"
[receipt]
request = "refund"
values = { owner = "/customer", amount = "/amount", currency = "/currency" }
"""
TOOL = parse_manifest(tomllib.loads(MANIFEST), name="forms")
FIELDS = {
    "amount": "500",
    "charge": "ch_1",
    "expand[0]": "charge",
    "metadata[action]": "act-1",
}


def decided(body: bytes, *, kind: str = FORM, **arguments: Any) -> Allowed | Refusal:
    given_ = {"charge": "ch_1", "amount": 500, "currency": "USD", **arguments}
    filling = Filling(given_, customer="cus_1", action="act-1")
    asked = Asked("POST", "/v1/refunds", kind, body)
    return decide(asked, tool=TOOL, filling=filling, used={})


def form(**changes: str) -> bytes:
    return urlencode({**FIELDS, **changes}, safe="[]").encode()


def test_the_decided_form_is_sent_byte_for_byte() -> None:
    result = decided(form())
    assert isinstance(result, Allowed)
    assert (result.body, result.content_type) == (form(), FORM)
    assert dict(parse_qsl((result.body or b"").decode())) == FIELDS
    charset = decided(form(), kind=f'{FORM}; charset="UTF-8"')
    assert isinstance(charset, Allowed)


@given(name=st.sampled_from(sorted(FIELDS)), value=st.text(max_size=20))
def test_no_other_value_passes_for_a_decided_one(name, value) -> None:
    assume(value != FIELDS[name])
    try:
        asked = form(**{name: value})
    except UnicodeEncodeError:
        return
    result = decided(asked)
    assert isinstance(result, Refusal)
    assert result.detail == f"rule 'refund': the body differs at {_quoted(name)!r}"


@given(body=st.binary(max_size=60))
def test_no_bytes_but_the_decided_ones_pass(body) -> None:
    assert isinstance(decided(body), Refusal)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body + b"&amount=1",
        lambda body: b"amount=1&" + body,
        lambda body: body.replace(b"amount=500", b"amount=0500"),
        lambda body: body.replace(b"amount=500", b"amount=500.0"),
        lambda body: body.replace(b"amount=500", b"amount=%3500"),
        lambda body: body.replace(b"amount=500", b"%61mount=500"),
        lambda body: body.replace(b"amount=500", b"amount=+500"),
        lambda body: body.replace(b"[", b"%5B"),
        lambda body: body.replace(b"]", b"%5d"),
        lambda body: b"&".join(reversed(body.split(b"&"))),
        lambda body: body + b"&",
        lambda body: body + b"\n",
        lambda body: body.replace(b"&", b";"),
        lambda body: body + b"&reason=fraudulent",
        lambda body: body.replace(b"&charge=ch_1", b""),
        lambda body: body.replace(b"&charge=ch_1", b"&charge"),
        lambda body: body.replace(b"ch_1", b"ch_1%00"),
        lambda body: b"",
    ],
)
def test_a_form_that_says_more_less_or_it_otherwise_is_refused(change) -> None:
    changed = change(form())
    assert changed != form()
    result = decided(changed)
    assert isinstance(result, Refusal)
    assert result.code == "rule"


@pytest.mark.parametrize("kind", ["", JSON, "text/plain", f"{FORM}; charset=latin-1"])
def test_a_form_that_is_called_something_else_is_refused(kind) -> None:
    result = decided(form(), kind=kind)
    assert isinstance(result, Refusal)
    assert FORM in result.detail


def test_a_value_is_encoded_in_one_way_alone() -> None:
    note = "ü & 50 % *~+"
    wanted = form(**{"metadata[note]": note})
    assert isinstance(decided(wanted, note=note), Allowed)
    for loose in (wanted.replace(b"+", b"%20"), wanted.replace(b"%2A", b"*")):
        assert loose != wanted
        assert isinstance(decided(loose, note=note), Refusal)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('body_encoding = "form"', 'body_encoding = "xml"'),
        ('body_encoding = "form"', "body_encoding = true"),
        ('amount = "{args.amount}"', "amount = 500"),
        ('amount = "{args.amount}"', 'amount = ["{args.amount}"]'),
        ('"expand[0]"', '"expand 0"'),
        ('amount = "{args.amount}"', 'amount = "{args.other}"'),
        ("[egress.requests.body]", "[egress.requests.query]"),
    ],
)
def test_a_form_that_is_none_does_not_load(old, new) -> None:
    assert old in MANIFEST
    with pytest.raises(ManifestError):
        parse_manifest(tomllib.loads(MANIFEST.replace(old, new)), name="forms")


def _quoted(name: str) -> str:
    return urlencode({name: ""}, safe="[]").removesuffix("=")

"""Leaves: one spelling, one signature, one typ."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import canonical
from broker.core.jwk import encode
from broker.core.jws import sign
from broker.core.transparency.entry_leaf import (
    ENTRY_TYP,
    LEAF_BYTES_MAX,
    EntryError,
    about_of,
    action_id_of,
    open_entry,
    seal_entry,
)
from tests.support.log.made import KEY, KEYS, entry, entry_id, entry_key

LEAF = seal_entry(entry(1), key=KEY)


def problem(leaf: bytes, keys=None) -> str:
    with pytest.raises(EntryError) as caught:
        open_entry(leaf, KEYS if keys is None else keys)
    return caught.value.problem


def flattened(token: str) -> bytes:
    protected, payload, signature = token.split(".")
    return canonical(
        {"payload": payload, "protected": protected, "signature": signature}
    )


@given(st.dictionaries(st.text("abc", max_size=3), st.text("xyz")))
def test_a_sealed_entry_opens_to_what_was_sealed(more):
    whole = entry(7, detail=more)
    assert open_entry(seal_entry(whole, key=KEY), KEYS) == whole


def test_a_leaf_is_canonical_json_of_a_flattened_jws() -> None:
    value = json.loads(LEAF)
    assert set(value) == {"payload", "protected", "signature"}
    assert canonical(value) == LEAF
    header = canonical({"alg": "EdDSA", "kid": KEY.kid, "typ": ENTRY_TYP})
    assert value["protected"].encode() == encode(header)
    assert value["payload"].encode() == encode(canonical(entry(1)))


@given(st.integers(0, len(LEAF) * 8 - 1))
def test_a_leaf_with_any_bit_flipped_is_refused(bit):
    raw = bytearray(LEAF)
    raw[bit // 8] ^= 1 << bit % 8
    assert problem(bytes(raw)) in {"malformed", "bad_signature", "unknown_key"}


def test_an_entry_of_an_unknown_key_is_refused_and_of_a_retired_one_opens() -> None:
    other = entry_key("second")
    leaf = seal_entry(entry(1), key=other)
    assert problem(leaf) == "unknown_key"
    assert open_entry(leaf, {**KEYS, other.kid: other.public()}) == entry(1)


def test_a_key_that_stands_under_anothers_id_does_not_verify() -> None:
    other = entry_key("second")
    assert problem(LEAF, {KEY.kid: other.public()}) == "bad_signature"


@pytest.mark.parametrize(
    "leaf",
    [
        b"", b"{}", LEAF + b"\n", b" " + LEAF, LEAF.replace(b":", b": "),
        json.dumps(dict(reversed(json.loads(LEAF).items()))).encode(),
        LEAF.replace(b'"signature":"', b'"signature":"A'),
        LEAF[:-3] + b'="}', LEAF[:-2] + b'","x":1}',
    ],
)  # fmt: skip
def test_any_other_spelling_of_a_leaf_is_refused(leaf):
    assert problem(leaf) in {"malformed", "bad_signature"}


def test_another_artefact_is_not_accepted_as_an_entry() -> None:
    token = sign(entry(1), key=KEY, typ="counterfoil-warrant+jwt")
    assert problem(flattened(token)) == "malformed"


def test_a_signed_entry_that_is_not_canonical_is_refused() -> None:
    header = canonical({"alg": "EdDSA", "kid": KEY.kid, "typ": ENTRY_TYP})
    loose = json.dumps(entry(1)).encode()
    signed = encode(header) + b"." + encode(loose)
    token = signed + b"." + encode(KEY.material.sign(signed))  # type: ignore[call-arg]
    assert problem(flattened(token.decode())) == "not_canonical"


@pytest.mark.parametrize(
    "change",
    [
        {"entry_id": None}, {"entry_id": 7}, {"entry_id": entry_id(1).upper()},
        {"entry_id": entry_id(1) + " "}, {"kind": None}, {"at": 1},
        {"detail": 1.5}, {"detail": 2**53}, {"detail": "\ud800"}, {"detail": {1}},
    ],
)  # fmt: skip
def test_what_is_no_entry_is_never_sealed(change):
    with pytest.raises(EntryError) as caught:
        seal_entry({**entry(1), **change}, key=KEY)
    assert caught.value.problem == "malformed"


def test_what_would_be_too_deep_to_open_is_never_sealed() -> None:
    deep: list = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(EntryError):
        seal_entry(entry(1, detail=deep), key=KEY)


def test_a_signed_payload_without_the_fields_of_an_entry_is_refused() -> None:
    token = sign({"entry_id": entry_id(1)}, key=KEY, typ=ENTRY_TYP)
    assert problem(flattened(token)) == "malformed"


def test_a_leaf_at_the_limit_opens_and_a_longer_one_is_refused() -> None:
    def sealed(length: int) -> bytes:
        return seal_entry(entry(1, detail="x" * length), key=KEY)

    room = (LEAF_BYTES_MAX - len(sealed(0))) * 3 // 4
    longest = next(
        leaf
        for length in range(room + 4, 0, -1)
        if (leaf := _or_none(sealed, length)) is not None
    )
    assert LEAF_BYTES_MAX - 2 < len(longest) <= LEAF_BYTES_MAX
    assert open_entry(longest, KEYS)
    with pytest.raises(EntryError) as caught:
        sealed(room + 4)
    assert caught.value.problem == "too_large"
    assert problem(b"x" * LEAF_BYTES_MAX) == "malformed"
    assert problem(b"x" * (LEAF_BYTES_MAX + 1)) == "too_large"


def _or_none(sealed, length):
    try:
        return sealed(length)
    except EntryError:
        return None


def test_the_action_is_found_where_the_envelope_has_it() -> None:
    assert action_id_of(entry(4)) == entry_id(2, salt="action")
    for without in ({}, {"action": None}, {"action": {"action_id": None}}):
        assert action_id_of(without) is None


AGENT = entry_id(3, salt="agent")


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "authenticate.token", "context": {"agent": AGENT}},
        {"kind": "authenticate.token", "detail": {"subject": f"person:{AGENT}"}},
        {"kind": "authenticate.refused", "context": {"agent": AGENT}},
        {"kind": "authenticate.refused", "detail": {"claimed": f"agent:{AGENT}"}},
        {"kind": "authenticate.revocation", "detail": {"subject": f"agent:{AGENT}"}},
        {"detail": {"kind": "agent", "id": AGENT}},
        {"detail": {"kind": "change", "id": f"agent-{AGENT}"}},
        {"detail": {"kind": "person", "id": AGENT}},
    ],
)
def test_an_entry_about_no_action_is_about_the_identity_that_it_names(more):
    assert about_of(entry(1, action={}) | whole(more)) == AGENT
    # An entry about an action stays with that, whoever it names.
    acted = entry(1) | whole(more)
    assert about_of(acted) == action_id_of(acted)


def whole(more):
    return {"context": {}, "detail": {}} | more


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "authenticate.turn", "context": {"agent": AGENT}},
        {"detail": {"kind": "policy", "id": AGENT}},
        {"detail": {"claimed": f"agent:{AGENT}x"}},
        {"detail": {"subject": 7}},
        {"detail": [], "context": {}},
        {},
    ],
)
def test_an_entry_that_names_nobody_in_particular_is_about_nobody(more):
    assert about_of(entry(1, action={}) | whole(more)) is None

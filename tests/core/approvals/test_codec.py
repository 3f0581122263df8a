"""What goes to Temporal is sealed for one run, and opens in no other."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.approvals.codec import (
    CODEC_FILE_BYTES_MAX,
    CODEC_KEY_BYTES,
    CODEC_KEYS_MAX,
    CODEC_NONCE_BYTES,
    ENCODING,
    CodecError,
    CodecKeys,
    codec_key,
    parse_codec_keys,
    seal,
    unseal,
    unseal_alone,
    with_known,
    with_newest,
)

NONCE = b"n" * CODEC_NONCE_BYTES
OLD, NEW, FOREIGN = (codec_key(bytes([n]) * CODEC_KEY_BYTES) for n in (1, 2, 3))
KEYS = CodecKeys((NEW, OLD))


def file_of(*keys: bytes) -> bytes:
    texts = [urlsafe_b64encode(key).rstrip(b"=").decode() for key in keys]
    return json.dumps({"keys": texts}).encode()


@given(data=st.binary(max_size=200), run=st.text(min_size=1, max_size=40))
def test_what_was_sealed_for_a_run_opens_there_and_shows_nothing(
    data: bytes, run: str
) -> None:
    metadata, sealed = seal(KEYS, data, nonce=NONCE, workflow_id=run)
    assert unseal(KEYS, metadata, sealed, workflow_id=run) == data
    assert metadata == {
        "encoding": ENCODING,
        "kid": NEW.kid.encode(),
        "run": run.encode(),
    }
    if len(data) > 8:
        assert data not in sealed
    with pytest.raises(CodecError, match="another run"):
        unseal(KEYS, metadata, sealed, workflow_id=run + "x")


@given(data=st.binary(min_size=1, max_size=60), where=st.integers(0, 10_000))
def test_a_flipped_bit_anywhere_is_noticed(data: bytes, where: int) -> None:
    metadata, sealed = seal(KEYS, data, nonce=NONCE, workflow_id="r")
    changed = bytearray(sealed)
    changed[where % len(sealed)] ^= 1
    with pytest.raises(CodecError):
        unseal(KEYS, metadata, bytes(changed), workflow_id="r")


@pytest.mark.parametrize("length", range(CODEC_NONCE_BYTES + 16))
def test_a_payload_that_was_cut_is_noticed(length: int) -> None:
    metadata, sealed = seal(KEYS, b"", nonce=NONCE, workflow_id="r")
    with pytest.raises(CodecError):
        unseal(KEYS, metadata, sealed[:length], workflow_id="r")


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"encoding": b"json/plain"},
        {"encoding": b"binary/encrypted", "kid": NEW.kid.encode()},
        {"encoding": ENCODING},
        {"encoding": ENCODING, "kid": b"\xff"},
        {"encoding": ENCODING, "kid": FOREIGN.kid.encode()},
    ],
)
def test_what_was_not_sealed_by_us_is_refused_rather_than_believed(
    metadata: dict[str, bytes],
) -> None:
    _, sealed = seal(KEYS, b"x", nonce=NONCE, workflow_id="r")
    with pytest.raises(CodecError):
        unseal(KEYS, metadata, sealed, workflow_id="r")


def test_a_payload_without_a_run_is_neither_sealed_nor_opened() -> None:
    with pytest.raises(CodecError, match="belongs to a run"):
        seal(KEYS, b"x", nonce=NONCE, workflow_id="")
    metadata, sealed = seal(KEYS, b"x", nonce=NONCE, workflow_id="r")
    with pytest.raises(CodecError, match="belongs to a run"):
        unseal(KEYS, metadata, sealed, workflow_id="")


def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens() -> None:
    before = seal(CodecKeys((OLD,)), b"x", nonce=NONCE, workflow_id="r")
    assert unseal(KEYS, *before, workflow_id="r") == b"x"
    metadata, sealed = seal(KEYS, b"x", nonce=NONCE, workflow_id="r")
    assert metadata["kid"] == NEW.kid.encode()
    with pytest.raises(CodecError, match="not known"):
        unseal(CodecKeys((OLD,)), metadata, sealed, workflow_id="r")


def test_a_payload_names_its_run_for_who_looks_at_it_alone() -> None:
    metadata, sealed = seal(KEYS, b"x", nonce=NONCE, workflow_id="r")
    assert metadata["run"] == b"r"
    assert unseal_alone(KEYS, metadata, sealed) == b"x"
    for run in (b"s", b"", b"\xff"):
        with pytest.raises(CodecError):
            unseal_alone(KEYS, metadata | {"run": run}, sealed)
    # For a run itself, what the payload says of its run counts for nothing.
    with pytest.raises(CodecError):
        unseal(KEYS, metadata | {"run": b"s"}, sealed, workflow_id="s")


def test_a_new_key_is_known_first_and_seals_then_in_a_ring_of_so_many() -> None:
    fresh = codec_key(b"f" * CODEC_KEY_BYTES)
    known = with_known(KEYS, fresh)
    assert known.keys == (NEW, OLD, fresh)
    assert with_newest(known, fresh).keys == (fresh, NEW, OLD)
    assert with_known(known, NEW).keys == (OLD, fresh, NEW)
    full = CodecKeys(
        tuple(codec_key(bytes([n]) * CODEC_KEY_BYTES) for n in range(CODEC_KEYS_MAX))
    )
    assert with_newest(full, full.keys[-1]).keys[0] == full.keys[-1]
    for more in (with_known, with_newest):
        with pytest.raises(CodecError, match=f"at most {CODEC_KEYS_MAX}"):
            more(full, fresh)


def test_a_key_file_holds_one_to_some_keys_newest_first() -> None:
    most = [bytes([n]) * CODEC_KEY_BYTES for n in range(CODEC_KEYS_MAX)]
    keys = parse_codec_keys(file_of(*most)).keys
    assert keys == tuple(codec_key(secret) for secret in most)
    for wrong in ([], [*most, b"z" * CODEC_KEY_BYTES]):
        with pytest.raises(CodecError, match=f"1 to {CODEC_KEYS_MAX}"):
            parse_codec_keys(file_of(*wrong))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": "x"}',
        b'{"keys": [1]}',
        b'{"keys": ["short"]}',
        b'{"keys": ["%s"]}' % (b"!" * 43),
        b'{"keys": [], "keys": []}',
        b" " * (CODEC_FILE_BYTES_MAX + 1),
    ],
)
def test_a_file_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        parse_codec_keys(data)


def test_a_file_may_be_as_long_as_its_limit() -> None:
    data = file_of(b"k" * CODEC_KEY_BYTES)
    padded = data + b" " * (CODEC_FILE_BYTES_MAX - len(data))
    assert parse_codec_keys(padded).keys


@pytest.mark.parametrize("length", [0, CODEC_KEY_BYTES - 1, CODEC_KEY_BYTES + 1])
def test_a_key_of_another_length_is_none(length: int) -> None:
    with pytest.raises(CodecError):
        codec_key(b"x" * length)


def test_neither_a_repr_nor_an_error_shows_a_key() -> None:
    secret = b"s" * CODEC_KEY_BYTES
    assert "sss" not in repr(CodecKeys((codec_key(secret),)))
    wrong: Any = {"keys": [secret.decode(), "x"]}
    with pytest.raises(CodecError) as refused:
        parse_codec_keys(json.dumps(wrong).encode())
    assert "sss" not in str(refused.value)

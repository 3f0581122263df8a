"""Notes: what the standard's example says, and nothing that it does not."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.signed_note import (
    KEY_NAME_CHARS_MAX,
    NOTE_BYTES_MAX,
    NOTE_SIGNATURES_MAX,
    NoteError,
    NoteVerifier,
    open_note,
    parse_vkey,
    sign_note,
)

# The example key and note of Go's package golang.org/x/mod/sumdb/note.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
NAME = "counterfoil.example/log"
VERIFIER = NoteVerifier(NAME, KEY.public_key())
OTHER = NoteVerifier("other.example", KEY.public_key())
TEXT = "first\n\nsecond \u00e8\n"
NOTE = sign_note(TEXT, name=NAME, key=KEY)


def refused(note: str, *verifiers: NoteVerifier) -> str:
    with pytest.raises(NoteError) as caught:
        open_note(note, verifiers or (VERIFIER,))
    return str(caught.value)


def test_a_note_written_by_another_implementation_opens() -> None:
    verifier = parse_vkey(GO_VKEY)
    assert verifier.vkey == GO_VKEY
    assert open_note(GO_NOTE, [verifier]).startswith("If you think")
    assert "verify" in refused(GO_NOTE.replace("answer", "Answer"), verifier)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(0, 3))
def test_any_text_that_is_signed_opens_to_the_same_text(text, blanks):
    whole = text + "\n" * (blanks + 1)
    note = sign_note(whole, name=NAME, key=KEY)
    assert open_note(note, [OTHER, VERIFIER]) == whole


@given(st.integers(0, len(NOTE.encode()) * 8 - 1))
def test_a_note_with_any_bit_flipped_is_refused(bit):
    raw = bytearray(NOTE.encode())
    raw[bit // 8] ^= 1 << bit % 8
    try:
        flipped = raw.decode()
    except UnicodeDecodeError:
        return
    refused(flipped)


def test_a_note_that_only_others_signed_is_refused() -> None:
    assert "no known key" in refused(NOTE, OTHER)
    assert "no known key" in refused(NOTE, NoteVerifier(NAME, _key("x").public_key()))


def test_signatures_of_unknown_keys_are_ignored_in_any_place() -> None:
    foreign = sign_note(TEXT, name="witness.example", key=_key("w"))
    line = foreign.removeprefix(TEXT + "\n")
    assert open_note(NOTE + line, [VERIFIER]) == TEXT
    assert open_note(TEXT + "\n" + line + NOTE[len(TEXT) + 1 :], [VERIFIER]) == TEXT


def test_one_bad_signature_of_a_known_key_spoils_the_note() -> None:
    bad = base64.b64encode(VERIFIER.key_id + b"\0" * 64).decode()
    assert "verify" in refused(f"{NOTE}\u2014 {NAME} {bad}\n")


@pytest.mark.parametrize(
    "note",
    [
        "", "\n", TEXT, TEXT + "\n", NOTE[:-1], NOTE + "\n", NOTE + "x\n",
        NOTE.replace("\u2014", "-"), NOTE.replace("\u2014 ", "\u2014  "),
        NOTE.replace("first", "fi\trst"), NOTE.replace("first", "fi\rrst"),
        NOTE.replace("first", "fi\x00rst"), NOTE.replace("first", "fi\ud800rst"),
        f"{TEXT}\n\u2014 {NAME} \n", f"{TEXT}\n\u2014 {NAME} AAAA\n",
        f"{TEXT}\n\u2014 {NAME} A\n", f"{TEXT}\n\u2014 {NAME}\n",
    ],
)  # fmt: skip
def test_a_malformed_note_is_refused(note):
    refused(note)


def test_a_note_has_a_largest_size() -> None:
    head = len(NOTE.encode()) - len(TEXT.encode())
    fits = sign_note("x" * (NOTE_BYTES_MAX - head - 1) + "\n", name=NAME, key=KEY)
    assert len(fits.encode()) == NOTE_BYTES_MAX
    assert open_note(fits, [VERIFIER])
    over = sign_note("x" * (NOTE_BYTES_MAX - head) + "\n", name=NAME, key=KEY)
    assert "at most" in refused(over)


def test_a_note_has_a_largest_number_of_signatures() -> None:
    line = sign_note(TEXT, name="w.example", key=_key("w")).removeprefix(TEXT + "\n")
    assert open_note(NOTE + line * (NOTE_SIGNATURES_MAX - 1), [VERIFIER]) == TEXT
    assert "at most" in refused(NOTE + line * NOTE_SIGNATURES_MAX)


@pytest.mark.parametrize("text", ["", "no end", "tab\t\n", "\ud800\n", "\x1f\n"])
def test_a_text_that_no_note_can_carry_is_not_signed(text):
    with pytest.raises(NoteError):
        sign_note(text, name=NAME, key=KEY)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a+b", "a\u00a0b", "a\n", "a\u2028", "x" * 201]
)
def test_a_key_name_that_could_not_stand_in_a_line_is_refused(name):
    with pytest.raises(NoteError, match="key name"):
        NoteVerifier(name, KEY.public_key())


def test_a_key_name_at_the_longest_still_signs() -> None:
    name = "x" * KEY_NAME_CHARS_MAX
    note = sign_note(TEXT, name=name, key=KEY)
    assert open_note(note, [NoteVerifier(name, KEY.public_key())]) == TEXT


@pytest.mark.parametrize(
    "vkey",
    [
        "", "a+b", GO_VKEY + "\n", GO_VKEY.replace("c74f20a3", "c74f20a4"),
        GO_VKEY.replace("PeterNeumann", "PeterNeuman"),
        GO_VKEY.replace("c74f20a3", "C74F20A3"),
        "PeterNeumann+c74f20a3+" + base64.b64encode(b"\x02" + b"k" * 32).decode(),
        "PeterNeumann+c74f20a3+" + base64.b64encode(b"\x01" + b"k" * 31).decode(),
    ],
)  # fmt: skip
def test_a_verifier_key_that_is_not_whole_is_refused(vkey):
    with pytest.raises(NoteError):
        parse_vkey(vkey)


def test_a_verifier_key_reads_back() -> None:
    assert parse_vkey(VERIFIER.vkey) == VERIFIER


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))

"""The export: a whole log in a file, and what each kind of tampering is called."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.checkpoint import sign_checkpoint
from broker.core.transparency.export import (
    CHECKPOINTS_MAX,
    ENTRY_LINE_BYTES_MAX,
    HEADER_BYTES_MAX,
    KEYS_MAX,
    ExportError,
    Pins,
    entry_line,
    header_line,
    trailer_line,
    verify_export,
)
from broker.core.transparency.signed_note import NoteVerifier
from tests.support.log.made import (
    KEY,
    LOG,
    LOG_KEY,
    entry_id,
    entry_key,
    export_of,
    head_of,
    leaf,
)

LEAVES = [leaf(number) for number in range(12)]
LINES = export_of(LEAVES, at=(4, 9))


def refusal(lines: list[bytes], pins: Pins | None = None) -> ExportError:
    with pytest.raises(ExportError) as caught:
        verify_export(lines, pins=pins)
    return caught.value


def edit(line: bytes, change: Callable[[dict], None]) -> bytes:
    value = json.loads(line)
    change(value)
    return json.dumps(value).encode() + b"\n"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 12])
def test_a_true_export_verifies(size):
    verified = verify_export(export_of(LEAVES[:size]))
    assert verified.checkpoint == head_of(LEAVES[:size])
    assert verified.log_vkeys == (LOG.vkey,)
    assert verified.entry_kids == (KEY.kid,)
    assert verified.actions == (size + 1) // 2


@given(st.integers(0, sum(map(len, LINES)) * 8 - 1))
def test_an_export_with_any_bit_flipped_fails_and_names_the_place(bit):
    raw = bytearray(b"".join(LINES))
    raw[bit // 8] ^= 1 << bit % 8
    at = len(LINES) - 1
    while bit // 8 < sum(map(len, LINES[:at])):
        at -= 1
    error = refusal(bytes(raw).splitlines(keepends=True))
    newline = bit // 8 == sum(map(len, LINES[: at + 1])) - 1
    if 0 < at < len(LINES) - 1 and not newline:
        assert error.seq == at - 1


def test_a_flipped_byte_in_a_leaf_names_the_entry_and_says_what_is_wrong() -> None:
    flipped = bytearray(LEAVES[5])
    flipped[60] = ord("A") if flipped[60] != ord("A") else ord("B")
    line = entry_line(seq=5, entry_id=entry_id(5), leaf=bytes(flipped))
    error = refusal([*LINES[:6], line, *LINES[7:]])
    assert (error.problem, error.seq, error.entry_id) == ("entry", 5, entry_id(5))
    assert f"entry 5 ({entry_id(5)}): the entry's signature" in str(error)


def test_a_deleted_line_is_named() -> None:
    error = refusal([*LINES[:4], *LINES[5:]])
    assert (error.problem, error.seq) == ("seq", 3)


def test_swapped_lines_are_named() -> None:
    error = refusal([*LINES[:4], LINES[5], LINES[4], *LINES[6:]])
    assert (error.problem, error.seq) == ("seq", 3)


def test_entries_renumbered_after_a_deletion_are_found_by_the_next_root() -> None:
    kept = [each for seq, each in enumerate(LEAVES) if seq != 6]
    numbers = [seq for seq in range(12) if seq != 6]
    forged = [
        entry_line(seq=seq, entry_id=entry_id(number), leaf=each)
        for seq, (number, each) in enumerate(zip(numbers, kept, strict=True))
    ]
    error = refusal([LINES[0], *forged, LINES[-1]])
    assert (error.problem, error.seq) == ("root", 4)
    assert "entries 4 to 8" in str(error)


def test_an_entry_replaced_by_one_with_a_valid_signature_is_found() -> None:
    other = leaf(10, detail="another decision")
    forged = entry_line(seq=10, entry_id=entry_id(10), leaf=other)
    error = refusal([*LINES[:11], forged, *LINES[12:]])
    assert (error.problem, error.seq) == ("root", 9)
    assert "entries 9 to 11" in str(error)


def test_the_same_entry_twice_is_found() -> None:
    twice = [*LEAVES[:3], LEAVES[1]]
    notes = [sign_checkpoint(head_of(twice), LOG_KEY)]
    lines = [
        header_line(log_keys=[LOG], entry_keys=[KEY.public()], checkpoints=notes),
        *(
            entry_line(seq=seq, entry_id=entry_id([0, 1, 2, 1][seq]), leaf=each)
            for seq, each in enumerate(twice)
        ),
        trailer_line(head_of(twice)),
    ]
    error = refusal(lines)
    assert (error.problem, error.seq) == ("entry_id", 3)


def test_a_line_that_names_another_entry_than_it_carries_is_found() -> None:
    forged = entry_line(seq=5, entry_id=entry_id(99), leaf=LEAVES[5])
    error = refusal([*LINES[:6], forged, *LINES[7:]])
    assert (error.problem, error.entry_id) == ("entry_id", entry_id(99))
    assert entry_id(5) in str(error)


def test_a_file_cut_short_or_continued_is_found() -> None:
    assert refusal(LINES[:-1]).problem == "trailer"
    assert refusal([*LINES[:-3], LINES[-1]]).problem == "root"
    assert refusal([*LINES, LINES[-1]]).problem == "trailer"
    extra = entry_line(seq=12, entry_id=entry_id(12), leaf=leaf(12))
    error = refusal([*LINES[:-1], extra, LINES[-1]])
    assert (error.problem, error.seq) == ("root", 12)
    assert refusal([]).problem == refusal([b"\n"]).problem == "header"


def test_an_entry_by_a_key_that_the_header_does_not_bring_is_found() -> None:
    other = leaf(5, key=entry_key("second"))
    forged = entry_line(seq=5, entry_id=entry_id(5), leaf=other)
    error = refusal([*LINES[:6], forged, *LINES[7:]])
    assert (error.problem, error.seq) == ("entry", 5)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda h: h.update(format="other"), "header"),
        (lambda h: h.update(more=1), "header"),
        (lambda h: h.pop("log_keys"), "header"),
        (lambda h: h.update(log_keys=[1]), "header"),
        (lambda h: h.update(log_keys=[]), "checkpoint"),
        (lambda h: h.update(log_keys=["x"]), "key"),
        (lambda h: h.update(log_keys=h["log_keys"] * 2), "key"),
        (lambda h: h.update(entry_keys=[{}]), "key"),
        (lambda h: h.update(entry_keys=7), "key"),
        (lambda h: h["entry_keys"][0].update(kid="x"), "key"),
        (lambda h: h.update(checkpoints=[]), "checkpoint"),
        (lambda h: h["checkpoints"].reverse(), "checkpoint"),
        (lambda h: h.update(checkpoints=h["checkpoints"] * 2), "checkpoint"),
        (lambda h: h.update(checkpoints=["x"]), "checkpoint"),
    ],
)
def test_a_header_that_does_not_hold_is_named(change, problem):
    assert refusal([edit(LINES[0], change), *LINES[1:]]).problem == problem


def test_a_checkpoint_that_was_altered_is_found() -> None:
    def larger(header: dict) -> None:
        header["checkpoints"][-1] = header["checkpoints"][-1].replace(
            "\n12\n", "\n13\n"
        )

    error = refusal([edit(LINES[0], larger), *LINES[1:]])
    assert error.problem == "checkpoint"
    assert "verify" in str(error)


def test_a_trailer_that_lies_is_found() -> None:
    for change in ({"entries": 11}, {"root": "AAAA"}, {"entries": "12"}):
        lying = json.dumps({**json.loads(LINES[-1]), **change}).encode()
        assert refusal([*LINES[:-1], lying]).problem == "trailer"


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.update(seq=True),
        lambda line: line.update(seq="5"),
        lambda line: line.update(leaf=5),
        lambda line: line.update(entry_id=None),
        lambda line: line.update(more=1),
        lambda line: line.pop("seq"),
    ],
)
def test_a_line_of_another_form_is_named(change):
    error = refusal([*LINES[:6], edit(LINES[6], change), *LINES[7:]])
    assert (error.problem in {"line", "seq"}, error.seq) == (True, 5)


def test_a_line_that_is_no_object_is_named() -> None:
    error = refusal([*LINES[:6], b"[]\n", *LINES[7:]])
    assert (error.problem, error.seq) == ("line", 5)
    assert refusal([b"7\n", *LINES[1:]]).problem == "header"


def test_a_whole_log_rewritten_under_other_keys_passes_only_without_pins() -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"thief".ljust(32, b"."))
    thief = NoteVerifier(LOG.name, key.public_key())
    note = sign_checkpoint(head_of(LEAVES), key)
    forged = [
        header_line(log_keys=[thief], entry_keys=[KEY.public()], checkpoints=[note]),
        *LINES[1:],
    ]
    assert verify_export(forged).log_vkeys == (thief.vkey,)
    assert refusal(forged, Pins(log_vkeys=frozenset({LOG.vkey}))).problem == "key"
    other = frozenset({entry_key("second").kid})
    assert refusal(LINES, Pins(entry_kids=other)).problem == "key"
    pins = Pins(frozenset({LOG.vkey}), frozenset({KEY.kid}) | other)
    assert verify_export(LINES, pins=pins).checkpoint.size == 12


def test_a_header_has_a_largest_number_of_keys_and_checkpoints() -> None:
    def lines(keys: int, heads: int) -> list[bytes]:
        leaves = [leaf(number) for number in range(heads)]
        notes = [
            sign_checkpoint(head_of(leaves[:size]), LOG_KEY)
            for size in range(1, heads + 1)
        ]
        listed = [KEY.public()] + [entry_key(f"k{n}").public() for n in range(keys - 1)]
        return [
            header_line(log_keys=[LOG], entry_keys=listed, checkpoints=notes),
            *export_of(leaves)[1:],
        ]

    verified = verify_export(lines(KEYS_MAX, CHECKPOINTS_MAX))
    assert len(verified.entry_kids) == KEYS_MAX
    assert refusal(lines(KEYS_MAX + 1, 1)).problem == "key"
    assert refusal(lines(1, CHECKPOINTS_MAX + 1)).problem == "header"


def test_a_line_has_a_largest_size() -> None:
    header = LINES[0].rstrip()
    fits = header + b" " * (HEADER_BYTES_MAX - len(header))
    assert verify_export([fits, *LINES[1:]]).checkpoint.size == 12
    assert refusal([fits + b" ", *LINES[1:]]).problem == "header"
    line = LINES[1].rstrip()
    fits = line + b" " * (ENTRY_LINE_BYTES_MAX - len(line))
    assert verify_export([LINES[0], fits, *LINES[2:]]).checkpoint.size == 12
    assert refusal([LINES[0], fits + b" ", *LINES[2:]]).problem == "line"


def test_the_largest_leaf_fits_into_a_line() -> None:
    largest = entry_line(seq=2**53 - 1, entry_id=entry_id(0), leaf=b"x" * 65_536)
    assert len(largest) <= ENTRY_LINE_BYTES_MAX

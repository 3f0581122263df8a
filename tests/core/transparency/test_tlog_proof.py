"""Proof files: one entry, verified with nothing but the log's key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.checkpoint import sign_checkpoint
from broker.core.transparency.merkle import leaf_hash
from broker.core.transparency.proofs import PROOF_HASHES_MAX
from broker.core.transparency.signed_note import NoteVerifier
from broker.core.transparency.tlog_proof import (
    TLOG_PROOF_BYTES_MAX,
    TlogProof,
    TlogProofError,
    check_tlog_proof,
    parse_tlog_proof,
)
from tests.support.log.made import LOG, LOG_KEY, head_of
from tests.support.log.tree import defined_inclusion

RAW = [f"leaf {number}".encode() for number in range(40)]


def proof_of(index: int, size: int, extra: bytes = b"") -> TlogProof:
    hashes = defined_inclusion(index, [leaf_hash(each) for each in RAW[:size]])
    note = sign_checkpoint(head_of(RAW[:size]), LOG_KEY)
    return TlogProof(index, tuple(hashes), note, extra)


PROOF = proof_of(5, 11)


@given(st.integers(1, 40), st.data(), st.binary(max_size=9))
def test_a_proof_that_was_written_reads_back_and_verifies(size, data, extra):
    index = data.draw(st.integers(0, size - 1))
    proof = proof_of(index, size, extra)
    assert parse_tlog_proof(proof.text) == proof
    head = check_tlog_proof(proof, leaf=RAW[index], log=LOG)
    assert head == head_of(RAW[:size])


def test_the_file_has_the_layout_of_the_standard() -> None:
    lines = proof_of(1, 3, b"hi").text.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra aGk=", "index 1"]
    assert [len(line) for line in lines[3:5]] == [44, 44]
    assert lines[5] == ""
    assert lines[6:8] == [LOG.name, "3"]


@given(st.integers(0, len(PROOF.text.encode()) * 8 - 1))
def test_a_proof_with_any_bit_flipped_fails(bit):
    raw = bytearray(PROOF.text.encode())
    raw[bit // 8] ^= 1 << bit % 8
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(TlogProofError):
        check_tlog_proof(parse_tlog_proof(text), leaf=RAW[5], log=LOG)


def test_a_proof_for_another_entry_or_of_another_log_fails() -> None:
    with pytest.raises(TlogProofError, match="another root"):
        check_tlog_proof(PROOF, leaf=RAW[6], log=LOG)
    other = NoteVerifier("other.example", LOG.public)
    with pytest.raises(TlogProofError, match="no known key"):
        check_tlog_proof(PROOF, leaf=RAW[5], log=other)


@pytest.mark.parametrize(
    "text",
    [
        "", PROOF.text.replace("@v1", "@v2"), PROOF.text.replace("index 5", "index 05"),
        PROOF.text.replace("index 5", "index -5"), PROOF.text.replace("index 5\n", ""),
        PROOF.text.replace("index 5", "extra !!\nindex 5"),
        PROOF.text.replace("index 5", "index 5\nAAAA"), PROOF.text.split("\n\n")[0],
        "c2sp.org/tlog-proof@v1\n\n" + PROOF.checkpoint,
    ],
)  # fmt: skip
def test_a_malformed_proof_is_refused(text):
    with pytest.raises(TlogProofError):
        parse_tlog_proof(text)


def test_a_proof_has_a_largest_size_and_number_of_hashes() -> None:
    most = TlogProof(5, (b"h" * 32,) * PROOF_HASHES_MAX, PROOF.checkpoint)
    assert parse_tlog_proof(most.text) == most
    more = TlogProof(5, (*most.hashes, b"h" * 32), PROOF.checkpoint)
    with pytest.raises(TlogProofError, match="at most"):
        parse_tlog_proof(more.text)
    room = TLOG_PROOF_BYTES_MAX - len(most.text.encode())
    assert parse_tlog_proof(most.text + "x" * room).index == most.index
    with pytest.raises(TlogProofError, match="bytes"):
        parse_tlog_proof(most.text + "x" * (room + 1))

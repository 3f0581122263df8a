"""Signing: only a log that grew out of the last signed head finds a signature."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.canonical import canonical
from broker.core.transparency.checkpoint import Checkpoint
from broker.core.transparency.merkle import root_of
from broker.core.transparency.proofs import PROOF_HASHES_MAX
from broker.core.transparency.signed_note import NoteVerifier
from broker.core.transparency.signing import (
    ORIGINS_MAX,
    REASON_CHARS_MAX,
    SIGNER_FRAME_MAX,
    Former,
    SignerHead,
    SigningRefusedError,
    SignRequest,
    parse_sign_request,
    parse_signer_head,
    require_successor,
    sign_request_message,
    signer_head_message,
)
from tests.support.log.made import LOG, ORIGIN
from tests.support.log.tree import LEAVES, defined_consistency

sizes = st.integers(0, 300)


def head(size: int, *, origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, size, root_of(LEAVES[:size]))


def request(old: int, new: int) -> SignRequest:
    return SignRequest(head(new), old, tuple(defined_consistency(old, LEAVES[:new])))


def refusal(last: Checkpoint, asked: SignRequest) -> str:
    with pytest.raises(SigningRefusedError) as caught:
        require_successor(last, asked)
    return caught.value.problem


@given(sizes, sizes)
def test_a_log_that_grew_or_stayed_may_be_signed(one, other):
    old, new = sorted((one, other))
    require_successor(head(old), request(old, new))


@given(sizes, sizes)
def test_a_log_that_shrank_is_never_signed(one, other):
    new, old = sorted((one, other))
    if new < old:
        assert refusal(head(old), SignRequest(head(new), old, ())) == "shrunk"


@given(st.integers(1, 100), st.integers(0, 100), st.integers(0, 99))
def test_a_log_with_another_past_is_never_signed(old, more, at):
    forged = [*LEAVES[: old + more]]
    forged[at % old] = b"\0" * 32
    new = Checkpoint(ORIGIN, len(forged), root_of(forged))
    proof = tuple(defined_consistency(old, forged))
    assert refusal(head(old), SignRequest(new, old, proof)) == "inconsistent"


def test_a_head_without_a_proof_is_not_signed() -> None:
    assert refusal(head(3), SignRequest(head(7), 3, ())) == "inconsistent"


def test_a_proof_from_an_earlier_head_is_no_fault_and_no_signature() -> None:
    assert refusal(head(5), request(3, 7)) == "moved"
    # The very head that was signed last is given out again, whatever was known.
    require_successor(head(5), request(3, 5))


def test_another_log_is_not_signed_for() -> None:
    other = SignRequest(head(3, origin="other.example"), 3, ())
    assert refusal(head(3), other) == "wrong_origin"


@given(st.integers(1, 300), st.integers(0, 300))
def test_a_request_reads_back_from_its_message(old, more):
    asked = request(old, min(old + more, 300))
    message = json.loads(canonical(sign_request_message(asked)))
    assert parse_sign_request(message) == asked


MESSAGE = sign_request_message(request(3, 7))


@pytest.mark.parametrize(
    "change",
    [
        {"size": True}, {"size": "7"}, {"size": -1}, {"size": 2**53}, {"root": "AAAA"},
        {"root": None},
        {"origin": ""}, {"origin": 1}, {"proof": None}, {"more": 1},
        {"old": None}, {"old": True}, {"proof": [1]}, {"proof": ["AAAA"]},
        {"proof": [MESSAGE["root"]] * 107},
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused(change):
    assert len(MESSAGE["proof"]) < PROOF_HASHES_MAX == 106
    with pytest.raises(SigningRefusedError) as caught:
        parse_sign_request({**MESSAGE, **change})
    assert caught.value.problem == "malformed"


def test_a_request_may_carry_the_longest_proof() -> None:
    proof = [MESSAGE["root"]] * PROOF_HASHES_MAX
    assert len(parse_sign_request({**MESSAGE, "proof": proof}).proof) == len(proof)


def former(number: int, *, reason: str = "restored") -> Former:
    log = NoteVerifier(f"counterfoil.example/{number}", LOG.public)
    return Former(log.vkey, head(number, origin=log.name), reason, "2026-11-23")


def test_the_signers_head_reads_back_with_its_former_origins() -> None:
    whole = SignerHead(LOG, head(9), (former(1), former(2)))
    read = parse_signer_head(json.loads(canonical(signer_head_message(whole))))
    assert read == whole
    assert [each.name for each in read.verifiers] == [
        ORIGIN, "counterfoil.example/2", "counterfoil.example/1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"vkey": "x"}, {"vkey": None}, {"origin": "other.example"}, {"former": None},
        {"former": [{}]}, {"former": [1]}, {"size": None},
    ],
)  # fmt: skip
def test_a_malformed_head_is_refused(change):
    message = signer_head_message(SignerHead(LOG, head(9)))
    with pytest.raises(SigningRefusedError):
        parse_signer_head({**message, **change})


def test_a_former_origin_must_be_whole() -> None:
    for change in (
        {"reason": 1}, {"reason": "a\nb"}, {"at": None}, {"vkey": LOG.vkey},
        {"vkey": 1}, {"root": "A"},
    ):  # fmt: skip
        message = signer_head_message(SignerHead(LOG, head(9), (former(1),)))
        message["former"][0] |= change
        with pytest.raises(SigningRefusedError):
            parse_signer_head(message)


def test_reasons_and_origins_have_limits_and_fit_into_a_frame() -> None:
    longest = former(1, reason="\U0001f600" * REASON_CHARS_MAX)
    most = SignerHead(LOG, head(9), (longest,) * ORIGINS_MAX)
    message = signer_head_message(most)
    assert parse_signer_head(message) == most
    assert len(canonical(message)) <= SIGNER_FRAME_MAX
    more = SignerHead(LOG, head(9), (longest,) * (ORIGINS_MAX + 1))
    with pytest.raises(SigningRefusedError, match="at most 32"):
        parse_signer_head(signer_head_message(more))
    over = SignerHead(LOG, head(9), (former(1, reason="x" * (REASON_CHARS_MAX + 1)),))
    with pytest.raises(SigningRefusedError, match="at most 500"):
        parse_signer_head(signer_head_message(over))

"""Decide whether a new head may be signed, and carry the question to the signer.

The signer process holds the log's key and remembers the last head it signed. It signs
another one only with a proof that the log merely grew: a database that was restored
from a backup, or written to by hand, finds nobody to sign for it.

Messages are JSON objects in frames (`broker.core.frames`):
``{"op": "head"}`` and ``{"op": "sign", "origin", "size", "root", "old", "proof"}``.

Source: C2SP tlog-checkpoint ("a log must not sign any checkpoint which is inconsistent
with any checkpoint it previously signed"); docs/adr/0007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from broker.core.transparency.checkpoint import Checkpoint, CheckpointError
from broker.core.transparency.encoding import EncodingError, from_base64, to_base64
from broker.core.transparency.merkle import HASH_BYTES, MerkleError
from broker.core.transparency.proofs import PROOF_HASHES_MAX, check_consistency
from broker.core.transparency.signed_note import (
    NOTE_BYTES_MAX,
    NoteError,
    NoteVerifier,
    parse_vkey,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNER_FRAME_MAX: Final = 2 * NOTE_BYTES_MAX
"""Longest message to or from the signer, in bytes."""

REASON_CHARS_MAX: Final = 500
"""Longest reason for opening a new origin."""

ORIGINS_MAX: Final = 32
"""Most origins that one signer has had."""

SigningProblem: TypeAlias = Literal[
    "malformed", "wrong_origin", "shrunk", "moved", "inconsistent"
]
"""``moved`` is no fault: another head was signed since, so prove from that one."""


class SigningRefusedError(ValueError):
    """The signer does not sign this head.

    Attributes:
        problem: Stable word for why.
    """

    def __init__(self, *, problem: SigningProblem, detail: str) -> None:
        """Keep the stable word apart from the sentence for people."""
        super().__init__(detail)
        self.problem: SigningProblem = problem


@dataclass(frozen=True, slots=True)
class Former:
    """An origin that was given up, the last head signed under it, and why.

    Attributes:
        vkey: The key that its checkpoints still verify with.
        last: The last head that was signed for it.
        reason: Why a person opened a new origin.
        at: When, RFC 3339.
    """

    vkey: str
    last: Checkpoint
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class SignerHead:
    """Who the signer is, and the last head that it has signed.

    Attributes:
        log: The log's present key, named by the origin.
        last: The last head signed under it.
        former: Earlier origins, oldest first.
    """

    log: NoteVerifier
    last: Checkpoint
    former: tuple[Former, ...] = ()

    @property
    def verifiers(self) -> tuple[NoteVerifier, ...]:
        """All keys that have signed for this log, the present one first."""
        return (self.log, *(parse_vkey(each.vkey) for each in reversed(self.former)))


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A head to be signed, and the proof that it follows from the last one signed.

    Attributes:
        checkpoint: The head.
        old: Size signed last, as far as the asker knows; the proof begins there.
        proof: Consistency proof from ``old`` to the head.
    """

    checkpoint: Checkpoint
    old: int
    proof: tuple[bytes, ...]


def require_successor(last: Checkpoint, request: SignRequest) -> None:
    """Accept a head only if the log that it describes contains the last one's whole.

    Raises:
        SigningRefusedError: Another log, a shorter one, or one with another past.
    """
    new = request.checkpoint
    if new.origin != last.origin:
        detail = f"this signer signs for {last.origin}, not for {new.origin}"
        raise SigningRefusedError(problem="wrong_origin", detail=detail)
    if new == last:
        return
    if new.size < last.size:
        detail = f"{last.size} entries were signed for, and {new.size} are left"
        raise SigningRefusedError(problem="shrunk", detail=detail)
    if request.old != last.size:
        detail = f"the proof begins at {request.old}, and {last.size} was signed last"
        raise SigningRefusedError(problem="moved", detail=detail)
    try:
        check_consistency(
            request.proof,
            old=last.size,
            old_root=last.root,
            new=new.size,
            new_root=new.root,
        )
    except MerkleError as error:
        detail = f"the log was changed before entry {last.size}: {error}"
        raise SigningRefusedError(problem="inconsistent", detail=detail) from None


def sign_request_message(request: SignRequest) -> dict[str, Any]:
    """Return the message that asks for a signature."""
    return {
        "op": "sign",
        **_head(request.checkpoint),
        "old": request.old,
        "proof": [to_base64(each) for each in request.proof],
    }


def parse_sign_request(message: Mapping[str, Any]) -> SignRequest:
    """Read the message that asks for a signature.

    Raises:
        SigningRefusedError: ``malformed``.
    """
    proof, old = message.get("proof"), message.get("old")
    if set(message) != {"op", "origin", "size", "root", "old", "proof"} or not (
        isinstance(proof, list)
        and isinstance(old, int)
        and not isinstance(old, bool)
        and len(proof) <= PROOF_HASHES_MAX
        and all(isinstance(each, str) for each in proof)
    ):
        detail = "a request has origin, size, root, old and proof"
        raise SigningRefusedError(problem="malformed", detail=detail)
    try:
        hashes = tuple(from_base64(each, bytes_exact=HASH_BYTES) for each in proof)
        return SignRequest(_parse_head(message), old, hashes)
    except (EncodingError, CheckpointError) as error:
        raise SigningRefusedError(problem="malformed", detail=str(error)) from None


def signer_head_message(head: SignerHead) -> dict[str, Any]:
    """Return the answer to ``{"op": "head"}``."""
    return {
        "ok": True,
        "vkey": head.log.vkey,
        **_head(head.last),
        "former": [former_message(each) for each in head.former],
    }


def parse_signer_head(message: Mapping[str, Any]) -> SignerHead:
    """Read the answer to ``{"op": "head"}``.

    Raises:
        SigningRefusedError: ``malformed``.
    """
    try:
        former = tuple(parse_former(each) for each in _list(message.get("former")))
        log = parse_vkey(str(message.get("vkey")))
        head = SignerHead(log, _parse_head(message), former)
    except (EncodingError, CheckpointError, NoteError) as error:
        raise SigningRefusedError(problem="malformed", detail=str(error)) from None
    if head.last.origin != log.name:
        detail = "the signer's head is not of its own log"
        raise SigningRefusedError(problem="malformed", detail=detail)
    return head


def former_message(former: Former) -> dict[str, Any]:
    """Return a given-up origin as JSON, for messages and for the signer's files."""
    return {
        "vkey": former.vkey,
        **_head(former.last),
        "reason": former.reason,
        "at": former.at,
    }


def parse_former(value: object) -> Former:
    """Read a given-up origin.

    Raises:
        SigningRefusedError: ``malformed``.
    """
    fields = {"vkey", "origin", "size", "root", "reason", "at"}
    if not isinstance(value, dict) or set(value) != fields:
        detail = f"a former origin has {', '.join(sorted(fields))}"
        raise SigningRefusedError(problem="malformed", detail=detail)
    reason, at, vkey = value["reason"], value["at"], value["vkey"]
    if not (
        isinstance(reason, str)
        and isinstance(at, str)
        and isinstance(vkey, str)
        and len(reason) <= REASON_CHARS_MAX
        and reason.isprintable()
    ):
        detail = f"a reason is a line of at most {REASON_CHARS_MAX} characters"
        raise SigningRefusedError(problem="malformed", detail=detail)
    try:
        last = _parse_head(value)
        if parse_vkey(vkey).name != last.origin:
            detail = "a former origin's key has another name"
            raise SigningRefusedError(problem="malformed", detail=detail)
    except (EncodingError, CheckpointError, NoteError) as error:
        raise SigningRefusedError(problem="malformed", detail=str(error)) from None
    return Former(vkey, last, reason, at)


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > ORIGINS_MAX:
        detail = f"a signer has had at most {ORIGINS_MAX} origins"
        raise SigningRefusedError(problem="malformed", detail=detail)
    return cast("list[object]", value)


def _head(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": to_base64(checkpoint.root),
    }


def _parse_head(message: Mapping[str, Any]) -> Checkpoint:
    origin, size, root = (message.get(name) for name in ("origin", "size", "root"))
    if (
        not isinstance(origin, str)
        or not isinstance(root, str)
        or not isinstance(size, int)
        or isinstance(size, bool)
    ):
        detail = "a head has origin, size and root"
        raise SigningRefusedError(problem="malformed", detail=detail)
    return Checkpoint(origin, size, from_base64(root, bytes_exact=HASH_BYTES))

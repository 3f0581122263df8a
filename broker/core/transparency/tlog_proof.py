"""Carry the proof that one entry is in a log: a file that verifies offline.

Source: C2SP tlog-proof, version 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.transparency.checkpoint import CheckpointError, open_checkpoint
from broker.core.transparency.encoding import EncodingError, from_base64, to_base64
from broker.core.transparency.merkle import HASH_BYTES, MerkleError, leaf_hash
from broker.core.transparency.proofs import PROOF_HASHES_MAX, check_inclusion
from broker.core.transparency.signed_note import NOTE_BYTES_MAX

if TYPE_CHECKING:
    from broker.core.transparency.checkpoint import Checkpoint
    from broker.core.transparency.signed_note import NoteVerifier

TLOG_PROOF_BYTES_MAX: Final = 2 * NOTE_BYTES_MAX
"""Longest proof file that is read."""

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")


class TlogProofError(ValueError):
    """A text is no proof, or it proves something else."""


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Where an entry is, and what leads from it to a checkpoint.

    Attributes:
        index: 0-based position of the entry.
        hashes: Inclusion proof, 32 bytes each, from the leaf's sibling upwards.
        checkpoint: The log's checkpoint, as the signed note itself.
        extra: Bytes with a meaning of the application's own; never authenticated.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    @property
    def text(self) -> str:
        """The file's content."""
        lines = [_HEADER]
        if self.extra:
            lines.append(f"extra {to_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines.extend(to_base64(each) for each in self.hashes)
        return "\n".join(lines) + "\n\n" + self.checkpoint


def parse_tlog_proof(text: str) -> TlogProof:
    """Read a proof file. Nothing in it is verified yet.

    Raises:
        TlogProofError: Too long, or not in the format.
    """
    if len(text.encode("utf-8", "surrogatepass")) > TLOG_PROOF_BYTES_MAX:
        msg = f"a proof has at most {TLOG_PROOF_BYTES_MAX} bytes"
        raise TlogProofError(msg)
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines.pop(0) != _HEADER:
        msg = f"a proof begins with {_HEADER} and ends with a checkpoint"
        raise TlogProofError(msg)
    extra = b""
    try:
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0).removeprefix("extra "))
        match = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if match is None or len(lines) > PROOF_HASHES_MAX:
            msg = f"a proof names an index and at most {PROOF_HASHES_MAX} hashes"
            raise TlogProofError(msg)
        hashes = tuple(from_base64(each, bytes_exact=HASH_BYTES) for each in lines)
    except EncodingError as error:
        raise TlogProofError(str(error)) from None
    return TlogProof(int(match[1]), hashes, checkpoint, extra)


def check_tlog_proof(proof: TlogProof, *, leaf: bytes, log: NoteVerifier) -> Checkpoint:
    """Accept an entry only if the log signed a checkpoint that includes it.

    Args:
        proof: The parsed file.
        leaf: The entry's exact bytes.
        log: The log's key, known beforehand.

    Returns:
        The checkpoint that includes the entry at ``proof.index``.

    Raises:
        TlogProofError: The checkpoint is not this log's, or does not include the entry.
    """
    try:
        checkpoint = open_checkpoint(proof.checkpoint, log)
        check_inclusion(
            leaf_hash(leaf),
            index=proof.index,
            size=checkpoint.size,
            proof=proof.hashes,
            root=checkpoint.root,
        )
    except (CheckpointError, MerkleError) as error:
        raise TlogProofError(str(error)) from None
    return checkpoint

"""State how long a log is and what its root is, signed by the log.

Source: C2SP tlog-checkpoint, without extension lines (DESIGN.md section 7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.transparency.encoding import EncodingError, from_base64, to_base64
from broker.core.transparency.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    SIZE_MAX,
    MerkleError,
    require_hashes,
)
from broker.core.transparency.signed_note import NoteError, open_note, sign_note

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from broker.core.transparency.signed_note import NoteVerifier

_SIZE_DIGITS: Final = len(str(SIZE_MAX))
_SIZE = re.compile(r"0|[1-9][0-9]*")


class CheckpointError(ValueError):
    """A text is no checkpoint, or is not signed by the log that it names."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: everything before ``size`` is fixed by ``root``.

    Attributes:
        origin: Name of the log, which is also the name of its key.
        size: Number of entries, 0..SIZE_MAX.
        root: Merkle tree hash over them, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse a head that no log can have."""
        if not self.origin or "\n" in self.origin or not 0 <= self.size <= SIZE_MAX:
            msg = "a checkpoint has an origin and a size"
            raise CheckpointError(msg)
        try:
            require_hashes([self.root])
        except MerkleError as error:
            raise CheckpointError(str(error)) from None
        if self.size == 0 and self.root != EMPTY_ROOT:
            msg = "the empty log has one root"
            raise CheckpointError(msg)

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """Return the checkpoint as a note signed by the log's key, named by the origin.

    Raises:
        NoteError: The origin cannot be a key name.
    """
    return sign_note(checkpoint.text, name=checkpoint.origin, key=key)


def open_checkpoint(note: str, log: NoteVerifier) -> Checkpoint:
    """Return what a log's own key has signed.

    Raises:
        CheckpointError: The note is not a checkpoint of this log, or its signature
            does not verify.
    """
    try:
        text = open_note(note, [log])
    except NoteError as error:
        raise CheckpointError(str(error)) from None
    checkpoint = parse_checkpoint(text)
    if checkpoint.origin != log.name:
        msg = f"the checkpoint is of {checkpoint.origin}, not of {log.name}"
        raise CheckpointError(msg)
    return checkpoint


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint whose signature somebody else verified.

    Raises:
        CheckpointError: Not exactly origin, size and root, each in its one spelling.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:  # noqa: PLR2004  (three lines, each ended)
        msg = "a checkpoint has three lines"
        raise CheckpointError(msg)
    origin, size, root = lines[:3]
    if len(size) > _SIZE_DIGITS or _SIZE.fullmatch(size) is None:
        msg = "the checkpoint's size is not a number"
        raise CheckpointError(msg)
    try:
        decoded = from_base64(root, bytes_exact=HASH_BYTES)
    except EncodingError as error:
        msg = f"the checkpoint's root: {error}"
        raise CheckpointError(msg) from None
    return Checkpoint(origin, int(size), decoded)

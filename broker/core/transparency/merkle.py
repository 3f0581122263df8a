"""Hash a growing list of entries into one root, without keeping the entries.

A log of ``size`` leaves is a row of perfect subtrees, largest first, one for each bit
that is set in ``size``; their roots are the frontier. Appending needs nothing else.

Source: RFC 9162 section 2.1.1 (the same tree as RFC 6962); the frontier is what the Go
checksum database calls the compact representation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_BYTES: Final = 32
"""Length of every hash: SHA-256."""

SIZE_MAX: Final = 2**53 - 1
"""Most leaves in one log, so that every size is a number that JSON can carry."""

TILE_HEIGHT: Final = 8
"""Roots of perfect subtrees are stored at every eighth level, as tlog-tiles does."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of a log without entries."""


class MerkleError(ValueError):
    """A proof does not fit its tree, or a number lies outside the tree."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A perfect subtree: leaves ``index << level`` up to ``(index + 1) << level``."""

    level: int
    index: int


@dataclass(frozen=True, slots=True)
class Frontier:
    """What must be known of a log to append to it.

    Attributes:
        size: Number of leaves, 0..SIZE_MAX.
        hashes: Roots of the perfect subtrees from left to right, one per bit of size.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a frontier that no log of this size has."""
        if not 0 <= self.size <= SIZE_MAX:
            msg = f"size must be within 0..{SIZE_MAX}, got {self.size}"
            raise MerkleError(msg)
        if len(self.hashes) != self.size.bit_count():
            msg = f"a log of {self.size} has {self.size.bit_count()} subtrees"
            raise MerkleError(msg)
        require_hashes(self.hashes)

    @property
    def root(self) -> bytes:
        """The Merkle tree hash over all leaves."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Growth:
    """A log after an append, and the subtrees at tile levels that it completed."""

    frontier: Frontier
    completed: tuple[tuple[Node, bytes], ...]


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one entry's exact bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees' roots."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def require_hashes(hashes: Iterable[bytes]) -> None:
    """Refuse anything that is no SHA-256 hash.

    Raises:
        MerkleError: One of them has another length.
    """
    if any(len(each) != HASH_BYTES for each in hashes):
        msg = f"a hash has {HASH_BYTES} bytes"
        raise MerkleError(msg)


def fold(hashes: Sequence[bytes]) -> bytes:
    """Join the roots of neighbouring perfect subtrees, largest first, from the right.

    Args:
        hashes: At least one root, from left to right.
    """
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a power of two of neighbouring roots of equal height.

    Raises:
        MerkleError: Their number is no power of two.
    """
    if len(hashes).bit_count() != 1:
        msg = f"a perfect subtree has a power of two of leaves, got {len(hashes)}"
        raise MerkleError(msg)
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


def append(frontier: Frontier, leaf_hashes: Iterable[bytes]) -> Growth:
    """Add leaves to a log.

    Args:
        frontier: The log before.
        leaf_hashes: Hashes of the new leaves in their order, 32 bytes each.

    Returns:
        The log after, and each subtree of height 8, 16, ... that is now complete.

    Raises:
        MerkleError: A hash has the wrong length, or the log would grow past SIZE_MAX.
    """
    leaves = tuple(leaf_hashes)
    require_hashes(leaves)
    stack = list(frontier.hashes)
    size = frontier.size
    completed: list[tuple[Node, bytes]] = []
    for each in leaves:
        root, level = each, 0
        while size >> level & 1:
            root = node_hash(stack.pop(), root)
            level += 1
            if level % TILE_HEIGHT == 0:
                completed.append((Node(level, size >> level), root))
        stack.append(root)
        size += 1
    return Growth(Frontier(size, tuple(stack)), tuple(completed))


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash over all given leaves; EMPTY_ROOT for none.

    Raises:
        MerkleError: A hash has the wrong length.
    """
    return append(Frontier(), leaf_hashes).frontier.root

"""Prove that an entry is in a log, and that a log only grew; check such proofs.

Making a proof takes two steps, so that the hashes may come from a database: a *path*
names the perfect subtrees that each element of the proof joins, and `assemble` joins
their roots once somebody has read them.

Source: RFC 9162 sections 2.1.3 and 2.1.4; reading by node as in Go's x/mod/sumdb/tlog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

from broker.core.transparency.merkle import (
    EMPTY_ROOT,
    SIZE_MAX,
    TILE_HEIGHT,
    MerkleError,
    Node,
    fold,
    node_hash,
    require_hashes,
)

Path: TypeAlias = tuple[tuple[Node, ...], ...]
"""For each hash of a proof, the neighbouring perfect subtrees that it joins."""

HashReader: TypeAlias = Callable[[Sequence[Node]], Sequence[bytes]]
"""Gives the roots of the named subtrees, in the order asked."""

PROOF_HASHES_MAX: Final = 2 * SIZE_MAX.bit_length()
"""No proof of a tree within SIZE_MAX has more hashes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Neighbouring stored roots from which one subtree's root can be computed.

    Attributes:
        level: A multiple of TILE_HEIGHT; 0 means the leaves themselves.
        first: Index of the leftmost root at that level.
        count: How many, a power of two below ``2 ** TILE_HEIGHT``.
    """

    level: int
    first: int
    count: int


def stored_below(node: Node) -> Stored:
    """Return which stored roots give a subtree's root (see merkle.perfect_root)."""
    level = node.level - node.level % TILE_HEIGHT
    up = node.level - level
    return Stored(level, node.index << up, 1 << up)


def inclusion_path(index: int, size: int) -> Path:
    """Name the subtrees of an inclusion proof, from the leaf's sibling upwards.

    Args:
        index: 0-based position of the leaf; below ``size``.
        size: Number of leaves in the tree, at most SIZE_MAX.

    Raises:
        MerkleError: The leaf is not in a tree of this size.

    Source: RFC 9162 section 2.1.3.1.
    """
    _require_within(index, size)
    low, high = 0, size
    found: list[tuple[Node, ...]] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            found.append(_perfect(middle, high))
            high = middle
        else:
            found.append(_perfect(low, middle))
            low = middle
    return tuple(reversed(found))


def consistency_path(old: int, new: int) -> Path:
    """Name the subtrees of a proof that a log of ``new`` leaves extends one of ``old``.

    Args:
        old: Earlier number of leaves; 0..new. For 0 and for ``new`` the path is empty.
        new: Later number of leaves, at most SIZE_MAX.

    Raises:
        MerkleError: A log does not shrink.

    Source: RFC 9162 section 2.1.4.1.
    """
    _require_growth(old, new)
    if old in (0, new):
        return ()
    low, high = 0, new
    found: list[tuple[Node, ...]] = []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            found.append(_perfect(middle, high))
            high = middle
        else:
            found.append(_perfect(low, middle))
            low = middle
    if low > 0:
        found.append(_perfect(low, high))
    return tuple(reversed(found))


def nodes_of(path: Path) -> tuple[Node, ...]:
    """Return every subtree whose root `assemble` needs, each once, in order."""
    return tuple(dict.fromkeys(chain.from_iterable(path)))


def assemble(path: Path, roots: Mapping[Node, bytes]) -> tuple[bytes, ...]:
    """Join the subtrees' roots into the hashes of the proof.

    Raises:
        KeyError: A root that the path names is missing.
    """
    return tuple(fold([roots[node] for node in nodes]) for nodes in path)


def prove_inclusion(index: int, size: int, read: HashReader) -> tuple[bytes, ...]:
    """Return the inclusion proof of a leaf, from the leaf's sibling upwards.

    Raises:
        MerkleError: The leaf is not in a tree of this size.
    """
    return _prove(inclusion_path(index, size), read)


def prove_consistency(old: int, new: int, read: HashReader) -> tuple[bytes, ...]:
    """Return the proof that a log of ``new`` leaves extends its first ``old``.

    Raises:
        MerkleError: ``old`` is larger than ``new``.
    """
    return _prove(consistency_path(old, new), read)


def root_from_inclusion_proof(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes]
) -> bytes:
    """Return the root that a proof implies, for the caller to compare.

    Args:
        leaf: Leaf hash, 32 bytes.
        index: 0-based position of the leaf; below ``size``.
        size: Number of leaves, 1..SIZE_MAX.
        proof: Sibling hashes, 32 bytes each, from the leaf up.

    Raises:
        MerkleError: The index is outside the tree, or the proof's length is wrong.

    Source: RFC 9162 section 2.1.3.2.
    """
    _require_within(index, size)
    require_hashes([leaf, *proof])
    position, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            msg = "the proof has more hashes than the tree has levels"
            raise MerkleError(msg)
        if position & 1 or position == last:
            root = node_hash(sibling, root)
            while position & 1 == 0 and position != 0:
                position >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        msg = "the proof has fewer hashes than the tree has levels"
        raise MerkleError(msg)
    return root


def check_inclusion(
    leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Accept a leaf only if the proof leads from it to the root.

    Raises:
        MerkleError: It does not.

    Source: RFC 9162 section 2.1.3.2.
    """
    if root_from_inclusion_proof(leaf, index=index, size=size, proof=proof) != root:
        msg = "the proof leads to another root"
        raise MerkleError(msg)


def check_consistency(
    proof: Sequence[bytes], *, old: int, old_root: bytes, new: int, new_root: bytes
) -> None:
    """Accept a later root only if the proof shows that it extends the earlier one.

    Args:
        proof: Hashes, 32 bytes each; empty when ``old`` is 0 or ``new``.
        old: Earlier number of leaves.
        old_root: Earlier root; EMPTY_ROOT when ``old`` is 0.
        new: Later number of leaves, at least ``old``.
        new_root: Later root.

    Raises:
        MerkleError: The log shrank, or it does not extend the earlier one.

    Source: RFC 9162 section 2.1.4.2.
    """
    _require_growth(old, new)
    require_hashes([old_root, new_root, *proof])
    if old in (0, new):
        earlier = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != earlier or (new == 0 and new_root != EMPTY_ROOT):
            msg = (
                "the roots differ at one size" if old else "the empty log has one root"
            )
            raise MerkleError(msg)
        return
    implied = _roots_from_consistency_proof(proof, old=old, old_root=old_root, new=new)
    if implied != (old_root, new_root):
        msg = "the later log does not extend the earlier one"
        raise MerkleError(msg)


def _roots_from_consistency_proof(
    proof: Sequence[bytes], *, old: int, old_root: bytes, new: int
) -> tuple[bytes, bytes]:
    hashes = list(proof)
    # If the earlier log is one perfect subtree, its root is known and left out.
    if old.bit_count() == 1:
        hashes.insert(0, old_root)
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    if not hashes:
        msg = "the proof is empty"
        raise MerkleError(msg)
    earlier = later = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            msg = "the proof has more hashes than the tree has levels"
            raise MerkleError(msg)
        if position & 1 or position == last:
            earlier = node_hash(each, earlier)
            later = node_hash(each, later)
            while position & 1 == 0 and position != 0:
                position >>= 1
                last >>= 1
        else:
            later = node_hash(later, each)
        position >>= 1
        last >>= 1
    if last != 0:
        msg = "the proof has fewer hashes than the tree has levels"
        raise MerkleError(msg)
    return earlier, later


def _prove(path: Path, read: HashReader) -> tuple[bytes, ...]:
    nodes = nodes_of(path)
    return assemble(path, dict(zip(nodes, read(nodes), strict=True)))


def _require_within(index: int, size: int) -> None:
    if not 0 <= index < size <= SIZE_MAX:
        msg = f"leaf {index} is not in a tree of {size}"
        raise MerkleError(msg)


def _require_growth(old: int, new: int) -> None:
    if not 0 <= old <= new <= SIZE_MAX:
        msg = f"a log does not go from {old} to {new} leaves"
        raise MerkleError(msg)


def _split(count: int) -> int:
    """Return the largest power of two below ``count``, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _perfect(low: int, high: int) -> tuple[Node, ...]:
    """Cut a range into perfect subtrees, largest first.

    ``low`` is a multiple of the largest one's width: proofs know no other ranges.
    """
    nodes: list[Node] = []
    while low < high:
        level = (high - low).bit_length() - 1
        nodes.append(Node(level, low >> level))
        low += 1 << level
    return tuple(nodes)

"""A second, slow Merkle tree: the definitions of RFC 9162, word for word.

Sections 2.1.1 (the root), 2.1.3.1 (inclusion) and 2.1.4.1 (consistency), by recursion
over lists, to compare the fast implementation with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from broker.core.transparency.merkle import leaf_hash

LEAVES = [leaf_hash(str(number).encode()) for number in range(1100)]
EDGES = sorted(
    {0, 1, len(LEAVES)}
    | {2**power + off for power in range(1, 11) for off in (-1, 0, 1)}
)


def _split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def defined_root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D_n) over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    at = _split(len(leaves))
    return hashlib.sha256(
        b"\x01" + defined_root(leaves[:at]) + defined_root(leaves[at:])
    ).digest()


def defined_inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D_n)."""
    if len(leaves) == 1:
        return []
    at = _split(len(leaves))
    if index < at:
        return [*defined_inclusion(index, leaves[:at]), defined_root(leaves[at:])]
    return [*defined_inclusion(index - at, leaves[at:]), defined_root(leaves[:at])]


def defined_consistency(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D_n), for m within 1..n-1; nothing needs proof at 0 and n."""
    return [] if old in (0, len(leaves)) else _subproof(old, leaves, known=True)


def _subproof(old: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if known else [defined_root(leaves)]
    at = _split(len(leaves))
    if old <= at:
        return [
            *_subproof(old, leaves[:at], known=known),
            defined_root(leaves[at:]),
        ]
    return [*_subproof(old - at, leaves[at:], known=False), defined_root(leaves[:at])]

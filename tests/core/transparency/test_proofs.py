"""Proofs: every true one verifies and is the standard's; every altered one fails."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.merkle import (
    EMPTY_ROOT,
    SIZE_MAX,
    TILE_HEIGHT,
    MerkleError,
    Node,
    perfect_root,
    root_of,
)
from broker.core.transparency.proofs import (
    PROOF_HASHES_MAX,
    assemble,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    nodes_of,
    prove_consistency,
    prove_inclusion,
    root_from_inclusion_proof,
    stored_below,
)
from tests.support.log.tree import (
    EDGES,
    LEAVES,
    defined_consistency,
    defined_inclusion,
    defined_root,
)

sizes = st.sampled_from(EDGES) | st.integers(0, len(LEAVES))
grown = sizes.filter(bool)
other_hash = st.binary(min_size=32, max_size=32)


def read(nodes: Sequence[Node]) -> list[bytes]:
    """Read subtrees' roots the way a store does: from leaves and tile levels only."""
    roots = []
    for node in nodes:
        stored = stored_below(node)
        assert stored.level % TILE_HEIGHT == 0
        width = 1 << stored.level
        row = [
            defined_root(LEAVES[at * width : (at + 1) * width])
            for at in range(stored.first, stored.first + stored.count)
        ]
        roots.append(perfect_root(row))
    return roots


@st.composite
def places(draw):
    size = draw(grown)
    edges = st.sampled_from([0, size - 1, size // 2])
    return draw(edges | st.integers(0, size - 1)), size


@st.composite
def growths(draw):
    return tuple(sorted((draw(sizes), draw(sizes))))


@given(places())
def test_an_inclusion_proof_is_the_standards_and_verifies(place):
    index, size = place
    proof = prove_inclusion(index, size, read)
    assert list(proof) == defined_inclusion(index, LEAVES[:size])
    root = root_of(LEAVES[:size])
    check_inclusion(LEAVES[index], index=index, size=size, proof=proof, root=root)


@given(growths())
def test_a_consistency_proof_is_the_standards_and_verifies(growth):
    old, new = growth
    proof = prove_consistency(old, new, read)
    assert list(proof) == defined_consistency(old, LEAVES[:new])
    check_consistency(
        proof,
        old=old,
        old_root=root_of(LEAVES[:old]),
        new=new,
        new_root=root_of(LEAVES[:new]),
    )


@given(places(), st.data())
def test_an_altered_inclusion_proof_fails(place, data):
    index, size = place
    proof = list(prove_inclusion(index, size, read))
    true = {"leaf": LEAVES[index], "index": index, "size": size, "proof": proof}
    root = root_of(LEAVES[:size])
    alike = _same_shape(index, size)
    changed = data.draw(
        st.one_of(
            other_hash.map(lambda leaf: {"leaf": leaf}),
            st.integers(-1, size + 2).map(lambda at: {"index": at}),
            st.integers(-1, len(LEAVES) * 2)
            .filter(lambda n: n not in alike)
            .map(lambda n: {"size": n}),
            altered(proof).map(lambda changed: {"proof": changed}),
            other_hash.map(lambda root: {"root": root}),
        )
    )
    asked = true | {"root": root} | changed
    if asked == true | {"root": root}:
        return
    with pytest.raises(MerkleError):
        check_inclusion(
            asked["leaf"],
            index=asked["index"],
            size=asked["size"],
            proof=asked["proof"],
            root=asked["root"],
        )


@given(growths().filter(lambda growth: 0 < growth[0] < growth[1]), st.data())
def test_an_altered_consistency_proof_fails(growth, data):
    old, new = growth
    proof = list(prove_consistency(old, new, read))
    roots = {"old_root": root_of(LEAVES[:old]), "new_root": root_of(LEAVES[:new])}
    changed = data.draw(
        st.one_of(
            altered(proof).map(lambda changed: {"proof": changed}),
            other_hash.map(lambda root: {"old_root": root}),
            other_hash.map(lambda root: {"new_root": root}),
            st.just({"old_root": roots["new_root"]}),
            st.just({"new_root": roots["old_root"]}),
        )
    )
    asked = {"proof": proof} | roots | changed
    with pytest.raises(MerkleError):
        check_consistency(
            asked["proof"],
            old=old,
            old_root=asked["old_root"],
            new=new,
            new_root=asked["new_root"],
        )


@given(growths(), st.integers(0, 1099))
def test_a_log_in_which_an_old_entry_changed_has_no_consistency_proof(growth, at):
    old, new = growth
    if not 0 < old < new:
        return
    at %= old
    forged = [*LEAVES[:at], b"\0" * 32, *LEAVES[at + 1 : new]]
    proof = defined_consistency(old, forged)
    with pytest.raises(MerkleError):
        check_consistency(
            proof,
            old=old,
            old_root=root_of(LEAVES[:old]),
            new=new,
            new_root=root_of(forged),
        )


def altered(proof: list[bytes]) -> st.SearchStrategy[list[bytes]]:
    longer = other_hash.map(lambda each: [*proof, each])
    ways = [longer, other_hash.map(lambda each: [each, *proof])]
    if proof:
        at = st.integers(0, len(proof) - 1)
        ways += [
            at.map(lambda i: proof[:i] + proof[i + 1 :]),
            st.tuples(at, other_hash).map(
                lambda pair: [*proof[: pair[0]], pair[1], *proof[pair[0] + 1 :]]
            ),
            at.map(lambda i: [*proof[:i], proof[i][:-1], *proof[i + 1 :]]),
        ]
    if len(proof) > 1:
        ways.append(st.just([proof[1], proof[0], *proof[2:]]))
    return st.one_of(ways)


def _same_shape(index: int, size: int) -> set[int]:
    """Sizes for which the way from this leaf to the root turns left and right alike.

    An inclusion proof does not prove the size; the signed checkpoint states it.
    """
    way = _turns(index, size)
    return {n for n in range(index + 1, 2 * len(LEAVES) + 1) if _turns(index, n) == way}


def _turns(index: int, size: int) -> list[bool]:
    turns, low, high = [], 0, size
    while high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        turns.append(index < middle)
        low, high = (low, middle) if index < middle else (middle, high)
    return turns


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (1, 1), (-1, 3), (5, 5), (0, SIZE_MAX + 1)]
)
def test_there_is_no_proof_for_a_leaf_outside_the_tree(index, size):
    with pytest.raises(MerkleError, match="not in a tree"):
        inclusion_path(index, size)
    with pytest.raises(MerkleError, match="not in a tree"):
        root_from_inclusion_proof(LEAVES[0], index=index, size=size, proof=[])


@pytest.mark.parametrize(
    ("old", "new"), [(2, 1), (1, 0), (-1, 1), (1, SIZE_MAX + 1), (7, 6)]
)
def test_there_is_no_proof_that_a_log_shrank(old, new):
    with pytest.raises(MerkleError, match="does not go"):
        consistency_path(old, new)
    with pytest.raises(MerkleError, match="does not go"):
        check_consistency(
            [], old=old, old_root=EMPTY_ROOT, new=new, new_root=EMPTY_ROOT
        )


def test_two_roots_at_one_size_are_never_consistent() -> None:
    for size in (0, 1, 5):
        root = root_of(LEAVES[:size])
        check_consistency([], old=size, old_root=root, new=size, new_root=root)
        with pytest.raises(MerkleError, match="root"):
            check_consistency(
                [], old=size, old_root=root, new=size, new_root=b"\0" * 32
            )


def test_from_the_empty_log_everything_follows_and_nothing_else_is_empty() -> None:
    root = root_of(LEAVES[:3])
    check_consistency([], old=0, old_root=EMPTY_ROOT, new=3, new_root=root)
    with pytest.raises(MerkleError):
        check_consistency([], old=0, old_root=b"\0" * 32, new=3, new_root=root)
    with pytest.raises(MerkleError):
        check_consistency([root], old=0, old_root=EMPTY_ROOT, new=3, new_root=root)


def test_a_proof_needs_few_hashes_even_in_the_largest_log() -> None:
    for index in (0, 1, SIZE_MAX // 2, SIZE_MAX - 1):
        path = inclusion_path(index, SIZE_MAX)
        assert len(path) <= 53
        assert sum(stored_below(node).count for node in nodes_of(path)) < 53 * 255
    for old in (1, SIZE_MAX // 3, SIZE_MAX - 1):
        assert len(consistency_path(old, SIZE_MAX)) <= PROOF_HASHES_MAX


def test_a_proof_with_a_root_missing_is_not_assembled() -> None:
    path = inclusion_path(0, 4)
    with pytest.raises(KeyError):
        assemble(path, {})

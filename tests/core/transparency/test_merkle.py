"""The tree: the compact frontier against the definition of the standard."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.transparency.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    SIZE_MAX,
    TILE_HEIGHT,
    Frontier,
    MerkleError,
    Node,
    append,
    fold,
    leaf_hash,
    node_hash,
    perfect_root,
    root_of,
)
from tests.support.log.tree import EDGES, LEAVES, defined_root

sizes = st.sampled_from(EDGES) | st.integers(0, len(LEAVES))


@pytest.mark.parametrize("size", EDGES)
def test_the_root_is_the_one_that_the_standard_defines(size):
    assert root_of(LEAVES[:size]) == defined_root(LEAVES[:size])


@given(st.lists(sizes, max_size=6))
def test_a_log_grown_in_any_steps_has_the_root_of_all_its_leaves(steps):
    frontier = Frontier()
    for size in sorted(steps):
        frontier = append(frontier, LEAVES[frontier.size : size]).frontier
        assert frontier.size == size
        assert frontier.root == defined_root(LEAVES[:size])
        assert len(frontier.hashes) == size.bit_count()


@given(sizes, sizes)
def test_each_subtree_at_a_tile_level_is_reported_once_when_it_is_complete(one, other):
    first, last = sorted((one, other))
    before = append(Frontier(), LEAVES[:first])
    after = append(before.frontier, LEAVES[first:last])
    found = dict(before.completed) | dict(after.completed)
    assert len(found) == len(before.completed) + len(after.completed)
    wanted = {
        Node(level, index)
        for level in range(TILE_HEIGHT, 64, TILE_HEIGHT)
        for index in range(last >> level)
    }
    assert set(found) == wanted
    for node, root in found.items():
        low, high = node.index << node.level, (node.index + 1) << node.level
        assert root == defined_root(LEAVES[low:high])


def test_hashes_of_leaves_and_nodes_cannot_be_taken_for_each_other() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert left == hashlib.sha256(b"\x00a").digest()
    assert node_hash(left, right) == hashlib.sha256(b"\x01" + left + right).digest()
    assert leaf_hash(left + right) != node_hash(left, right)


def test_the_empty_log_has_the_hash_of_nothing_as_its_root() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([]) == Frontier().root == EMPTY_ROOT == bytes.fromhex(empty)


def test_the_root_of_three_leaves_is_known() -> None:
    # The leaves "", "\0", "\x10" begin the test vectors of certificate transparency.
    leaves = [leaf_hash(each) for each in (b"", b"\x00", b"\x10")]
    known = "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert root_of(leaves).hex() == known


@pytest.mark.parametrize("count", [1, 2, 4, 256])
def test_neighbouring_roots_join_to_the_root_over_all_of_them(count):
    assert perfect_root(LEAVES[:count]) == defined_root(LEAVES[:count])


@pytest.mark.parametrize("count", [0, 3, 6, 255])
def test_only_a_power_of_two_makes_a_perfect_subtree(count):
    with pytest.raises(MerkleError, match="power of two"):
        perfect_root(LEAVES[:count])


def test_folding_one_root_changes_nothing() -> None:
    assert fold([LEAVES[0]]) == LEAVES[0]


@pytest.mark.parametrize(
    ("size", "hashes"),
    [(0, LEAVES[:1]), (1, []), (3, LEAVES[:1]), (4, LEAVES[:2]), (-1, [])],
)
def test_a_frontier_that_no_log_has_is_refused(size, hashes):
    with pytest.raises(MerkleError):
        Frontier(size, tuple(hashes))


@pytest.mark.parametrize("length", [0, HASH_BYTES - 1, HASH_BYTES + 1])
def test_what_is_no_hash_is_refused(length):
    with pytest.raises(MerkleError, match="32 bytes"):
        append(Frontier(), [LEAVES[0], b"x" * length])
    with pytest.raises(MerkleError, match="32 bytes"):
        Frontier(1, (b"x" * length,))


def test_a_log_may_grow_to_its_limit_and_not_past_it() -> None:
    almost = Frontier(SIZE_MAX - 1, tuple(LEAVES[: (SIZE_MAX - 1).bit_count()]))
    full = append(almost, LEAVES[:1]).frontier
    assert full.size == SIZE_MAX
    with pytest.raises(MerkleError, match="size must be within"):
        append(full, LEAVES[:1])

"""Ids are UUIDs of version 7: unique, and in the order of their making."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta

from broker.core.warrants.orders import id_time, is_id
from broker.effects.clock import RandomIds, SystemClock

COUNT = 20_000


def test_an_id_is_a_uuid_of_version_7_in_lower_case() -> None:
    for made in (RandomIds().new() for _ in range(1_000)):
        read = uuid.UUID(made)
        assert (read.version, read.variant) == (7, uuid.RFC_4122)
        assert str(read) == made
        assert is_id(made)


def test_an_id_says_when_it_was_made() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = id_time(RandomIds().new())
    assert made is not None
    assert before <= made <= datetime.now(UTC)


def test_ids_of_later_milliseconds_sort_later() -> None:
    ids = RandomIds()
    made = []
    for _ in range(10):
        made.append(ids.new())
        time.sleep(0.002)
    assert made == sorted(made)


def test_no_two_ids_are_the_same_and_every_random_bit_moves() -> None:
    made = [uuid.UUID(RandomIds().new()).int for _ in range(COUNT)]
    assert len(set(made)) == COUNT
    ever_set, always_set = 0, (1 << 128) - 1
    for value in made:
        ever_set |= value
        always_set &= value
    moving = ever_set & ~always_set
    # 62 bits after the variant, 12 after the version.
    assert moving & ((1 << 62) - 1) == (1 << 62) - 1
    assert moving >> 64 & 0xFFF == 0xFFF


def test_the_clock_is_aware_and_in_utc() -> None:
    now = SystemClock().now()
    assert now.utcoffset() == timedelta(0)
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)

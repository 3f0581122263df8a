"""The journal: what it took it keeps, and what it lost it does not deny."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.journal import (
    RECORD_BYTES_MAX,
    RETENTION_S,
    SEGMENT_BYTES_MAX,
    SEGMENT_S_MAX,
    SEGMENTS_MAX,
    SKEW_MS,
    Journal,
    JournalError,
    read_records,
)
from tests.edge.lab import ROOT

EDGE = "edge-1"


class Clock:
    """Milliseconds that pass when a test says so."""

    def __init__(self, ms: int = 1_800_000_000_000) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms

    def later(self, *, s: int) -> None:
        self.ms += s * 1000


def warrant(number: int) -> str:
    return str(UUID(int=number))


def last(journal: Journal, number: int) -> dict[str, Any]:
    record = journal.last(warrant(number))
    assert record is not None
    return record


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    clock: Callable[[], int] | None = None,
    sync: Callable[[int], None] = os.fdatasync,
) -> AsyncIterator[Journal]:
    journal = Journal(folder, edge=EDGE, now_ms=clock or Clock(), sync=sync)
    yield journal
    await journal.close()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


async def test_a_record_is_there_after_a_restart(tmp_path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append("sent", warrant=warrant(1), a="a1", key="k")
        await journal.append("answered", warrant=warrant(1), a="a1", status=201)
        await journal.append("void", warrant=warrant(2), a="a2")
    async with opened(tmp_path) as journal:
        assert last(journal, 1)["status"] == 201
        assert last(journal, 2)["k"] == "void"
        assert journal.last(warrant(3)) is None
    assert segments(tmp_path)[0].stat().st_mode & 0o777 == 0o600


async def test_append_returns_only_after_the_sync(tmp_path) -> None:
    synced: list[bytes] = []

    def sync(fd: int) -> None:
        os.fdatasync(fd)
        synced.append(segments(tmp_path)[0].read_bytes())

    async with opened(tmp_path, sync=sync) as journal:
        await journal.append("sent", warrant=warrant(1), a="a1")
        assert warrant(1).encode() in synced[-1]
        assert last(journal, 1)["k"] == "sent"


async def test_records_at_once_share_syncs_and_none_is_lost(tmp_path) -> None:
    syncs = []

    def sync(fd: int) -> None:
        os.fdatasync(fd)
        syncs.append(fd)

    async with opened(tmp_path, sync=sync) as journal:
        await asyncio.gather(
            *(journal.append("sent", warrant=warrant(n), a="a") for n in range(200))
        )
        assert all(journal.last(warrant(n)) for n in range(200))
    assert len(syncs) < 100
    async with opened(tmp_path) as journal:
        assert all(journal.last(warrant(n)) for n in range(200))


async def test_after_a_failed_sync_the_journal_takes_nothing_more(tmp_path) -> None:
    def sync(fd: int) -> None:
        raise OSError(28, "No space left on device")

    async with opened(tmp_path, sync=sync) as journal:
        for _ in range(2):
            with pytest.raises(JournalError, match="cannot be written"):
                await journal.append("sent", warrant=warrant(1), a="a1")
        assert journal.broken
        assert journal.last(warrant(1)) is None


async def test_a_caller_that_is_cancelled_does_not_stop_the_write(tmp_path) -> None:
    async with opened(tmp_path) as journal:
        task = asyncio.create_task(journal.append("sent", warrant=warrant(1), a="a1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with opened(tmp_path) as journal:
        assert last(journal, 1)["k"] == "sent"


@given(cut=st.integers(min_value=1, max_value=10_000), junk=st.binary(max_size=30))
async def test_a_torn_end_loses_no_earlier_record_and_moves_the_horizon(
    tmp_path_factory, cut, junk
) -> None:
    folder, clock = tmp_path_factory.mktemp("torn"), Clock()
    async with opened(folder, clock=clock) as journal:
        before = journal.horizon_ms
        await journal.append("sent", warrant=warrant(1), a="a1")
        size = segments(folder)[0].stat().st_size
        await journal.append("sent", warrant=warrant(2), a="a2")
    [path] = segments(folder)
    whole = path.read_bytes()
    keep = size + cut % (len(whole) - size)
    path.write_bytes(whole[:keep] + junk.replace(b"\n", b"").replace(b"\r", b""))
    clock.later(s=10)
    async with opened(folder, clock=clock) as journal:
        assert last(journal, 1)["k"] == "sent"
        if journal.last(warrant(2)) is None:
            torn = path.stat().st_size != keep or journal.horizon_ms > before
            assert torn or keep == size
            if keep > size:
                assert journal.horizon_ms == clock.ms + SKEW_MS
        await journal.append("sent", warrant=warrant(3), a="a3")
    async with opened(folder, clock=clock) as journal:
        assert last(journal, 3)["k"] == "sent"


async def test_a_damaged_record_in_the_middle_stops_the_edge(tmp_path) -> None:
    async with opened(tmp_path) as journal:
        for number in range(3):
            await journal.append("sent", warrant=warrant(number), a="a")
    [path] = segments(tmp_path)
    data = path.read_bytes()
    at = data.index(warrant(1).encode())
    path.write_bytes(data[:at] + b"9" + data[at + 1 :])
    with pytest.raises(JournalError, match="damaged"):
        Journal(tmp_path, edge=EDGE, now_ms=Clock())


async def test_the_journal_of_another_edge_is_not_taken_over(tmp_path) -> None:
    async with opened(tmp_path):
        pass
    with pytest.raises(JournalError, match="another edge"):
        Journal(tmp_path, edge="edge-2", now_ms=Clock())


async def test_a_record_that_changed_on_the_disk_is_not_believed(tmp_path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append("answered", warrant=warrant(1), a="a", status=201)
        [path] = segments(tmp_path)
        path.write_bytes(path.read_bytes().replace(b'"status":201', b'"status":409'))
        with pytest.raises(JournalError, match="changed"):
            journal.last(warrant(1))
        path.unlink()
        with pytest.raises(JournalError):
            journal.last(warrant(1))


async def test_a_new_journal_knows_nothing_of_what_was_before_it(tmp_path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as journal:
        assert journal.horizon_ms == clock.ms + SKEW_MS
        first = journal.horizon_ms
    clock.later(s=60)
    async with opened(tmp_path, clock=clock) as journal:
        assert journal.horizon_ms == first
    for path in segments(tmp_path):
        path.unlink()
    async with opened(tmp_path, clock=clock) as journal:
        assert journal.horizon_ms == clock.ms + SKEW_MS


async def test_the_journal_of_a_new_edge_has_lost_nothing(tmp_path) -> None:
    clock = Clock()
    journal = Journal(tmp_path, edge=EDGE, now_ms=clock, new=True)
    assert journal.horizon_ms == clock.ms
    await journal.close()


async def test_a_segment_ends_after_a_day(tmp_path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as journal:
        await journal.append("sent", warrant=warrant(1), a="a")
        clock.later(s=SEGMENT_S_MAX)
        await journal.append("sent", warrant=warrant(2), a="a")
        assert len(segments(tmp_path)) == 1
        clock.later(s=1)
        await journal.append("sent", warrant=warrant(3), a="a")
        assert len(segments(tmp_path)) == 2
        assert all(journal.last(warrant(n)) for n in (1, 2, 3))


async def test_records_are_kept_for_the_retention_and_the_horizon_follows(
    tmp_path,
) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as journal:
        await journal.append("sent", warrant=warrant(1), a="a")
        sent_ms, begun = clock.ms, journal.horizon_ms
        clock.later(s=RETENTION_S)
        await journal.append("sent", warrant=warrant(2), a="a")
        assert last(journal, 1)["k"] == "sent"
        assert journal.horizon_ms == begun
        clock.later(s=SEGMENT_S_MAX + 1)
        await journal.append("sent", warrant=warrant(3), a="a")
        assert journal.last(warrant(1)) is None
        assert journal.horizon_ms == sent_ms + SKEW_MS
        assert len(segments(tmp_path)) == 2
    async with opened(tmp_path, clock=clock) as journal:
        assert journal.horizon_ms == sent_ms + SKEW_MS
        assert last(journal, 2)["k"] == "sent"


async def test_there_are_never_more_segments_than_the_limit(tmp_path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock=clock) as journal:
        for number in range(SEGMENTS_MAX + 5):
            await journal.append("sent", warrant=warrant(number), a="a")
            clock.later(s=1)
            # As if the segment were full.
            clock.later(s=SEGMENT_S_MAX // SEGMENTS_MAX * 40)
        assert len(segments(tmp_path)) <= SEGMENTS_MAX


async def test_a_segment_ends_at_its_size(tmp_path) -> None:
    async with opened(tmp_path) as journal:
        pad = "p" * (RECORD_BYTES_MAX - 200)
        count = SEGMENT_BYTES_MAX // (RECORD_BYTES_MAX - 200)
        for number in range(count + 2):
            await journal.append("sent", warrant=warrant(number), a="a", pad=pad)
        sizes = [path.stat().st_size for path in segments(tmp_path)]
        assert len(sizes) == 2
        assert SEGMENT_BYTES_MAX <= sizes[0] < SEGMENT_BYTES_MAX + RECORD_BYTES_MAX
        assert all(journal.last(warrant(number)) for number in range(count + 2))


async def test_a_record_of_the_largest_size_is_taken_and_one_byte_more_is_not(
    tmp_path,
) -> None:
    async with opened(tmp_path) as journal:
        await journal.append("sent", warrant=warrant(1), a="")
        size = len(segments(tmp_path)[0].read_bytes().splitlines()[-1]) + 1
        pad = "p" * (RECORD_BYTES_MAX - size)
        await journal.append("sent", warrant=warrant(2), a=pad)
        with pytest.raises(JournalError, match="longer"):
            await journal.append("sent", warrant=warrant(3), a=pad + "p")
        with pytest.raises(JournalError, match="JSON"):
            await journal.append("sent", warrant=warrant(3), a=object())
        assert not journal.broken


WRITER = """
import asyncio, sys, time
from pathlib import Path
from typing import Any
from uuid import UUID
from broker.edge.journal import Journal

async def main():
    journal = Journal(Path(sys.argv[1]), edge="edge-1",
                      now_ms=lambda: int(time.time() * 1000))
    number = 0
    while True:
        warrant = str(UUID(int=number))
        await journal.append("sent", warrant=warrant, a="a")
        print(number, flush=True)
        if number % 2:
            await journal.append("answered", warrant=warrant, a="a", status=201)
            print(-number, flush=True)
        number += 1

asyncio.run(main())
"""


async def test_kill_9_at_any_moment_loses_nothing_that_was_promised(tmp_path) -> None:
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", WRITER, str(folder),
            cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(random.uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        promised = [int(line) for line in (await process.stdout.read()).split()]
        await process.wait()
        assert promised
        async with opened(folder, clock=lambda: int(time.time() * 1000)) as journal:
            for number in promised:
                record = last(journal, abs(number))
                if number < 0:
                    assert record["k"] == "answered"


async def test_records_can_be_read_by_people(tmp_path) -> None:
    async with opened(tmp_path) as journal:
        await journal.append("sent", warrant=warrant(1), a="a")
    head, sent = list(read_records(tmp_path))
    assert (head["k"], head["edge"], sent["w"]) == ("begin", EDGE, warrant(1))
    assert json.dumps(sent)

"""What a test run's PostgreSQL writes is in memory, and gone with the run."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from broker.cli.stack.servers import memory
from broker.cli.stack.servers.memory import FREE_BYTES_MIN, PREFIX, in_memory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "postgres"
    folder.mkdir()
    return folder


@pytest.fixture
def lent(tmp_path: Path) -> Path:
    """Return what stands for a file system in memory; it has room."""
    lent = tmp_path / "shm"
    lent.mkdir()
    return lent


def test_what_is_written_is_in_memory_and_gone_afterwards(folder, lent) -> None:
    with in_memory(folder, memory=lent):
        (folder / "file").write_text("x")
        [kept] = lent.iterdir()
        assert (kept / "file").read_text() == "x"
        assert kept.stat().st_mode & 0o777 == 0o700
    assert list(lent.iterdir()) == list(folder.iterdir()) == []
    assert not folder.is_symlink()


def test_what_a_killed_run_left_goes_with_the_next_and_what_is_held_stays(
    folder, lent
) -> None:
    left, held = lent / f"{PREFIX}left", lent / f"{PREFIX}held"
    for one in (left, held):
        (one / "data").mkdir(parents=True)
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with in_memory(folder, memory=lent):
        assert not left.exists()
        assert (held / "data").exists()
    os.close(lock)


@pytest.mark.parametrize("there", [True, False])
def test_without_room_the_disk_is_used(folder, lent, there, monkeypatch) -> None:
    found = os.statvfs(lent)
    monkeypatch.setattr(memory, "FREE_BYTES_MIN", found.f_blocks * found.f_frsize + 1)
    with in_memory(folder, memory=lent if there else lent / "missing"):
        assert not folder.is_symlink()
    assert FREE_BYTES_MIN > 64 * 1024**2, "what containers lend is too little"


def test_a_folder_that_holds_something_stays_where_it_is(folder, lent) -> None:
    (folder / "data").mkdir()
    with in_memory(folder, memory=lent):
        assert not folder.is_symlink()
    assert (folder / "data").exists()

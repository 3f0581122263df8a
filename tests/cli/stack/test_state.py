"""The state folder is private, stamped once, held by one supervisor, and deletable."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time

import pytest

from broker.cli.stack import state as states
from broker.cli.stack.state import (
    LOCK_WAIT_S_MAX,
    SOCKET_PATH_BYTES_MAX,
    AlreadyRunningError,
    Stamp,
    StateError,
    delete,
    is_done,
    locked,
    note_done,
    open_state,
    put_secret,
    read_stamp,
    running_pid,
    secret_file,
)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_in_a_new_state_is_open_to_its_owner_alone(tmp_path) -> None:
    state = open_state(tmp_path / "state")
    state.password_file("edge", "database")
    found = list(state.path.rglob("*"))
    assert found
    for path in (state.path, *found):
        if not path.is_symlink():
            assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_a_state_that_others_could_enter_is_closed_when_it_is_opened(tmp_path) -> None:
    path = open_state(tmp_path / "state").path
    path.chmod(0o755)
    open_state(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_state_is_fresh_once_and_keeps_its_stamp(tmp_path) -> None:
    path = tmp_path / "state"
    assert open_state(path, stamp=Stamp.PRODUCTION).fresh
    again = open_state(path, stamp=Stamp.DEMO)
    assert not again.fresh
    assert again.stamp is Stamp.PRODUCTION


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(StateError, match="not empty"):
        open_state(tmp_path / "letters")
    assert names(tmp_path / "letters") == ["dear.txt"]


def test_a_state_without_a_folder_to_be_in_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(StateError, match=r"none is no folder") as refused:
        open_state(tmp_path / "none" / "state")
    assert "--state" in refused.value.hint
    assert names(tmp_path) == []


def test_a_link_or_a_file_is_no_state_folder(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(StateError, match="not a folder of this user"):
            open_state(tmp_path / name)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"layout": 2, "stamp": "demo"}'])
def test_a_state_of_another_version_or_make_is_refused(tmp_path, text) -> None:
    path = open_state(tmp_path / "state").path
    (path / "state.json").write_text(text)
    with pytest.raises(StateError):
        open_state(path)


def test_a_password_is_generated_once(tmp_path) -> None:
    state = open_state(tmp_path / "state")
    first = state.password_file("broker", "database").read_text()
    assert len(first.strip()) >= 40
    assert state.password_file("broker", "database").read_text() == first
    assert state.password_file("edge", "database").read_text() != first


def test_a_secret_replaces_another_whole(tmp_path) -> None:
    path = secret_file(tmp_path / "s")
    put_secret(path, "new")
    assert path.read_text() == "new\n"
    assert names(tmp_path) == ["s"]


def test_what_is_done_once_is_remembered(tmp_path) -> None:
    state = open_state(tmp_path / "state")
    assert not is_done(state, "first calls")
    note_done(state, "first calls")
    assert is_done(open_state(state.path), "first calls")
    assert read_stamp(state.path) is Stamp.DEMO


# --------------------------------------------------------------------------- the lock

HOLD = """
import sys, time
from pathlib import Path
from broker.cli.stack.state import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    path = open_state(tmp_path / "state").path
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD, str(path)],
        env={"PYTHONPATH": str(states.CHECKOUT)},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield path, process
        process.kill()


def test_a_second_holder_is_told_the_first_ones_process_at_once(holder) -> None:
    path, process = holder
    begun = time.monotonic()
    with pytest.raises(AlreadyRunningError) as caught, locked(path):
        pass
    assert caught.value.pid == process.pid
    assert str(process.pid) in str(caught.value)
    assert time.monotonic() - begun < LOCK_WAIT_S_MAX / 2
    assert running_pid(path) == process.pid


def test_a_killed_holder_holds_nothing(holder) -> None:
    path, process = holder
    process.kill()
    process.wait()
    assert running_pid(path) is None
    with locked(path):
        assert running_pid(path) == os.getpid()
    assert running_pid(path) is None


def test_nothing_runs_on_a_state_that_does_not_exist(tmp_path) -> None:
    assert running_pid(tmp_path / "nowhere") is None


# ----------------------------------------------------------------------- socket paths


def folder_with_socket_path_of(tmp_path, length: int):
    """Return a folder below which the longest socket's path has so many bytes."""
    spare = length - len(os.fsencode(tmp_path / states.LONGEST_SOCKET)) - 1
    return tmp_path / ("x" * spare)


def test_a_path_at_the_limit_keeps_its_sockets_in_the_state(tmp_path) -> None:
    state = open_state(folder_with_socket_path_of(tmp_path, SOCKET_PATH_BYTES_MAX))
    assert state.run == state.path / "run"


def test_a_path_one_byte_longer_has_its_sockets_in_a_short_folder(tmp_path) -> None:
    state = open_state(folder_with_socket_path_of(tmp_path, SOCKET_PATH_BYTES_MAX + 1))
    try:
        assert len(os.fsencode(state.run / "runner/runner.sock")) < 60
        assert stat.S_IMODE(state.run.stat().st_mode) == 0o700
        assert (state.path / "run").resolve() == state.run.resolve()
    finally:
        delete(state.path)
    assert not state.run.exists()


def test_a_short_folder_that_is_open_to_others_is_refused(tmp_path) -> None:
    path = folder_with_socket_path_of(tmp_path, SOCKET_PATH_BYTES_MAX + 1)
    short = open_state(path).run
    try:
        short.chmod(0o755)
        with pytest.raises(StateError, match="open to others"):
            open_state(path)
    finally:
        delete(path)


# ---------------------------------------------------------------------------- deleting


def test_a_demo_state_is_deleted_whole(tmp_path) -> None:
    path = open_state(tmp_path / "state").path
    delete(path)
    assert names(tmp_path) == []


def test_production_state_is_never_deleted(tmp_path) -> None:
    path = open_state(tmp_path / "state", stamp=Stamp.PRODUCTION).path
    before = sorted(path.rglob("*"))
    with pytest.raises(StateError, match="production"):
        delete(path)
    assert sorted(path.rglob("*")) == before


def test_a_folder_that_is_no_state_is_never_deleted(tmp_path) -> None:
    (tmp_path / "state.txt").write_text(json.dumps({"stamp": "demo", "layout": 1}))
    with pytest.raises(StateError, match="no state"):
        delete(tmp_path)
    assert (tmp_path / "state.txt").exists()


def test_a_state_in_use_is_not_deleted(holder) -> None:
    path, _ = holder
    with pytest.raises(AlreadyRunningError):
        delete(path)
    assert path.exists()

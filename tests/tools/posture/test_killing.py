"""Who can kill a call's child through its pidfd: across namespaces and users."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.conftest import Rig, until
from tools.jail import kernel, syscalls

NEW_USER, NEW_PROCESSES = 0x10000000, 0x20000000
NOBODY = 65_534


STRAY = """
import os, time

if os.fork() == 0:
    time.sleep(30)
    os._exit(0)

def echo(call):
    return {}
"""


def alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in text.split()]


async def test_what_a_poisoned_zygote_forked_in_secret_ends_with_it(rig: Rig):
    # Without a namespace of processes, whose end would end it anyway.
    rig.settings = replace(rig.settings, sandbox="standard")
    await rig.start(STRAY, echo={"preload": True})
    (zygote,) = rig.dispatcher.zygotes().values()
    forked = children_of(zygote)
    assert (await rig.call("shop.echo"))["error"] is None
    assert any(alive(pid) for pid in forked)
    await rig.dispatcher.close()
    await until(lambda: not any(alive(pid) for pid in forked))


def apart(work: Callable[[], int], *, user: int | None = None) -> int:
    """Run something in a namespace of processes of its own; return what it says."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            if user is None:
                unshare = syscalls.number("unshare", on=syscalls.machine())
                assert unshare is not None
                kernel.syscall(
                    unshare, NEW_PROCESSES | (NEW_USER if os.getuid() else 0)
                )
                inside = os.fork()
                if inside:
                    status = os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])
                    os._exit(status & 0xFF)
            else:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pidfd: int) -> int:
    """Kill through a pidfd; return the error's number, or 0."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError as error:
        return error.errno or -1
    return 0


def sleeper() -> tuple[int, int]:
    """Return a process that sleeps, and its pidfd."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid, os.pidfd_open(pid)


def ended_by(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_from_a_sibling_namespace_nobody_is_killed_and_from_the_one_around_it_is():
    # So the dispatcher stays in the namespace around those of its zygotes.
    pid, pidfd = sleeper()
    assert apart(lambda: kill(pidfd)) == errno.EINVAL
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert kill(pidfd) == 0
    assert ended_by(pid) == -signal.SIGKILL
    os.close(pidfd)


@pytest.mark.parametrize("user", [NOBODY] if os.getuid() == 0 else [os.getuid()])
def test_another_user_kills_nobody_of_ours_and_root_kills_anybody(user):
    pid, pidfd = sleeper()
    if os.getuid() == 0:
        assert apart(lambda: kill(pidfd), user=user) == errno.EPERM
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert kill(pidfd) == 0
    assert ended_by(pid) == -signal.SIGKILL
    os.close(pidfd)

"""Whatever is killed, by whatever signal, no process of a stack is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from broker.cli.stack.launch.guardian import SWEEP_S_MAX, children
from broker.cli.stack.process import KILL_S_MAX
from broker.cli.stack.state import CHECKOUT
from tests.support.parts import alive, end, until

# A supervisor with a part that has a child in its group, and one in a session of its
# own: the hardest to find again.
SUPERVISOR = """
import asyncio, os, signal, sys
from pathlib import Path
from broker.cli.stack.launch import guardian
from broker.cli.stack.supervisor import Supervisor
from tests.support.parts import shell

folder = Path(sys.argv[1])
guardian.fork_supervisor()

async def main():
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    part = shell(folder, "part", '''
        sleep 100 & echo $! >> pids
        setsid sleep 100 & echo $! >> pids
        setsid sh -c 'echo $$ >> pids; sleep 100 & echo $! >> pids; wait' &
        echo $$ >> pids
        until [ $(wc -l < pids) -ge 5 ]; do sleep 0.02; done
        touch $ready
        wait
    ''')
    stack = Supervisor([part], logs=folder, cwd=folder, report=lambda event: None,
                       kill_orphans=True)
    await stack.start()
    (folder / "supervisor").write_text(str(os.getpid()))
    await stop.wait()
    await stack.stop()

asyncio.run(main())
sys.exit(7)
"""


class Tree:
    """A guardian, its supervisor, and the five processes of its part."""

    def __init__(self, folder) -> None:
        self.guardian = subprocess.Popen(
            [sys.executable, "-P", "-c", SUPERVISOR, str(folder)],
            env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
        )
        marker = folder / "supervisor"
        assert until(lambda: marker.exists() and marker.read_text())
        self.supervisor = int(marker.read_text())
        self.below = [int(word) for word in (folder / "pids").read_text().split()]
        assert len(self.below) == 5
        assert all(map(alive, [self.supervisor, *self.below]))
        (self.part,) = set(self.below) & set(children(self.supervisor))
        assert self.supervisor in children(self.guardian.pid)

    def left(self) -> list[int]:
        return [pid for pid in (self.supervisor, *self.below) if alive(pid)]


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path)
    yield tree
    end([tree.supervisor, *tree.below])
    tree.guardian.kill()
    tree.guardian.wait()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_good_order_leaves_nothing(tree, signum) -> None:
    os.kill(tree.supervisor, signum)
    assert tree.guardian.wait(20) == 7
    assert tree.left() == []


def test_a_signal_to_the_guardian_reaches_the_supervisor(tree) -> None:
    tree.guardian.terminate()
    assert tree.guardian.wait(20) == 7
    assert tree.left() == []


def test_kill_9_of_the_supervisor_leaves_nothing(tree) -> None:
    begun = time.monotonic()
    os.kill(tree.supervisor, signal.SIGKILL)
    assert tree.guardian.wait(20) == 128 + signal.SIGKILL
    assert tree.left() == []
    assert time.monotonic() - begun < SWEEP_S_MAX


def test_kill_9_of_the_guardian_leaves_nothing(tree) -> None:
    tree.guardian.kill()
    assert until(lambda: not tree.left(), within_s=2 * KILL_S_MAX)


def test_kill_9_of_both_leaves_no_part(tree) -> None:
    # Both at once: only what the kernel was told beforehand is left to act.
    os.kill(tree.guardian.pid, signal.SIGSTOP)
    os.kill(tree.supervisor, signal.SIGKILL)
    tree.guardian.kill()
    assert until(lambda: not alive(tree.part))


def test_kill_9_of_a_part_ends_what_it_had_started(tree) -> None:
    os.kill(tree.part, signal.SIGKILL)
    assert until(lambda: not any(map(alive, tree.below)))
    assert alive(tree.supervisor)

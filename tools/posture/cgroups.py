"""Bound what a connector's processes take together, where a cgroup may be written.

Limits of processes do not add up: eight calls may each take all that one may. Where the
runner has a group of its own (version 2, delegated), each connector gets a leaf of it
with ``pids.max`` and ``memory.max``, and its zygotes are put there before they fork.
Where it has none, that is said, and never a reason not to start.
"""

import contextlib
import errno
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools import limits

LOG: Final = logging.getLogger("counterfoil.runner")
LIMITED: Final = "limited"
NONE: Final = "none"
_TRIAL_S: Final = 5.0

_NEEDED: Final = frozenset({"memory", "pids"})
_PREFIX: Final = "counterfoil-"
_MOUNT: Final = re.compile(r"^\S+ \S+ \S+ / (\S+) .*- cgroup2 ", re.MULTILINE)
_OWN: Final = re.compile(r"^0::/(.*)$", re.MULTILINE)
_TRIAL_BYTES: Final = 16 * 1024 * 1024
_TRIAL: Final = """
import os, sys
sys.stdin.read()
try:
    if os.fork() == 0:
        os._exit(0)
except OSError:
    print("refused", flush=True)
taken = b"x" * (1 << 26)
"""
"""Forks and takes 64 MiB, once it is in its group."""

Prove = Callable[[Path], bool]


class Groups:
    """The leaves of one group, a leaf per connector; or none at all."""

    def __init__(self, root: Path | None = None) -> None:
        """Take a group whose leaves are known to limit; see `open_groups`."""
        self._root = root
        self._leaves: set[Path] = set()

    @property
    def word(self) -> str:
        """Say in one word whether connectors are limited as a whole."""
        return NONE if self._root is None else LIMITED

    def join(self, connector: str, process: int) -> None:
        """Put a process, and all that it forks from now on, under the limits.

        If that fails after it was proved, nothing is limited as a whole any more, and
        the word says so from then on.
        """
        if self._root is None:
            return
        leaf = self._root / f"{_PREFIX}{connector}"
        self._leaves.add(leaf)
        try:
            _limit(
                leaf, pids=limits.GROUP_PIDS_MAX, memory=limits.GROUP_MEMORY_BYTES_MAX
            )
            write(leaf / "cgroup.procs", process)
        except OSError as error:
            LOG.warning("cgroup of %s: %s", connector, error)
            self._root = None

    def close(self) -> None:
        """Remove the leaves that are empty; the next runner takes over the others."""
        for leaf in self._leaves:
            with contextlib.suppress(OSError):
                leaf.rmdir()
        self._leaves.clear()


def limits_hold(root: Path) -> bool:
    """Try, below a group, whether a process is kept from forking and taking memory.

    Raises:
        OSError: The group cannot be written, or nothing can be started.
    """
    leaf = root / f"{_PREFIX}trial"
    trial = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", _TRIAL],
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        _limit(leaf, pids=1, memory=_TRIAL_BYTES)
        write(leaf / "cgroup.procs", trial.pid)
        said, _ = trial.communicate(timeout=_TRIAL_S)
    except subprocess.TimeoutExpired:
        return False
    finally:
        trial.kill()
        trial.communicate()
        with contextlib.suppress(OSError):
            leaf.rmdir()
    return said.strip() == b"refused" and trial.returncode == -signal.SIGKILL


def open_groups(asked: Path | None = None, *, prove: Prove | None = None) -> Groups:
    """Return the leaves of a group, if it is ours to divide and its limits hold.

    Args:
        asked: The folder of a delegated group; the one that we are in if None.
        prove: Tries whether limits below a group do limit; `limits_hold` if None.
    """
    root = asked or own_group()
    try:
        if root is None or not _divide(root) or not (prove or limits_hold)(root):
            return Groups()
    except OSError:
        # Most often read-only, as in a container, or somebody else's.
        return Groups()
    return Groups(root)


def own_group() -> Path | None:
    """Return the folder of the group that this process is in, of version 2."""
    try:
        mount = _MOUNT.search(Path("/proc/self/mountinfo").read_text("utf-8"))
        own = _OWN.search(Path("/proc/self/cgroup").read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return Path(mount[1], own[1]) if mount and own else None


def _divide(root: Path) -> bool:
    """Have a group hand its controllers on; only a group without processes may.

    Raises:
        OSError: It does not let us, or holds processes that are not ours.
    """
    offered = (root / "cgroup.controllers").read_text("ascii").split()
    if not _NEEDED.issubset(offered):
        return False
    order = " ".join(f"+{name}" for name in sorted(_NEEDED))
    try:
        write(root / "cgroup.subtree_control", order)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
    else:
        return True
    # We are in it ourselves. Step aside; and back, if that was not all.
    aside = root / f"{_PREFIX}runner"
    aside.mkdir(exist_ok=True)
    try:
        write(aside / "cgroup.procs", os.getpid())
        write(root / "cgroup.subtree_control", order)
    except OSError:
        with contextlib.suppress(OSError):
            write(root / "cgroup.procs", os.getpid())
            aside.rmdir()
        raise
    return True


def _limit(leaf: Path, *, pids: int, memory: int) -> None:
    leaf.mkdir(exist_ok=True)
    write(leaf / "pids.max", pids)
    write(leaf / "memory.max", memory)
    # Not every kernel counts what is swapped out; where it does, none may be.
    if (leaf / "memory.swap.max").exists():
        write(leaf / "memory.swap.max", 0)


def write(path: Path, value: object) -> None:
    """Give the kernel an order, in one piece."""
    path.write_text(str(value), "ascii")

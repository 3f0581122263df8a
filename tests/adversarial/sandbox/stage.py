"""Run the harness as this user or as nobody, from a place where that user may read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NOBODY = 65_534
TOP = Path(__file__).parents[3]
# What the harness imports; it needs nothing that would have to be installed.
PARTS = (
    "tools",
    "tests/__init__.py",
    "tests/support/fake_edge.py",
    "tests/adversarial",
)


@dataclass(frozen=True)
class Host:
    """Who runs the runner, where, and under which layers (None: the best there are)."""

    user: int
    container: bool = False
    layers: tuple[str, ...] | None = None
    sandbox: str = "auto"
    pod: bool = False
    landlock: bool | None = None
    attempts: bool = True
    importing: bool = True
    mischief: bool = True

    @property
    def has_landlock(self) -> bool:
        """Say whether its kernel offers Landlock; that of a pod does not."""
        return not self.pod if self.landlock is None else self.landlock

    @property
    def name(self) -> str:
        """Return how tests name it."""
        who = "nobody" if self.user == NOBODY else "root" if self.user == 0 else "user"
        where = "-in-a-container" if self.container else ""
        return f"{who}{where}-{self.sandbox}"


def hosts() -> list[Host]:
    """Return every host that this user can play: root can play nobody as well.

    Each in the postures that it can have: a container's filter refuses namespaces, so
    ``strict`` does not start there (test_postures.py), and ``auto`` becomes standard.
    """
    users = [0, NOBODY] if os.getuid() == 0 else [os.getuid()]
    bare = [Host(user, sandbox=one) for user in users for one in ("strict", "standard")]
    return [*bare, *(Host(user, container=True) for user in users)]


@cache
def findings(host: Host) -> dict[str, Any]:
    """Run the harness once for a host; return what it found."""
    with _public_folder() as folder:
        for part in PARTS:
            source, target = TOP / part, folder / "code" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(
                    source, target, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(source, target)
        world = folder / "world"
        world.mkdir(mode=0o700)
        os.chown(world, host.user, -1)
        order = {
            "folder": str(world),
            "layers": None if host.layers is None else list(host.layers),
            "container": host.container,
            "sandbox": host.sandbox,
            "pod": host.pod,
            "landlock": host.has_landlock,
            "attempts": host.attempts,
            "importing": host.importing,
            "mischief": host.mischief,
        }
        module = "tests.adversarial.sandbox.harness"
        done = _run(
            host.user,
            [_python(host.user, folder), "-P", "-B", "-m", module, json.dumps(order)],
            PYTHONPATH=str(folder / "code"),
            TMPDIR=str(world),
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        found: dict[str, Any] = json.loads(done.stdout)
        assert found["user"] == host.user
        return found


@contextmanager
def _public_folder() -> Iterator[Path]:
    """Make a folder that everybody may enter, as far up as there are folders."""
    places = (tempfile.gettempdir(), "/var/tmp", "/dev/shm")  # noqa: S108 made anew
    for place in places:
        above = [Path(place), *Path(place).parents]
        if all(one.exists() and one.stat().st_mode & 0o001 for one in above):
            folder = Path(tempfile.mkdtemp(dir=place))
            folder.chmod(0o755)
            try:
                yield folder
            finally:
                shutil.rmtree(folder)
            return
    msg = "no folder for temporary files can be entered by everybody"
    raise AssertionError(msg)


def _python(user: int, folder: Path) -> str:
    """Return an interpreter that a user may run; make a copy if there is none."""
    candidates = [
        *(sys.executable, str(Path(sys.executable).resolve())),
        *filter(None, (shutil.which(name) for name in ("python3", "python3.11"))),
        *("/usr/bin/python3", "/usr/local/bin/python3"),
    ]
    for candidate in dict.fromkeys(candidates):
        if Path(candidate).exists() and _works(user, candidate):
            return candidate
    copy = _copied_python(folder)
    assert _works(user, copy), "no Python that another user could run, nor a copy of it"
    return copy


def _works(user: int, python: str) -> bool:
    code = "import sys, ctypes, asyncio, tomllib; sys.exit(sys.version_info < (3, 11))"
    try:
        return _run(user, [python, "-I", "-c", code]).returncode == 0
    except PermissionError:
        return False


def _copied_python(folder: Path) -> str:
    """Copy the interpreter and its standard library, without what nobody needs here."""
    prefix = folder / "python"
    library = Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns(
        *("site-packages", "test", "tests", "idlelib", "tkinter", "__pycache__"),
        *("ensurepip", "lib2to3", "turtledemo", "*.a"),
    )
    shutil.copytree(library, prefix / "lib" / library.name, ignore=left_out)
    binary = Path(sys.executable).resolve()
    (prefix / "bin").mkdir()
    shutil.copy(binary, prefix / "bin")
    for shared in (binary.parent.parent / "lib").glob("libpython3*.so*"):
        shutil.copy(shared, prefix / "lib")
    return str(prefix / "bin" / binary.name)


def _run(
    user: int, command: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program as a user, with nothing of our own environment."""
    own = os.getuid() == user
    return subprocess.run(
        command,
        env={"PATH": os.defpath, **environment},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        user=None if own else user,
        group=None if own else user,
        extra_groups=None if own else [],
    )

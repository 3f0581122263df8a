"""Keep the state folder: its layout, its stamp, its lock and its passwords."""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import broker

CHECKOUT = Path(broker.__file__).resolve().parents[1]
"""The tree that this runs from."""

STATE_DEFAULT = CHECKOUT / ".counterfoil"
SOCKET_PATH_BYTES_MAX = 100
"""The kernel takes 107; some servers need a few for themselves."""
LONGEST_SOCKET = "run/runner/runner.sock"
PASSWORD_BYTES = 32
LOCK_WAIT_S_MAX = 10.0
LAYOUT_VERSION = 1
MARKER = "state.json"
FOLDER_MODE = 0o700

OWN_FOLDERS = ("broker", "worker", "edge", "signer", "runner", "democrm")
"""Folders of the confined processes, each for one of them."""
_FOLDERS = (
    *OWN_FOLDERS,
    "clients",
    "import",
    "logs",
    "migrate",
    "postgres",
    "public",
    "temporal",
    "tmp",
    "valkey",
)
PACKAGES = ("broker", "tools", "workflows", "infra")


class Stamp(Enum):
    """What a state is for, decided when it is made and never changed."""

    DEMO = "demo"
    PRODUCTION = "production"


class StateError(Exception):
    """The state folder cannot be used as it is, for a reason a person can mend."""

    def __init__(self, detail: str, *, hint: str = "") -> None:
        """Keep what is wrong apart from what to do about it."""
        super().__init__(detail)
        self.hint = hint


class AlreadyRunningError(StateError):
    """Another supervisor runs on this state."""

    def __init__(self, pid: int) -> None:
        """Name the process, and how it is stopped."""
        super().__init__(
            f"already running here as process {pid}",
            hint="see `counterfoil status`, or stop it with `counterfoil down`",
        )
        self.pid = pid


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state folder that was opened.

    Attributes:
        path: The folder, absolute.
        run: Where the sockets are: a short path, whatever the folder's own is.
        stamp: What the state is for.
        fresh: It was made just now.
    """

    path: Path
    run: Path
    stamp: Stamp
    fresh: bool

    def password_file(self, owner: str, of: str) -> Path:
        """Return the file of a password; it is generated once and stays.

        Args:
            owner: The folder of the process that uses it.
            of: What it opens.
        """
        return secret_file(self.path / owner / f"{of}.password")


def needed(path: Path) -> tuple[Path, ...]:
    """Return the files and folders that parts must reach, for a state at ``path``."""
    existing = next(one for one in (path, *path.absolute().parents) if one.exists())
    return (Path(broker.__file__), Path(sys.executable), Path(sys.prefix), existing)


def open_state(path: Path, *, stamp: Stamp = Stamp.DEMO) -> State:
    """Make the state folder, or open the one that is there.

    Everything in it belongs to one user and is open to nobody else.

    Args:
        path: The folder; need not exist, but the one it is in must.
        stamp: What a new state is for; one that exists keeps its own.

    Raises:
        StateError: The folder holds something else, belongs to somebody else, is of
            a later version, or has no folder to be in.
    """
    path = path.absolute()
    if os.path.lexists(path):
        _require_ours(path)
    elif not path.parent.is_dir():
        msg = f"{path.parent} is no folder, so {path.name} cannot be made in it"
        raise StateError(msg, hint="make it first, or name another with --state")
    marker = path / MARKER
    if path.is_dir() and not marker.exists() and any(path.iterdir()):
        msg = f"{path} is not empty and was not made by counterfoil"
        raise StateError(msg, hint="name another folder with --state")
    fresh = not marker.exists()
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    path.chmod(FOLDER_MODE)
    if fresh:
        made_at = datetime.now(UTC).isoformat(timespec="microseconds")
        _write_json(
            marker,
            {
                "stamp": stamp.value,
                "layout": LAYOUT_VERSION,
                "made_at": made_at.replace("+00:00", "Z"),
            },
        )
    found = read_stamp(path)
    for name in _FOLDERS:
        (path / name).mkdir(mode=FOLDER_MODE, exist_ok=True)
    for name in OWN_FOLDERS:
        (path / "public" / name).mkdir(mode=FOLDER_MODE, exist_ok=True)
    _link_packages(path / "import")
    return State(path=path, run=_run_folder(path), stamp=found, fresh=fresh)


def read_stamp(path: Path) -> Stamp:
    """Return what the state at ``path`` is for.

    Raises:
        StateError: There is none, or it is of another version.
    """
    try:
        content = json.loads((path / MARKER).read_text("utf-8"))
        if content["layout"] != LAYOUT_VERSION:
            msg = f"{path} has layout {content['layout']}, this is {LAYOUT_VERSION}"
            raise StateError(msg, hint="use the version that made it")
        return Stamp(content["stamp"])
    except FileNotFoundError:
        msg = f"there is no state at {path}"
        raise StateError(msg, hint="make it with `counterfoil up`") from None
    except (ValueError, KeyError, TypeError):
        msg = f"{path / MARKER} cannot be read as counterfoil wrote it"
        raise StateError(msg, hint="restore it from a copy, or reset") from None


def is_done(state: State, what: str) -> bool:
    """Tell whether ``what`` was noted as done on this state."""
    content = json.loads((state.path / MARKER).read_text("utf-8"))
    return what in content.get("done", ())


def note_done(state: State, what: str) -> None:
    """Note that something that is done once per state has been done."""
    marker = state.path / MARKER
    content = json.loads(marker.read_text("utf-8"))
    content["done"] = sorted({*content.get("done", ()), what})
    _write_json(marker, content)


def secret_file(path: Path) -> Path:
    """Make a file with a new random password, unless it exists; return its path."""
    if not path.exists():
        put_secret(path, secrets.token_urlsafe(PASSWORD_BYTES))
    return path


def put_secret(path: Path, secret: str) -> None:
    """Write a secret to a file that only its owner can read, whole or not at all.

    It is on the disk when this returns.
    """
    put_private(path, secret + "\n", durable=True)


def put_private(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file that only its owner can read, whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(unfinished, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    unfinished.replace(path)


@contextlib.contextmanager
def locked(path: Path, *, patient: bool = False) -> Iterator[None]:
    """Hold the state for one supervisor while the block runs.

    The kernel drops the lock with the process, however that ends. A holder that has
    just been killed is waited for, up to ``LOCK_WAIT_S_MAX``; with ``patient``, one
    that still lives is too.

    Raises:
        AlreadyRunningError: Another process holds it.
    """
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + LOCK_WAIT_S_MAX
        while not _try_lock(fd):
            holder = _holder(fd)
            hopeless = not patient and _alive(holder)
            if hopeless or time.monotonic() > until:
                raise AlreadyRunningError(holder)
            time.sleep(0.05)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode("ascii"), 0)
        yield
    finally:
        os.close(fd)


def running_pid(path: Path) -> int | None:
    """Return the process that runs this state; None when nothing does."""
    try:
        fd = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if _try_lock(fd, fcntl.LOCK_SH) else _holder(fd)
    finally:
        os.close(fd)


def delete(path: Path) -> None:
    """Delete a state and its short folder of sockets.

    Raises:
        StateError: There is no state at ``path``, or it is not a demo.
        AlreadyRunningError: It is in use.
    """
    if read_stamp(path) is not Stamp.DEMO:
        msg = f"{path} is stamped production, and is never deleted by this command"
        raise StateError(msg, hint="nothing was deleted")
    _require_ours(path)
    pid = running_pid(path)
    if pid is not None:
        raise AlreadyRunningError(pid)
    short = _short_run(path)
    if (path / "run").is_symlink() and _is_ours(short):
        shutil.rmtree(short)
    shutil.rmtree(path)


def _try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> int:
    text = os.pread(fd, 32, 0).decode("ascii", "replace")
    return int(text) if text.isdigit() else 0


def _alive(pid: int) -> bool:
    """Tell whether a process lives; one that is dead but unreaped does not."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return line.rpartition(")")[2].split()[0] not in {"Z", "X"}


def _require_ours(path: Path) -> None:
    if not _is_ours(path):
        msg = f"{path} is not a folder of this user (uid {os.geteuid()})"
        raise StateError(msg, hint="name another folder with --state")


def _is_ours(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _short_run(path: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return Path(f"/tmp/counterfoil-{os.geteuid()}-{digest}")  # noqa: S108 checked below


def _run_folder(path: Path) -> Path:
    """Make the folder of sockets; a short one elsewhere where the path is too long.

    Raises:
        StateError: The short one exists and is somebody else's.
    """
    run = path / "run"
    if len(os.fsencode(path / LONGEST_SOCKET)) <= SOCKET_PATH_BYTES_MAX:
        run.mkdir(mode=FOLDER_MODE, exist_ok=True)
        return run
    short = _short_run(path)
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=FOLDER_MODE)
    if not _is_ours(short) or stat.S_IMODE(short.lstat().st_mode) != FOLDER_MODE:
        msg = f"{short} belongs to somebody else, or is open to others"
        raise StateError(msg, hint="remove it, or use a state folder with a short path")
    if not run.is_symlink():
        run.symlink_to(short)
    return short


def _link_packages(folder: Path) -> None:
    """Point at the packages one by one.

    The folder is what confined parts have on their path: Python must list it, and a
    right to list the checkout would reach into a state folder inside it.
    """
    for name in PACKAGES:
        link = folder / name
        target = CHECKOUT / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _write_json(path: Path, content: dict[str, object]) -> None:
    put_secret(path, json.dumps(content, indent=1))

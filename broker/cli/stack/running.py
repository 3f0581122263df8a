"""Know where a running stack is and how its parts are doing.

The supervisor writes STATE/stack.json at every change; whoever asks reads it, and asks
the kernel whether the supervisor still lives.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from broker.cli.stack.events import Row
from broker.cli.stack.launch import guardian
from broker.cli.stack.parts import PartEvent
from broker.cli.stack.planning.plan import Plan
from broker.cli.stack.state import put_private, running_pid

FILE_NAME = "stack.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A stack that runs.

    Attributes:
        pid: The supervisor.
        state: Absolute path of its state folder.
        issuer: Base URL of the first broker.
        brokers: Base URL of each broker.
        crm_url: Base URL of the CRM.
        sockets: Path of the socket of signer, edge and runner.
        ready: Every part has been ready.
        rows: The parts.
    """

    pid: int
    state: str
    issuer: str
    brokers: tuple[str, ...]
    crm_url: str
    sockets: Mapping[str, str]
    ready: bool
    rows: tuple[Row, ...]


class Board:
    """Keeps the file up to date while the stack runs."""

    def __init__(self, state: Path, plan: Plan, *, pid: int) -> None:
        """Begin with every part waiting, and what runs elsewhere."""
        self._path = state / FILE_NAME
        self._running = Running(
            pid=pid,
            state=str(state),
            issuer=plan.brokers[0],
            brokers=plan.brokers,
            crm_url=plan.crm_url,
            sockets=plan.sockets,
            ready=False,
            rows=(),
        )
        self._rows = {
            part.name: Row(part=part.name, address=part.address, state="waiting")
            for part in plan.parts
        } | {
            name: Row(part=name, address=address, state="elsewhere")
            for name, address in plan.elsewhere.items()
        }

    @property
    def rows(self) -> tuple[Row, ...]:
        """Return the parts as they are now."""
        return tuple(self._rows.values())

    def note(self, event: PartEvent) -> None:
        """Take in one change."""
        row = self._rows[event.part]
        self._rows[event.part] = replace(
            row,
            state=event.state.value,
            pid=event.pid,
            restarts=event.restarts,
            detail=event.detail or row.detail,
        )
        self._write()

    def ready(self) -> None:
        """Note that every part has been ready."""
        self._running = replace(self._running, ready=True)
        self._write()

    def _write(self) -> None:
        fields = asdict(replace(self._running, rows=self.rows))
        put_private(self._path, json.dumps(fields))


def running(state: Path) -> Running | None:
    """Return the stack that runs on a state; None when none does."""
    pid = running_pid(state)
    if pid is None:
        return None
    try:
        fields = json.loads((state / FILE_NAME).read_text("utf-8"))
    except FileNotFoundError:
        return None
    fields["rows"] = tuple(Row(**row) for row in fields["rows"])
    fields["brokers"] = tuple(fields["brokers"])
    found = Running(**fields)
    # Left by an earlier run: the one that holds the lock has not written its own yet.
    return found if found.pid == pid else None


def descendants(pid: int) -> tuple[int, ...]:
    """Return a process and all below it."""
    found = [pid]
    for one in found:
        found.extend(guardian.children(one))
    return tuple(found)


def pss_kib(pids: tuple[int, ...]) -> int | None:
    """Return the processes' proportional share of memory; None if it is not told.

    Of a process that hides its memory from its own user, as the edge does, only what
    it has to itself is told, and that is what is counted.

    Source: smaps_rollup in proc_pid_smaps(5), RssAnon in proc_pid_status(5).
    """
    total = None
    for pid in pids:
        for name, field in (("smaps_rollup", "Pss:"), ("status", "RssAnon:")):
            found = _kib(Path(f"/proc/{pid}/{name}"), field)
            if found is not None:
                total = (total or 0) + found
                break
    return total


def _kib(path: Path, field: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return None


def measured(found: Running) -> tuple[Row, ...]:
    """Return the parts with their memory; the supervisor and its guardian come last.

    Parts of the stack are counted with their children, and no process twice.
    """
    rows = [
        replace(row, pss_kib=pss_kib(descendants(row.pid))) if row.pid else row
        for row in found.rows
    ]
    own = Row(
        part="supervisor",
        address="",
        state="ready",
        pid=found.pid,
        pss_kib=pss_kib((found.pid, *_guardian(found.pid))),
    )
    return (*rows, own)


def _guardian(pid: int) -> tuple[int, ...]:
    """Return the supervisor's parent if it is its guardian."""
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        parent = int(line.rpartition(")")[2].split()[1])
        if guardian.MODULE.encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
            return (parent,)
    return ()

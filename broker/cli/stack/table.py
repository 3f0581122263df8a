"""Show on a terminal, or as JSON lines, what happens and how the parts are.

Data go to standard output, everything else to standard error.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, assert_never

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from broker.cli.stack.events import (
    Down,
    Event,
    Failed,
    Link,
    Note,
    Row,
    Said,
    Up,
    to_json,
)
from broker.cli.stack.machine.doctor import Finding, Health
from broker.cli.stack.parts import PartEvent, PartState

_STYLES = {
    "ready": "green",
    "done": "green",
    "elsewhere": "cyan",
    "starting": "yellow",
    "restarting": "yellow",
    "stopping": "yellow",
    "not answering": "red",
    "failed": "red",
}
_HEALTH_STYLES = {
    Health.OK: "green",
    Health.WARNING: "yellow",
    Health.FAILED: "red",
}
_SETTLED = (PartState.READY, PartState.DONE, PartState.FAILED, PartState.RESTARTING)


class Display(Protocol):
    """Takes in events and shows them."""

    def tell(self, event: Event) -> None:
        """Show one event."""


def display(*, as_json: bool) -> Display:
    """Return the display that fits the caller's wish and terminal."""
    if as_json:
        return JsonDisplay()
    return LiveDisplay() if sys.stderr.isatty() else LineDisplay()


class JsonDisplay:
    """One JSON object per line on standard output."""

    def tell(self, event: Event) -> None:
        """Write one line."""
        write_line(to_json(event))


class LineDisplay:
    """A line per change on standard error, the table on standard output."""

    def __init__(self) -> None:
        """Write to this process's streams."""
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._stopping = False

    def tell(self, event: Event) -> None:
        """Show one event."""
        match event:
            case PartEvent():
                self.part(event)
            case Note(text):
                self._err.print(text, markup=False)
            case Said(text):
                self._err.print(f"  {text}", markup=False)
            case Up():
                self.settle()
                show_rows(event.rows)
                self._err.print(
                    f"up in {event.took_s:.1f} s at {event.issuer}", markup=False
                )
            case Link():
                self._err.print(
                    f"console for {event.person}, once, within five minutes:\n"
                    f"{event.url}",
                    markup=False,
                )
            case Failed():
                self.settle()
                self._err.print("error:", event.error, style="red", markup=False)
                for text in filter(None, (event.log, event.hint)):
                    self._err.print(text, markup=False)
            case Down():
                self.settle()
                self._err.print(f"stopped in {event.took_s:.1f} s", markup=False)
            case _:
                assert_never(event)

    def part(self, event: PartEvent) -> None:
        """Show what became of a part, in a line; passing states are left out."""
        if event.state in _SETTLED:
            took = f" in {event.took_s:.1f} s" if event.took_s else ""
            detail = f": {event.detail}" if event.detail else ""
            self._err.print(
                f"{event.part:<10} {event.state.value}{took}{detail}", markup=False
            )

    def settle(self) -> None:
        """End what is still moving before something else is shown."""


class LiveDisplay(LineDisplay):
    """The same, with the parts' states moving in place while they start."""

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._events: dict[str, PartEvent] = {}
        self._live: Live | None = None

    def part(self, event: PartEvent) -> None:
        """Show the part's new state in its line."""
        self._events[event.part] = event
        if self._live is None:
            self._live = Live(console=self._err, refresh_per_second=10)
            self._live.start()
        self._live.update(self._picture())

    def settle(self) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._events.clear()

    def _picture(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for event in self._events.values():
            state = event.state.value
            took = f"{event.took_s:.1f} s" if event.took_s else ""
            table.add_row(
                event.part,
                Text(state, style=_STYLES.get(state, "dim")),
                took,
                Text(event.detail),
            )
        return table


def show_rows(rows: Iterable[Row], *, with_processes: bool = False) -> None:
    """Print the table of parts on standard output.

    Args:
        rows: The parts.
        with_processes: Add process id, restarts and memory.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("part", "address", "state"):
        table.add_column(name, overflow="fold")
    if with_processes:
        for name in ("pid", "restarts", "MiB"):
            table.add_column(name, justify="right")
    total_kib = 0
    for row in rows:
        cells: list[Text] = [
            Text(row.part),
            Text(_short(row.address)),
            Text(row.state, style=_STYLES.get(row.state, "dim")),
        ]
        if with_processes:
            total_kib += row.pss_kib or 0
            memory = f"{row.pss_kib / 1024:.1f}" if row.pss_kib is not None else ""
            numbers = (str(row.pid or ""), str(row.restarts or ""), memory)
            cells += [Text(number) for number in numbers]
        table.add_row(*cells)
    if with_processes:
        table.add_row("together", "", "", "", "", f"{total_kib / 1024:.1f}")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(table)


def show_findings(findings: Iterable[Finding]) -> None:
    """Print what was checked, a line each, and what to do under it."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        style = _HEALTH_STYLES[finding.health]
        line = Text(f"{finding.health.value:<8}", style=style)
        line.append(f"{finding.check}: {finding.found}", style="default")
        console.print(line)
        if finding.hint:
            console.print(Text(f"        {finding.hint}"))


def _short(address: str) -> str:
    """Return a path below the current folder without the way to it."""
    if not address.startswith("/"):
        return address
    relative = os.path.relpath(address, Path.cwd())
    return address if relative.startswith("..") else relative


def write_line(text: str) -> None:
    """Write one line on standard output now; a reader that has left is no error."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter would complain once more when it flushes at its end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)

"""Find free ports on the loopback address, and say who has the others."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TRIES_MAX = 100
LOOPBACK = "127.0.0.1"
_LISTENING = "0A"


class NoFreePortError(Exception):
    """None of the ports that were tried is free."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A free port.

    Attributes:
        port: The port.
        wanted: The one that was asked for.
        taken_by: Who has that one, when it is another.
    """

    port: int
    wanted: int
    taken_by: str = ""

    @property
    def note(self) -> str:
        """Say that another port was taken; empty when it was not."""
        if self.port == self.wanted:
            return ""
        by = f" by {self.taken_by}" if self.taken_by else ""
        return f"port {self.wanted} is taken{by}, so {self.port} is used"


class Reservations:
    """Ports that were chosen for parts which have yet to bind them.

    Two stacks that start at once would otherwise choose the same: between the choice
    and the part's own bind the port is free. A reservation is an abstract socket with
    the port's number in its name; the kernel drops it with the process.
    """

    def __init__(self) -> None:
        """Reserve nothing yet."""
        self._held: dict[int, socket.socket] = {}

    def choose(self, wanted: int) -> Choice:
        """Reserve ``wanted`` if it is free, else the next port that is.

        Raises:
            NoFreePortError: ``TRIES_MAX`` ports in a row are taken.
        """
        for port in range(wanted, min(wanted + TRIES_MAX, 65536)):
            if self._reserve(port):
                return Choice(port, wanted, owner(wanted) if port != wanted else "")
        msg = f"no free port among the {TRIES_MAX} from {wanted}"
        raise NoFreePortError(msg)

    def _reserve(self, port: int) -> bool:
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            reservation.bind(f"\0counterfoil-port-{port}")
        except OSError:
            reservation.close()
            return False
        if not is_free(port):
            reservation.close()
            return False
        self._held[port] = reservation
        return True

    def close(self) -> None:
        """Give every port back."""
        for reservation in self._held.values():
            reservation.close()
        self._held.clear()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give every port back."""
        self.close()


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger after a stop do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def owner(port: int) -> str:
    """Name the process that listens on a port; empty if it cannot be known."""
    inodes = set(_listening_inodes(port))
    for folder in Path("/proc").glob("[0-9]*/fd"):
        # Others' processes cannot be looked into, and processes end meanwhile.
        with contextlib.suppress(OSError):
            for link in folder.iterdir():
                with contextlib.suppress(OSError):
                    if str(link.readlink()) in inodes:
                        return _describe(folder.parent)
    return ""


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]
            for line in lines:
                fields = line.split()
                if fields[3] == _LISTENING and fields[1].endswith(f":{port:04X}"):
                    yield f"socket:[{fields[9]}]"


def _describe(process: Path) -> str:
    name = (process / "comm").read_text("utf-8", "replace").strip()
    return f"process {process.name} ({name})"

"""Believe that a zygote confines only after trying, for real, to escape from it."""

import asyncio
import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.calls import run_child
from tools.jail import probe
from tools.zygote_link import ZygoteError, ZygoteLink

PROBE_S_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Bait:
    """Things that a process of this user can reach, unless it is confined."""

    arguments: Mapping[str, object]
    written: Path
    listeners: tuple[socket.socket, ...]

    def taken(self) -> list[str]:
        """Return what was touched, seen from outside."""
        found = ["write_file"] if self.written.exists() else []
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
                found.append(f"{listener.family.name} {listener.type.name}")
        return found


async def probe_zygote(
    link: ZygoteLink, *, edge_socket: Path, left_open: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Have a child of a zygote try to escape; return each attempt's outcome.

    Args:
        link: The zygote.
        edge_socket: The edge listens there.
        left_open: Attempts that the posture does not promise to stop.

    Raises:
        ZygoteError: An attempt succeeded, or had an effect, or was not reported.
    """
    with _bait(edge_socket, zygote=link.pid) as bait:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = link.fork(probing=True)
            try:
                call = {
                    "entry": "attempt_all",
                    "arguments": bait.arguments,
                    "customer": "",
                    "action": "probe",
                }
                until = asyncio.get_running_loop().time() + PROBE_S_MAX
                ended, _ = await run_child(
                    link, child, call, egress=theirs.fileno(), until=until
                )
            finally:
                link.forget(child)
        taken = bait.taken()
    found = {name: str(outcome) for name, outcome in (ended.result or {}).items()}
    escaped = [
        name
        for name in probe.ATTEMPTS
        if not found.get(name, "not reported").startswith(probe.REFUSED)
        and not (name in left_open and name in found)
    ]
    if ended.code or escaped or taken or link.ended.done():
        what = ", ".join([*escaped, *taken]) or "the zygote ended"
        raise ZygoteError(
            stage="probe", why=f"not confined: {what} {ended.code} {ended.detail}"
        )
    return found


@contextmanager
def _bait(edge_socket: Path, *, zygote: int) -> Iterator[_Bait]:
    """Lay out what the probe is to reach for, and clear it away."""
    abstract = f"counterfoil-probe-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        secret = folder / "secret"
        secret.write_text(secrets.token_hex(16), "ascii")
        stream = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = stream.getsockname()[1]
        datagram = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagram.bind(("127.0.0.1", port))
        named = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        named.bind(f"\0{abstract}")
        named.listen()
        listeners = (stream, datagram, named)
        for listener in listeners:
            listener.settimeout(0)
        arguments: dict[str, object] = {
            "file": str(secret),
            "write": str(folder / "written"),
            "port": port,
            "socket": str(edge_socket),
            "abstract": abstract,
            "process": os.getpid(),
            "zygote": zygote,
        }
        yield _Bait(arguments, folder / "written", listeners)

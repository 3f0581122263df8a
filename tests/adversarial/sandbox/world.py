"""What lies around the jail: a secret, a broker, listeners; and if it was touched."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECRET = "COUNTERFOIL_CANARY"
# Stands for a broker: same user, a secret in its environment, notes who signals it.
BROKER = """
import signal, sys
def note(number, _):
    with open(sys.argv[1], "a") as file:
        file.write(f"{number} ")
for number in (signal.SIGUSR1, signal.SIGCONT):
    signal.signal(number, note)
print("up", flush=True)
while True:
    try:
        if not sys.stdin.readline():
            break
    except InterruptedError:
        pass
"""


class World:
    """A folder, a process and sockets that belong to the same user as the jail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = secrets.token_hex(16)
        self.home = folder / "home"
        self.loot = folder / "loot"
        for made in (self.home, self.loot):
            made.mkdir()
        self.canary = self.home / "canary"
        self.canary.write_text(self.secret, "utf-8")
        self.canary.chmod(0o600)
        self.shared = Path("/dev/shm", f"counterfoil-{secrets.token_hex(8)}")  # noqa: S108
        self._signals = self.home / "signals"
        self._signals.touch()
        self._stack = contextlib.ExitStack()
        stream = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self.port = stream.getsockname()[1]
        self.datagram = self._stack.enter_context(
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        self.datagram.bind(("127.0.0.1", self.port))
        self.datagram.settimeout(0)
        self.abstract = f"counterfoil-{secrets.token_hex(8)}"
        self.socket = self.loot / "broker.sock"
        self.listeners = {
            "tcp": stream,
            "file": self._listen(socket.AF_UNIX, str(self.socket)),
            "abstract": self._listen(socket.AF_UNIX, f"\0{self.abstract}"),
        }
        self.broker = self._start_broker()

    def _listen(self, family: socket.AddressFamily, address: Any) -> socket.socket:
        listener = self._stack.enter_context(socket.socket(family))
        listener.bind(address)
        listener.listen()
        listener.settimeout(0)
        return listener

    def _start_broker(self) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BROKER, str(self._signals)],
            env={SECRET: self.secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert started.stdout is not None
        assert started.stdout.readline() == "up\n"
        return started

    def arguments(self, *, zygote: int, edge: Path) -> dict[str, Any]:
        """Return what the attacker is told: an attacker may know where things are."""
        return {
            "canary": str(self.canary),
            "loot": str(self.loot),
            "shared": str(self.shared),
            "port": self.port,
            "socket": str(self.socket),
            "abstract": self.abstract,
            "victim": self.broker.pid,
            "zygote": zygote,
            "edge": str(edge),
        }

    def effects(self, code: Path) -> list[str]:
        """Return what was done to the world since the last look, and put it right."""
        found = []
        for name, listener in self.listeners.items():
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                found.append(f"connected to {name}")
        with contextlib.suppress(BlockingIOError):
            self.datagram.recv(100)
            found.append("sent a datagram")
        time.sleep(0.01)  # A signal that was sent is noted by then.
        if self._signals.read_text("utf-8"):
            self._signals.write_text("", "utf-8")
            found.append("signalled the broker")
        if self.broker.poll() is not None:
            self.broker = self._start_broker()
            found.append("killed the broker")
        return found + self._changes(code)

    def _changes(self, code: Path) -> list[str]:
        found = []
        for path in [*self.loot.iterdir(), self.shared, code.with_name("__pycache__")]:
            if path != self.socket and (path.exists() or path.is_symlink()):
                found.append(f"made {path.name}")
                folder = path.is_dir() and not path.is_symlink()
                path.rmdir() if folder else path.unlink()
        state = self.canary.stat().st_mode if self.canary.exists() else 0
        if state & 0o777 != 0o600 or self.canary.read_text("utf-8") != self.secret:
            found.append("changed the canary")
            self.canary.write_text(self.secret, "utf-8")
            self.canary.chmod(0o600)
        if code.read_text("utf-8").endswith("# changed\n"):
            found.append("changed its code")
            text = code.read_text("utf-8").removesuffix("# changed\n")
            code.write_text(text, "utf-8")
        return found

    def leaked(self, answer: Any) -> bool:
        """Say whether the secret stands in something."""
        return self.secret in json.dumps(answer)

    def close(self) -> None:
        """End the broker and close all sockets."""
        self._stack.close()
        assert self.broker.stdin is not None
        self.broker.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.broker.wait(1)
        self.broker.send_signal(signal.SIGKILL)
        self.broker.wait()
        assert self.broker.stdout is not None
        self.broker.stdout.close()
        self.shared.unlink(missing_ok=True)

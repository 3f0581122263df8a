"""A Valkey of one's own, for tests that stop, kill and empty it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis

from broker.cli.stack.servers import valkey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "valkey-of-a-test"
READY_S_MAX = 5.0


class OwnValkey:
    """A server process; its socket and password stay the same over restarts."""

    def __init__(self, folder: Path) -> None:
        # A socket path has at most 107 bytes, and a test's folder is long.
        self.socket = folder / "v"
        self.url = f"unix://default@{self.socket}?db=0"
        self.password = PASSWORD
        self._configuration = folder / "valkey.conf"
        text = valkey.configuration(
            folder=folder, socket=self.socket, password=PASSWORD
        )
        self._configuration.write_text(text, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [valkey.program(), self._configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_S_MAX
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def client(self) -> redis.Redis:
        """Return a blocking client with all rights."""
        return redis.Redis.from_url(self.url, password=self.password)

    def kill(self) -> None:
        """End it without a word (kill -9)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@contextmanager
def own_valkey(folder: Path) -> Iterator[OwnValkey]:
    """Lend a running server; it is gone afterwards, whatever the test did to it."""
    server = OwnValkey(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()

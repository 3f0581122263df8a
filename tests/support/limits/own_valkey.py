"""A Valkey of one's own, for tests that stop, kill and empty it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis

from broker.cli.stack.servers import valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PASSWORD = "valkey-of-a-test"
READY_S_MAX = 5.0


class OwnValkey:
    """A server process; its socket and password stay the same over restarts."""

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        # A socket path has at most 107 bytes, and a test's folder is long.
        self.socket = folder / "v"
        self.url = f"unix://default@{self.socket}?db=0"
        self.password = PASSWORD
        self._configuration = folder / "valkey.conf"
        text = valkey.configuration(
            folder=folder, socket=self.socket, password=PASSWORD
        )
        # Copies are fetched over TCP only.
        text += f"port {port}\nbind 127.0.0.1\nrepl-diskless-sync-delay 0\n"
        self._configuration.write_text(text, encoding="utf-8")
        self.port = port
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

    def follow(self, other: OwnValkey) -> None:
        """Become the other one's replica, and wait until it is up to date."""
        with self.client() as client:
            client.config_set("primaryauth", PASSWORD)
            client.replicaof("127.0.0.1", other.port)
            _until(lambda: client.info("replication")["master_link_status"] == "up")

    def catch_up(self, other: OwnValkey) -> None:
        """Wait until everything of the other one has arrived."""
        with self.client() as mine, other.client() as theirs:
            _until(lambda: mine.dbsize() == theirs.dbsize())

    def lag(self) -> None:
        """Go on as a replica that nothing reaches any more."""
        with self.client() as client:
            client.config_set("primaryauth", "another")
            client.execute_command("CLIENT", "KILL", "TYPE", "PRIMARY")
            _until(lambda: client.info("replication")["master_link_status"] == "down")

    def lead(self) -> None:
        """Be promoted: what has not arrived yet never does."""
        with self.client() as client:
            client.replicaof("NO", "ONE")

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def own_valkey(folder: Path, *, port: int = 0) -> Iterator[OwnValkey]:
    """Lend a running server; it is gone afterwards, whatever the test did to it."""
    server = OwnValkey(folder, port=port)
    server.start()
    try:
        yield server
    finally:
        server.kill()

"""Run the signer as its own process, and speak to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.core.frames import HEADER_BYTES, body_bytes, decode_body, encode_frame
from broker.core.transparency.signing import SIGNER_FRAME_MAX
from tests.support import source

READY_S_MAX = 20.0


class SignerProcess:
    """A signer over a folder; start and kill it as often as you like."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.socket = str(state / "signer.sock")
        self._process: subprocess.Popen[bytes] | None = None
        self._client: socket.socket | None = None

    def start(self, *, code: str = "") -> None:
        """Start it and wait until it answers; ``code`` runs instead of the module."""
        how = ["-c", code] if code else ["-m", "broker.signer"]
        log = (self.state / "signer.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", *how],
                env=self.environment(),
                cwd=source.TOP,
                stderr=log,
            )
        end = time.monotonic() + READY_S_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                msg = f"no signer: {self.log()}"
                raise AssertionError(msg)
            time.sleep(0.01)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(source.TOP),
            "COUNTERFOIL_STATE": str(self.state),
            "COUNTERFOIL_SIGNER_SOCKET": self.socket,
        }

    def log(self) -> str:
        return (self.state / "signer.log").read_text()

    def recover(self, reason: str) -> int:
        return subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "broker.signer",
                "recover",
                "--reason",
                reason,
            ],
            env=self.environment(),
            cwd=source.TOP,
            check=False,
        ).returncode

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for a process that ends by itself."""
        assert self._process is not None
        return self._end(0)

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send one message and return the answer."""
        self.send(encode_frame(message, frame_max=SIGNER_FRAME_MAX))
        header = self.receive(HEADER_BYTES)
        body = self.receive(body_bytes(header, frame_max=SIGNER_FRAME_MAX))
        return decode_body(body, frame_max=SIGNER_FRAME_MAX)

    def send(self, data: bytes) -> None:
        assert self._client is not None
        self._client.sendall(data)

    def receive(self, count: int) -> bytes:
        assert self._client is not None
        data = b""
        while len(data) < count:
            more = self._client.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def connect(self) -> None:
        """Open a fresh connection."""
        if self._client is not None:
            self._client.close()
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(READY_S_MAX)
            client.connect(self.socket)
        except OSError:
            client.close()
            raise
        self._client = client

    def _answers(self) -> bool:
        try:
            self.connect()
        except OSError:
            return False
        return True

    def _end(self, number: int) -> int:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is None:
            return 0
        if number:
            self._process.send_signal(number)
        status = self._process.wait(READY_S_MAX)
        self._process = None
        return status

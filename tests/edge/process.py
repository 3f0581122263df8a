"""The edge as a process of its own, on a real database, before a real CRM."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from broker.core.canonical import canonical
from broker.core.jws import PublicKey, public_from_jwk, public_to_jwk, verify
from broker.core.warrants.orders import Hello, parse_hello, parse_receipt
from broker.core.words.warrant import EDGE_HELLO_TYP, RECEIPT_TYP, Receipt, Warrant
from broker.edge.catalogue import load_catalogue
from broker.edge.identity import read_json, uuid7, write_secret
from tests.edge.child import Child, ask_frame, frame
from tests.edge.lab import ROOT, WARRANT_KEY, probe_order, signed, signed_probe

CATALOG = ROOT / "tools" / "catalog"
MANIFESTS = {tool.name: tool for tool in load_catalogue(CATALOG).values()}
READY_S_MAX = 30.0
STRACE = "/usr/bin/strace"


@dataclass
class EdgeProcess:
    """A state folder and the edge that runs on it, again and again if need be."""

    folder: Path
    environ: dict[str, str]
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    hello: Hello | None = None
    _open: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def socket(self) -> Path:
        return self.folder / "edge.sock"

    @property
    def log(self) -> Path:
        return self.folder / "edge.log"

    def command(
        self, *argv: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of the edge's commands to its end."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "broker.edge", *argv],
            cwd=ROOT,
            env=self.environ,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=READY_S_MAX,
        )

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process; `start` waits until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-P", "-m", "broker.edge"],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    async def start(self) -> None:
        """Start the edge and greet it."""
        process = self.spawn()
        until = time.monotonic() + READY_S_MAX
        while True:
            assert process.poll() is None, self.log.read_text()
            try:
                self.hello = await self.greet()
            except (OSError, asyncio.IncompleteReadError):
                assert time.monotonic() < until, self.log.read_text()
                await asyncio.sleep(0.05)
            else:
                return

    async def greet(self) -> Hello:
        """Return the edge's own word of who it is, verified."""
        nonce = secrets.token_hex(8)
        answer = await self.control(op="hello", nonce=nonce)
        said = self.receipt_key()
        claims = verify(answer["edge_hello"], keys={said.kid: said}, typ=EDGE_HELLO_TYP)
        hello = parse_hello(claims)
        assert hello.nonce == nonce
        return hello

    @property
    def pid(self) -> int:
        """Return the edge's own process id, also when it runs under a tracer."""
        assert self.process is not None
        if not self.prefix:
            return self.process.pid
        tracer = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(tracer.read_text().split()[0])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process that was started here, and return its status."""
        assert self.process is not None
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()
        if self.process.poll() is None:
            os.kill(self.pid, number)
        status = self.process.wait(timeout=15)
        self.process = None
        return status

    def order(self, tool: str, arguments: dict[str, Any], **changes: Any) -> Warrant:
        """Return a warrant for this edge and boot."""
        assert self.hello is not None
        now = datetime.now(UTC)
        manifest = MANIFESTS[tool]
        plain: dict[str, Any] = {
            "warrant_id": uuid7(now),
            "action_id": uuid7(now),
            "tenant": "demo",
            "environment": "dev",
            "connector": manifest.connector,
            "tool": tool,
            "manifest": manifest.digest,
            "arguments": arguments,
            "customer_id": "",
            "agent_id": "agent-1",
            "edge": self.hello.edge,
            "boot": self.hello.boot,
            "epochs": (("agent:agent-1", 0), ("global:dev", 0)),
            "idempotency_key": secrets.token_hex(16),
            "issued_at": now,
            "expires_at": now + timedelta(seconds=10),
        }
        return Warrant(**(plain | changes))

    def ordered(
        self, tool: str, arguments: dict[str, Any], *, version: int, **changes: Any
    ) -> str:
        """Write an order to try a credential into a file; return the file's name."""
        path = self.folder / "order.jwt"
        made = probe_order(self.edge_id, MANIFESTS[tool], arguments, version=version)
        path.write_text(signed_probe(replace(made, **changes)) + "\n")
        return str(path)

    @property
    def edge_id(self) -> str:
        """Return the edge's id, as its folder says it."""
        said: str = read_json(self.state / "edge" / "edge.json")["edge"]
        return said

    async def show(self, order: Warrant) -> tuple[Any, Child]:
        reader, writer = await self.connect()
        token = signed(order)
        answer = await ask_frame(reader, writer, {"op": "call", "warrant": token})
        return answer, Child(reader, writer)

    async def call(self, order: Warrant) -> Child:
        answer, child = await self.show(order)
        assert answer == {"ok": True}, answer
        return child

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        self._open.append(writer)
        return reader, writer

    async def control(self, **question: Any) -> Any:
        reader, writer = await self.connect()
        writer.write(frame({"op": "control"}))
        try:
            return await ask_frame(reader, writer, question)
        finally:
            writer.close()

    async def receipt(self, order: Warrant) -> Receipt:
        return self._read(await self.control(op="receipt", warrant=order.warrant_id))

    async def ask(self, order: Warrant) -> Receipt:
        answer = await self.control(
            op="ask", warrant=order.warrant_id, action=order.action_id, nonce="n"
        )
        return self._read(answer)

    def receipt_key(self) -> PublicKey:
        """Return the public half of the edge's receipt key, as it is published."""
        path = self.state / "public" / "edge" / "receipt.jwk"
        return public_from_jwk(read_json(path))

    def _read(self, answer: Any) -> Receipt:
        assert answer["ok"] is True, answer
        said = self.receipt_key()
        claims = verify(answer["receipt"], keys={said.kid: said}, typ=RECEIPT_TYP)
        return parse_receipt(claims)


def make_edge(
    folder: Path, *, database: str, crm_url: str = "", credential: str = ""
) -> EdgeProcess:
    """Prepare a state folder; nothing runs yet.

    Args:
        folder: Empty, short enough for a socket, this user's alone.
        database: URL of the edge's role, with its password.
        crm_url: Base URL of the CRM that the edge seals the credential of.
        credential: That credential.
    """
    state = folder / "state"
    (state / "public").mkdir(mode=0o700, parents=True)
    (state / "edge").mkdir(mode=0o700)
    warrant_key = canonical(public_to_jwk(WARRANT_KEY.public()))
    write_secret(state / "public" / "warrant.jwk", warrant_key)
    parts = urlsplit(database)
    password_file = state / "edge" / "database.password"
    write_secret(password_file, (parts.password or "").encode())
    bare = parts.netloc.replace(f":{parts.password}@", "@")
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COUNTERFOIL_STATE": str(state),
        "COUNTERFOIL_EDGE_SOCKET": str(folder / "edge.sock"),
        "COUNTERFOIL_DATABASE_URL": urlunsplit(parts._replace(netloc=bare)),
        "COUNTERFOIL_DATABASE_PASSWORD_FILE": str(password_file),
        "COUNTERFOIL_CATALOG": str(CATALOG),
    }
    if crm_url:
        credential_file = state / "edge" / "democrm.credential"
        write_secret(credential_file, credential.encode())
        environ["COUNTERFOIL_CRM_URL"] = crm_url
        environ["COUNTERFOIL_CRM_CREDENTIAL_FILE"] = str(credential_file)
    return EdgeProcess(folder, environ)

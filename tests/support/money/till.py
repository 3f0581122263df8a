"""A broker's flow with a real runner and a real edge, before a payment provider.

PostgreSQL, flow, budgets, sandbox and edge are the real ones; what a person would do
(a standing approval) is put there signed. The runner is a process that may be killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker import conversation, flow, sweeper
from broker.case import Ask
from broker.core.jws import sign
from broker.core.words.action import ActionState
from broker.core.words.errors import BrokerError
from broker.core.words.moment import write_moment
from broker.edge.identity import write_secret
from broker.effects.executor import SocketExecutor
from broker.registry.standing import STANDING_TYP, standing_claims, terms_digest
from tests.edge.lab import ISSUER as EDGE_ISSUER
from tests.edge.lab import ROOT, WARRANT_KEY
from tests.edge.process import EdgeProcess, make_edge
from tests.support.channels import opening
from tests.support.flow.house import (
    AGENT_ID,
    ISSUER,
    PEOPLE,
    House,
    open_house,
    put_row,
)
from tests.support.identities import key_of
from tests.support.money.provider import KEY, Payer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.words.subject import Interaction

REFUND = "payments.refunds.create"
STANDING_ID = "0197a000-0000-7000-8000-0000000000d2"
RUNNER_S_MAX = 30.0
READS_MAX = 20
_DAYS = timedelta(days=30)


@dataclass
class Runner:
    """The runner's process: it may be killed at any moment, and comes back."""

    folder: Path
    edge_socket: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "runner.sock"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        process = self._spawn()
        async with asyncio.timeout(RUNNER_S_MAX):
            while not self.socket.exists():
                assert process.poll() is None, self.log()
                await asyncio.sleep(0.02)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self.folder / "runner.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tools.dispatcher"],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    "COUNTERFOIL_RUNNER_SOCKET": str(self.socket),
                    "COUNTERFOIL_EDGE_SOCKET": str(self.edge_socket),
                    "COUNTERFOIL_CATALOG": str(ROOT / "tools" / "catalog"),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    async def crash(self) -> None:
        """Kill it in the middle of whatever it does, and start another one."""
        self.stop()
        await self.start()

    def stop(self) -> None:
        """Kill it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=15)

    def log(self) -> str:
        """Return what it said."""
        return (self.folder / "runner.log").read_text()


@dataclass
class Till:
    """The flow, and what a test does at it."""

    house: House
    runner: Runner
    edge: EdgeProcess
    _open: dict[str, asyncio.Task[Interaction]] = field(default_factory=dict)

    async def known(self, payer: Payer) -> Interaction:
        """Return the one interaction with a payer, opened when it is first needed."""
        if payer.customer not in self._open:
            opening_ = asyncio.create_task(self.interaction(payer))
            self._open[payer.customer] = opening_
        return await self._open[payer.customer]

    async def interaction(self, payer: Payer) -> Interaction:
        """Open an interaction with a payer, and let the agent read the charges."""
        now = self.house.ports.clock.now()
        token = opening(
            iat=int(now.timestamp()),
            exp=int(now.timestamp()) + 60,
            jti=self.house.ports.ids.new(),
            ai_disclosed_at=write_moment(now),
            customer=payer.customer,
            verification_level=2,
        )
        ports = self.house.ports
        opened = await conversation.open_interaction(ports, token, issuer=ISSUER)
        await self.read(opened, "payments.charges.list")
        for charge in payer.charges:
            await self.read(opened, "payments.charges.get", charge_id=charge)
        return opened

    async def read(
        self, interaction: Interaction, tool: str, **arguments: Any
    ) -> dict[str, Any]:
        """Have the agent read something, and return what it is shown."""
        ask = self.house.ask(tool, interaction, **arguments)
        answer: object = None
        for _ in range(READS_MAX):
            # A read that the runner's death interrupted is asked again.
            with suppress(BrokerError):
                answer = await flow.submit(self.house.ports, ask)
                record = answer.record
                if record and record.outcome and record.state is ActionState.DONE:
                    return dict(record.outcome.result or {})
            await asyncio.sleep(0.5)
        raise AssertionError(answer)

    def refund(
        self, interaction: Interaction, charge: str, amount: int, *, key: str
    ) -> Ask:
        """Return a request for a refund on a charge."""
        return self.house.ask(
            REFUND,
            interaction,
            key=key,
            charge_id=charge,
            amount_minor_units=amount,
            currency="USD",
        )


@asynccontextmanager
async def open_till(
    folder: Path, *, broker_dsn: str, owner_dsn: str, edge_dsn: str, provider_url: str
) -> AsyncIterator[Till]:
    """Open a flow whose payments go to ``provider_url``."""
    edge = make_edge(folder, database=edge_dsn)
    secret = folder / "secret"
    write_secret(secret, KEY.encode())
    words = ("credentials", "add", "--connector", "payments", "--allow-private")
    for command in (
        ("init",),
        (*words, "--base-url", provider_url, "--value-file", str(secret)),
    ):
        done = edge.command(*command)
        assert done.returncode == 0, done.stderr
    await edge.start()
    runner = Runner(folder, edge.socket)
    await runner.start()
    executor = SocketExecutor(
        str(runner.socket),
        issuer=EDGE_ISSUER,
        key=WARRANT_KEY,
        receipt_key=edge.state / "public" / "edge" / "receipt.jwk",
    )
    try:
        async with open_house(broker_dsn, owner_dsn=owner_dsn) as house:
            house.ports = replace(house.ports, executor=executor)
            await put_row(house, "standing_approval", STANDING_ID, _standing(house))
            sweeping = asyncio.create_task(sweeper.sweep_for_ever(house.ports))
            yield Till(house, runner, edge)
            sweeping.cancel()
            await asyncio.wait([sweeping])
    finally:
        await executor.close()
        runner.stop()
        if edge.process is not None:
            edge.stop()


def _standing(house: House) -> dict[str, Any]:
    body: dict[str, Any] = {
        "tool": REFUND,
        "agents": [AGENT_ID],
        "constraints": {},
        "per_action_minor_units": 10_000,
        "total_minor_units": 10_000_000,
        "currency": "USD",
        "expires_at": write_moment(house.ports.clock.now() + _DAYS),
        "signed_by": [PEOPLE["alice"], PEOPLE["bob"]],
        "status": "active",
    }
    digest = terms_digest(STANDING_ID, body)
    body["signatures"] = [
        sign(
            standing_claims(PEOPLE[name], approval_id=STANDING_ID, digest=digest),
            key=key_of(name),
            typ=STANDING_TYP,
        )
        for name in ("alice", "bob")
    ]
    return body

"""Run localstripe: a payment provider that takes over-refunds and forgets keys.

It is GPL-3: an environment of its own, a process of its own, and nothing here imports
it. Its own launcher binds every interface, so that it is started on loopback here.
"""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "localstripe" / "bin" / "python"
KEY = "sk_test_a_key_of_the_tests"
START_S_MAX = 30.0
_LAUNCH = (
    "import sys; from aiohttp import web; from localstripe import server; "
    "web.run_app(server.app, host='127.0.0.1', port=int(sys.argv[1]), print=None)"
)


@dataclass(frozen=True)
class Payer:
    """Somebody who paid, and what."""

    customer: str
    charges: dict[str, int]


class Provider:
    """A running localstripe, and what a test asks of it."""

    def __init__(self, folder: Path) -> None:
        """Keep where it may write; use as a context manager."""
        self._folder = folder
        self.port = 0

    def __enter__(self) -> Self:
        if not PYTHON.exists():
            msg = "localstripe is not installed; `make interop` does it"
            raise RuntimeError(msg)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [PYTHON, "-P", "-c", _LAUNCH, str(self.port)],
            cwd=self._folder,
            env={"TMPDIR": str(self._folder), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=START_S_MAX,
        )
        until = time.monotonic() + START_S_MAX
        while True:
            try:
                self.client.get("/v1/charges", params={"limit": 1})
            except httpx.TransportError:
                assert time.monotonic() < until, "localstripe did not start"
                assert self._process.poll() is None, "localstripe ended"
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(timeout=15)

    def payer(self, *amounts: int) -> Payer:
        """Make somebody who was charged these amounts in cents."""
        customer = self._post("customers", name="A Payer", email="payer@example.com")
        card = {
            "card[number]": "4242424242424242",
            "card[exp_month]": "12",
            "card[exp_year]": "2030",
            "card[cvc]": "123",
        }
        method = self._post("payment_methods", type="card", **card)
        self._post(f"payment_methods/{method['id']}/attach", customer=customer["id"])
        charges = {}
        for amount in amounts:
            charge = self._post(
                "charges",
                amount=str(amount),
                currency="usd",
                customer=customer["id"],
                source=method["id"],
            )
            charges[charge["id"]] = amount
        return Payer(customer["id"], charges)

    def intent(self, payer: Payer, amount: int) -> dict[str, Any]:
        """Make a payment intent that was confirmed and paid."""
        return self._post(
            "payment_intents",
            amount=str(amount),
            currency="usd",
            customer=payer.customer,
            payment_method=self._method(payer),
            confirm="true",
        )

    def refunds(self, charge: str) -> list[dict[str, Any]]:
        """Return what was refunded on a charge."""
        found = self.client.get(f"/v1/charges/{charge}").json()
        return list(found["refunds"]["data"])

    def _method(self, payer: Payer) -> str:
        charge = next(iter(payer.charges))
        found = self.client.get(f"/v1/charges/{charge}").json()
        return str(found["payment_method"])

    def _post(self, path: str, **form: str) -> dict[str, Any]:
        answer = self.client.post(f"/v1/{path}", data=form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

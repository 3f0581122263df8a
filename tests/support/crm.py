"""Run democrm as a real process on a free port, in a temporary folder."""

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

ROOT = Path(__file__).parents[2]
_STOP_WAIT_S = 10.0
_ANSWER_WAIT_S = 30.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Crm:
    """One democrm: its process, its files, and what a test asks of it.

    Use as a context manager; ``folder`` keeps the state, so that a second one on the
    same folder (after the first ended) goes on from there.
    """

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.credential_file = folder / "crm.credential"
        self.control_file = folder / "crm.control"
        self.credential = _secret(self.credential_file)
        self.control_credential = _secret(self.control_file)
        self.url = ""
        self.complaints = ""
        """What processes that ended wrote to standard error."""
        self._environ = environ
        self._process: subprocess.Popen[str] | None = None
        self._client: httpx.Client | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running process."""
        assert self._process is not None, "democrm was not started"
        return self._process

    @property
    def client(self) -> httpx.Client:
        """A client with keep-alive and no credential of its own."""
        assert self._client is not None, "democrm was not started"
        return self._client

    def start(self) -> None:
        """Start the process and return when it answers; again on the same port."""
        port = httpx.URL(self.url).port if self.url else 0
        self._process = spawn(
            {
                "COUNTERFOIL_STATE": str(self.folder / "state"),
                "COUNTERFOIL_CRM_LISTEN": f"127.0.0.1:{port}",
                "COUNTERFOIL_CRM_CREDENTIAL_FILE": str(self.credential_file),
                "COUNTERFOIL_CRM_CONTROL_FILE": str(self.control_file),
                **self._environ,
            }
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, complaint = self._process.communicate(timeout=_STOP_WAIT_S)
            pytest.fail(f"democrm did not start: {complaint}")
        self.url = line.split()[-1]
        self._client = httpx.Client(
            base_url=self.url, timeout=_ANSWER_WAIT_S, trust_env=False
        )
        assert self._client.get("/healthz").status_code == 200

    def stop(self) -> int:
        """End the process in good order and return its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as a power cut would."""
        self._end(signal.SIGKILL)

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Ask as the edge would."""
        return self.client.get(path, params=query, headers=self._shown(self.credential))

    def post(
        self, path: str, body: object, *, key: str | None = None
    ) -> httpx.Response:
        """Send as the edge would; ``key`` is the Idempotency-Key."""
        headers = self._shown(self.credential)
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.post(path, json=body, headers=headers)

    def control(
        self, method: str, path: str, body: object = None, **query: Any
    ) -> httpx.Response:
        """Ask a control endpoint, with the control credential."""
        return self.client.request(
            method,
            path,
            json=body,
            params=query,
            headers=self._shown(self.control_credential),
        )

    def refund(
        self,
        order_id: str,
        amount_minor_units: object,
        payment_method_id: str,
        *,
        key: str | None = None,
        reference: str = "ref",
    ) -> httpx.Response:
        """Refund an amount in cents on an order."""
        body = {
            "amount_minor_units": amount_minor_units,
            "currency": "USD",
            "payment_method_id": payment_method_id,
            "reference": reference,
        }
        return self.post(f"/orders/{order_id}/refunds", body, key=key)

    def order(self, order_id: str) -> dict[str, Any]:
        """Return an order."""
        return dict(_ok(self.get(f"/orders/{order_id}")))

    def replies(self, customer_id: str) -> list[dict[str, Any]]:
        """Return what a customer was told."""
        body = _ok(self.get(f"/customers/{customer_id}/replies"))
        return list(body["replies"])

    def note(self, order_id: str, text: str, *, author: str = "clerk") -> None:
        """Write a note on an order; also how a poisoned one is planted."""
        body = {"author": author, "text": text}
        _ok(self.post(f"/orders/{order_id}/notes", body))

    def journal(self, since: int = 0) -> list[dict[str, Any]]:
        """Return every change after number ``since``, oldest first."""
        found: list[dict[str, Any]] = []
        while page := _ok(self.control("GET", "/__journal", since=since)):
            found += page
            since = page[-1]["seq"]
        return found

    def state(self) -> dict[str, Any]:
        """Return {"digest", "orders_changed"}."""
        return dict(_ok(self.control("GET", "/__state")))

    def reset(self) -> None:
        """Return to the data as loaded, without faults and with every rule on."""
        _ok(self.control("POST", "/__reset"))

    def fault(
        self,
        kind: str,
        *,
        method: str | None = None,
        path_regex: str = "",
        times: int | None = 1,
        **more: object,
    ) -> None:
        """Replace all faults by this one; see infra/democrm/README.md for ``more``."""
        match = {"method": method, "path_regex": path_regex}
        fault = {"match": match, "fault": kind, "times": times, **more}
        _ok(self.control("PUT", "/__faults", {"faults": [fault]}))

    def no_faults(self) -> None:
        """Take all faults away; switches stay."""
        _ok(self.control("PUT", "/__faults", {"faults": []}))

    def switch(self, **switches: object) -> None:
        """Set switches, as in ``crm.switch(refuse_over_refund=False)``."""
        _ok(self.control("PUT", "/__faults", {"switches": switches}))

    def _shown(self, credential: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {credential}"}

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        try:
            _, complaints = self._process.communicate(timeout=_STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            # A test may have broken it, but nothing may be left running.
            self._process.kill()
            self._process.communicate()
            raise
        self.complaints += complaints
        status = self._process.returncode
        self.client.close()
        self._process = self._client = None
        return status


def spawn(environ: dict[str, str]) -> subprocess.Popen[str]:
    """Start democrm with this environment and nothing of the test's own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "infra.democrm"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Also a test run that is killed leaves no process behind.
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no lock taken
    )


@contextmanager
def running_crm(**environ: str) -> Iterator[Crm]:
    """Run a democrm in a temporary folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="democrm-") as folder,
        Crm(Path(folder), **environ) as crm,
    ):
        yield crm


@pytest.fixture(scope="session")
def crm_process() -> Iterator[Crm]:
    """One democrm for the whole run; ask for ``crm`` instead."""
    with running_crm() as crm:
        yield crm


@pytest.fixture
def crm(crm_process: Crm) -> Crm:
    """A democrm with the data as loaded, no fault, and every rule on."""
    crm_process.reset()
    return crm_process


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _secret(path: Path) -> str:
    if not path.exists():
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text()


def _ok(response: httpx.Response) -> Any:
    assert response.is_success, f"{response.status_code} {response.text}"
    return response.json()

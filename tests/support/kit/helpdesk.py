"""The help desk as a process of its own, and what a test asks of it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]


class HelpDesk:
    """One running help desk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.credential = secrets.token_urlsafe(32)
        self.control = secrets.token_urlsafe(32)
        (folder / "credential").write_text(self.credential)
        (folder / "control").write_text(self.control)
        self.url = ""
        self.client = httpx.Client(timeout=10, trust_env=False)

    def start(self) -> subprocess.Popen[str]:
        """Start it; its address is known then."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "infra.helpdesk"],
            cwd=ROOT,
            env={
                "PYTHONPATH": str(ROOT),
                "COUNTERFOIL_HELPDESK_STATE": str(self.folder / "state"),
                "COUNTERFOIL_HELPDESK_LISTEN": "127.0.0.1:0",
                "COUNTERFOIL_HELPDESK_CREDENTIAL_FILE": str(self.folder / "credential"),
                "COUNTERFOIL_HELPDESK_CONTROL_FILE": str(self.folder / "control"),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        self.url = process.stdout.readline().split()[-1]
        return process

    def ask(
        self, method: str, path: str, *, body: object = None, key: str = ""
    ) -> httpx.Response:
        """Ask as the edge would."""
        control = path.startswith("/__")
        shown = self.control if control else self.credential
        headers = {"Authorization": f"Bearer {shown}"}
        if key:
            headers["Idempotency-Key"] = key
        return self.client.request(
            method, f"{self.url}{path}", json=body, headers=headers
        )

    def journal(self) -> list[dict[str, Any]]:
        """Return every change, oldest first."""
        found: list[dict[str, Any]] = self.ask("GET", "/__journal").json()
        return found


@pytest.fixture(scope="session")
def helpdesk_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HelpDesk]:
    """One help desk for the whole run; ask for ``helpdesk`` instead."""
    desk = HelpDesk(tmp_path_factory.mktemp("helpdesk"))
    process = desk.start()
    yield desk
    desk.client.close()
    process.terminate()
    assert process.wait(10) in {0, -15}
    assert process.stdout is not None
    process.stdout.close()


@pytest.fixture
def helpdesk(helpdesk_process: HelpDesk) -> HelpDesk:
    """A help desk with its first tickets and no journal."""
    helpdesk_process.ask("POST", "/__reset").raise_for_status()
    return helpdesk_process

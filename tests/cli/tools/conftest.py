"""A catalogue to break, and the command line to look at it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.cli.app import make_app
from broker.cli.exits import Exit

TOOLS = ("customers.verify", "orders.get", "orders.refund")
CATALOG = Path(__file__).parents[3] / "tools" / "catalog"


@dataclass
class Shell:
    """The command line over a catalogue of its own."""

    catalog: Path

    def say(self, *words: str, code: int = Exit.OK, told: str = "") -> str:
        """Run a `tools` command; return what people read."""
        result = CliRunner().invoke(
            make_app(),
            ["tools", *words],
            input=told,
            env={"COUNTERFOIL_CATALOG": str(self.catalog)},
        )
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output

    def run(self, *words: str, code: int = Exit.OK) -> list[dict[str, Any]]:
        """Run a `tools` command; return its lines of JSON."""
        lines = self.say(*words, "--json", code=code).splitlines()
        return [json.loads(line) for line in lines]

    def change(self, name: str, old: str, new: str) -> Path:
        """Change a manifest of the retail connector."""
        path = self.catalog / "retail" / f"{name}.toml"
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")
        return path


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "catalog" / "retail"
    folder.mkdir(parents=True)
    for name in ("connector.py", *(f"{tool}.toml" for tool in TOOLS)):
        shutil.copy(CATALOG / "retail" / name, folder / name)
    return Shell(tmp_path / "catalog")

"""A catalogue to break, and the command line to look at it."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.cli.exits import Exit
from tests.support.cli.command import invoke

TOOLS = ("customers.get", "customers.verify", "orders.get", "orders.refund")
CATALOG = Path(__file__).parents[3] / "tools" / "catalog"


@dataclass
class Shell:
    """The command line over a catalogue of its own."""

    catalog: Path

    def say(self, *words: str, code: int = Exit.OK, told: str = "") -> str:
        """Run a `tools` command; return what people read."""
        env = {"COUNTERFOIL_CATALOG": str(self.catalog)}
        result = invoke("tools", *words, typed=told, env=env)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output

    def run(self, *words: str, code: int = Exit.OK) -> list[dict[str, Any]]:
        """Run a `tools` command; return its lines of JSON."""
        lines = self.say(*words, "--json", code=code).splitlines()
        return [json.loads(line) for line in lines]

    def begin(self, name: str, *more: str, code: int = Exit.OK) -> str:
        """Begin a tool with `tools new`; its test goes beside the catalogue."""
        tests = str(self.catalog.parent / "tests")
        return self.say("new", name, "--tests", tests, *more, code=code)

    def confirm(self, name: str, *, connector: str) -> str:
        """Answer every question about a tool, and confirm it by its name."""
        path = self.catalog / connector / f"{name}.toml"
        questions = tomllib.loads(path.read_text("utf-8"))["review"]["questions"]
        told = "done\n" * len(questions) + f"{name}\n"
        return self.say("confirm", name, "--by", "Carol", told=told)

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

"""`policy check` and `policy test` say what is wrong, where, and end accordingly."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from broker.cli.app import make_app
from broker.cli.exits import Exit
from tests.support.cases import DEMO_POLICY


@pytest.fixture
def folder(tmp_path):
    """Return a copy of the demo's policy folder."""
    return shutil.copytree(DEMO_POLICY, tmp_path / "policy")


def run(*words):
    return CliRunner().invoke(make_app("policy"), ["policy", *map(str, words)])


def replaced(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_a_good_policy_is_shown_with_its_owners_tiers_and_tests(folder) -> None:
    done = run("check", folder)
    assert done.exit_code == Exit.OK, done.output
    assert "company      dave" in done.output
    assert "retail-care  olivia" in done.output
    tests = (folder / "tests.toml").read_text().count("[[tests]]")
    assert f"{tests} of {tests} tests passed" in done.output
    summary = json.loads(run("check", folder, "--json").stdout)
    assert (summary["passed"], summary["tests"]) == (True, tests)
    assert [table["tier"] for table in summary["tables"]] == [3, 3]


def test_a_test_that_fails_fails_the_check_and_is_named(folder) -> None:
    replaced(
        folder, "appetite.toml", 'amount_upto = "5000.00"', 'amount_upto = "4999.99"'
    )
    for command in ("check", "test"):
        done = run(command, folder)
        assert done.exit_code == Exit.FAILED
        assert "failed: 5,000.00 may be approved: expected approve, got deny" in (
            done.output
        )
    lines = [
        json.loads(line) for line in run("test", folder, "--json").stdout.splitlines()
    ]
    assert [line["test"] for line in lines if not line["passed"]] == [
        "5,000.00 may be approved"
    ]


def test_what_cannot_be_published_is_one_line_with_the_place(folder, tmp_path) -> None:
    replaced(folder, "appetite.toml", 'then = "ban"', 'then = "never"')
    done = run("check", folder)
    assert done.exit_code == Exit.FAILED
    assert done.stderr.startswith(
        "error: appetite.toml line 62, row C3: then is one of"
    )
    error = json.loads(run("test", folder, "--json").stdout)
    assert error["event"] == "failed"
    for missing in (tmp_path / "no", folder / "appetite.toml"):
        assert run("check", missing).exit_code == Exit.FAILED
    assert "catalog" in run("check", folder, "--catalog", tmp_path / "no").output

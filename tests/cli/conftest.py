"""Lend tests of the command a checkout with stand-ins, and a stack that runs."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.cli import tree


@pytest.fixture
def tmp_path():
    """Return a folder with a short path, so that sockets fit below it."""
    with TemporaryDirectory(prefix="counterfoil-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Return a checkout whose own processes are stand-ins."""
    return tree.make(tmp_path_factory.mktemp("checkout") / "tree")


@pytest.fixture
def stack(checkout, tmp_path):
    """Return the command on a state of the test's own; nothing runs yet."""
    stack = tree.Stack(checkout, tmp_path / "state")
    yield stack
    stack.end()


@pytest.fixture(scope="session")
def running(checkout, tmp_path_factory):
    """Return a stack with two brokers and two workers that runs for all tests.

    Those that ask for it belong to one xdist group, so that it is started once.
    """
    stack = tree.Stack(checkout, tmp_path_factory.mktemp("running") / "state")
    done = stack.run("up", "--detach", "--json", "--brokers", "2", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    stack.first_events += [json.loads(line) for line in done.stdout.splitlines()]
    yield stack
    stack.end()

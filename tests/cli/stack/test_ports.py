"""A free port is found, and whoever has the wanted one is named."""

from __future__ import annotations

import os
import socket

import pytest

from broker.cli.stack.machine import ports
from broker.cli.stack.machine.ports import TRIES_MAX, NoFreePortError, choose


@pytest.fixture
def taken():
    """Yield a port that this process listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_port_is_taken_as_wanted() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    choice = choose(port)
    assert choice.port == port
    assert choice.note == ""


def test_the_owner_of_a_taken_port_is_named(taken) -> None:
    choice = choose(taken)
    assert choice.port > taken
    assert f"process {os.getpid()} (" in choice.taken_by
    assert choice.note == (
        f"port {taken} is taken by {choice.taken_by}, so {choice.port} is used"
    )


def test_a_port_that_was_given_away_already_is_not_given_again() -> None:
    first = choose(20_000).port
    assert choose(first, apart_from=frozenset({first})).port > first


def test_the_last_try_finds_a_port_and_one_fewer_does_not() -> None:
    first = choose(20_000).port
    taken = frozenset(range(first, first + TRIES_MAX - 1))
    assert choose(first, apart_from=taken).port >= first + TRIES_MAX - 1
    with pytest.raises(NoFreePortError):
        choose(first, apart_from=taken | {first + TRIES_MAX - 1})


def test_there_is_no_port_past_the_last_one() -> None:
    with pytest.raises(NoFreePortError):
        choose(65_535, apart_from=frozenset({65_535}))


def test_a_port_that_nobody_has_has_no_owner() -> None:
    assert ports.owner(choose(20_000).port) == ""

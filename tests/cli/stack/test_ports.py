"""A free port is found, and whoever has the wanted one is named."""

from __future__ import annotations

import os
import socket

import pytest

from broker.cli.stack.machine.doctor import Health, examine
from broker.cli.stack.machine.ports import (
    TRIES_MAX,
    NoFreePortError,
    Reservations,
    owner,
)


@pytest.fixture
def taken():
    """Yield a port that this process listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def reserved():
    with Reservations() as reserved:
        yield reserved


def test_a_free_port_is_taken_as_wanted(reserved) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    choice = reserved.choose(port)
    assert choice.port == port
    assert choice.note == ""


def test_the_owner_of_a_taken_port_is_named(reserved, taken) -> None:
    choice = reserved.choose(taken)
    assert choice.port > taken
    assert f"process {os.getpid()} (" in choice.taken_by
    assert choice.note == (
        f"port {taken} is taken by {choice.taken_by}, so {choice.port} is used"
    )


def test_the_doctor_tells_a_strangers_port_from_its_own_stacks(taken, tmp_path) -> None:
    for own, health in (({taken}, Health.OK), (set(), Health.WARNING)):
        found = examine(tmp_path, wanted_ports=(taken,), own_ports=frozenset(own))
        [told] = [one for one in found if one.check == f"port {taken}"]
        assert told.health is health
        assert f"process {os.getpid()} (" in told.found
        assert ("this stack's" in told.found) == bool(own)


def test_two_stacks_that_start_at_once_do_not_choose_the_same_port(reserved) -> None:
    first = reserved.choose(20_000).port
    with Reservations() as other:
        assert other.choose(first).port > first
    assert reserved.choose(first).port > first


def test_a_port_that_was_given_back_can_be_chosen_again() -> None:
    with Reservations() as first:
        port = first.choose(20_000).port
    with Reservations() as second:
        assert second.choose(port).port == port


def test_the_last_try_finds_a_port_and_one_fewer_does_not(reserved) -> None:
    first = reserved.choose(20_000).port
    # Take whatever is left of the range; what others have is taken already.
    while (beyond := reserved.choose(first + 1).port) < first + TRIES_MAX:
        pass
    with pytest.raises(NoFreePortError):
        reserved.choose(first)
    with Reservations() as other:
        free = other.choose(beyond + 1).port
    # Everything up to the free port is taken, so it is the last try from here.
    assert reserved.choose(free - TRIES_MAX + 1).port == free


def test_there_is_no_port_past_the_last_one(reserved) -> None:
    reserved.choose(65_535)
    with pytest.raises(NoFreePortError):
        reserved.choose(65_535)


def test_a_port_that_nobody_has_has_no_owner(reserved) -> None:
    assert owner(reserved.choose(20_000).port) == ""

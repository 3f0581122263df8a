"""Parts are started in order, kept running, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from broker.cli.stack.parts import (
    READY_S_MAX,
    STOP_S_MAX,
    PartEvent,
    PartState,
    SocketAnswers,
)
from broker.cli.stack.process import LOG_BYTES_MAX, spawn
from broker.cli.stack.supervisor import (
    ATTEMPTS_MAX,
    BACKOFF_S_MAX,
    PartFailedError,
    Supervisor,
    backoff_s,
)
from tests.support.parts import alive, journal, once, server, shell, until


class Watched(Supervisor):
    """A supervisor whose events are kept."""

    def __init__(self, folder, *parts) -> None:
        self.events: list[PartEvent] = []
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        super().__init__(parts, logs=logs, cwd=folder, report=self.events.append)

    def states(self, part: str) -> list[PartState]:
        return [event.state for event in self.events if event.part == part]

    def pid(self, part: str) -> int:
        return next(
            event.pid
            for event in reversed(self.events)
            if event.part == part and event.state is PartState.READY
        )

    async def until(self, part: str, state: PartState, count: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.states(part).count(state) < count:  # noqa: ASYNC110 a process
                await asyncio.sleep(0.02)


async def test_a_part_starts_after_what_it_needs_and_stops_before_it(tmp_path) -> None:
    stack = Watched(
        tmp_path,
        server(tmp_path, "broker", after=("migrate",), uses=("edge",)),
        server(tmp_path, "edge", after=("migrate",)),
        once(tmp_path, "migrate", after=("postgres",)),
        server(tmp_path, "postgres"),
    )
    await stack.start()
    assert journal(tmp_path)[:2] == ["postgres started", "migrate ran"]
    assert set(journal(tmp_path)[2:]) == {"edge started", "broker started"}
    await stack.stop()
    assert journal(tmp_path)[4:] == [
        "broker stopped",
        "edge stopped",
        "postgres stopped",
    ]
    assert stack.states("migrate") == [
        PartState.WAITING,
        PartState.STARTING,
        PartState.DONE,
    ]
    assert stack.states("broker")[-2:] == [PartState.STOPPING, PartState.STOPPED]


async def test_parts_that_do_not_need_each_other_start_at_the_same_time(
    tmp_path,
) -> None:
    # Each waits for the other's first word: one after the other would never start.
    script = "journal here; until grep -q '{other} here' journal; do sleep .02; done"
    stack = Watched(
        tmp_path,
        once(tmp_path, "a", script.format(other="b"), ready_s_max=10.0),
        once(tmp_path, "b", script.format(other="a"), ready_s_max=10.0),
    )
    await stack.start()
    await stack.stop()


async def test_a_killed_part_is_started_again_and_the_others_stay(tmp_path) -> None:
    stack = Watched(tmp_path, server(tmp_path, "a"), server(tmp_path, "b"))
    await stack.start()
    try:
        first, other = stack.pid("a"), stack.pid("b")
        os.kill(first, signal.SIGKILL)
        await stack.until("a", PartState.READY, 2)
        assert stack.pid("a") != first
        assert stack.pid("b") == other
        restart = next(
            event for event in stack.events if event.state is PartState.RESTARTING
        )
        assert restart.detail == "ended by signal 9"
        assert stack.events[-1].restarts == 1
    finally:
        await stack.stop()


async def test_what_a_killed_part_started_goes_with_it(tmp_path) -> None:
    script = "sleep 60 & echo $! >> children; touch $ready; wait"
    stack = Watched(tmp_path, shell(tmp_path, "a", script))
    await stack.start()
    try:
        child = int((tmp_path / "children").read_text())
        assert alive(child)
        os.kill(stack.pid("a"), signal.SIGKILL)
        await stack.until("a", PartState.READY, 2)
        assert until(lambda: not alive(child))
    finally:
        await stack.stop()
    started = [int(pid) for pid in (tmp_path / "children").read_text().split()]
    assert len(started) == 2
    assert until(lambda: not any(map(alive, started)))


async def test_a_part_that_was_ready_is_started_again_however_often_it_dies(
    tmp_path,
) -> None:
    stack = Watched(tmp_path, server(tmp_path, "a"))
    await stack.start()
    try:
        for count in range(2, 5):
            os.kill(stack.pid("a"), signal.SIGKILL)
            await stack.until("a", PartState.READY, count)
    finally:
        await stack.stop()
    assert PartState.FAILED not in stack.states("a")


async def test_a_start_fails_once_a_part_has_died_so_often(tmp_path) -> None:
    stack = Watched(tmp_path, shell(tmp_path, "a", "echo said why; exit 3"))
    with pytest.raises(PartFailedError, match="exit code 3") as caught:
        await stack.start()
    await stack.stop()
    assert caught.value.part == "a"
    assert caught.value.log.read_text() == "said why\n" * ATTEMPTS_MAX
    assert stack.states("a").count(PartState.STARTING) == ATTEMPTS_MAX


async def test_a_part_that_starts_at_its_last_attempt_has_started(tmp_path) -> None:
    script = f"""
    echo x >> attempts
    [ $(wc -l < attempts) -ge {ATTEMPTS_MAX} ] || exit 3
    touch $ready; exec sleep 60
    """
    stack = Watched(tmp_path, shell(tmp_path, "a", script))
    await stack.start()
    await stack.stop()
    assert len((tmp_path / "attempts").read_text()) == 2 * ATTEMPTS_MAX


def test_the_pause_before_another_attempt_doubles_up_to_its_limit() -> None:
    pauses = [backoff_s(attempts) for attempts in range(1, 1_000)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == BACKOFF_S_MAX
    assert sum(pauses[: ATTEMPTS_MAX - 1]) < READY_S_MAX


async def test_a_failed_one_shot_is_not_tried_again(tmp_path) -> None:
    stack = Watched(
        tmp_path,
        once(tmp_path, "migrate", "journal ran; exit 1"),
        server(tmp_path, "broker", after=("migrate",)),
    )
    with pytest.raises(PartFailedError, match="migrate"):
        await stack.start()
    await stack.stop()
    assert journal(tmp_path) == ["migrate ran"]


async def test_a_part_that_is_not_ready_in_time_is_killed(tmp_path) -> None:
    assert READY_S_MAX > STOP_S_MAX
    stack = Watched(
        tmp_path,
        once(tmp_path, "slow", "echo $$ > pid; sleep 60", ready_s_max=0.3),
    )
    with pytest.raises(PartFailedError, match=r"not ready within 0\.3 s"):
        await stack.start()
    await stack.stop()
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_a_part_that_will_not_stop_is_killed(tmp_path) -> None:
    script = "trap '' TERM; touch $ready; while :; do sleep 60 & wait $!; done"
    stack = Watched(tmp_path, shell(tmp_path, "a", script, stop_s_max=0.3))
    await stack.start()
    pid = stack.pid("a")
    begun = time.monotonic()
    await stack.stop()
    assert time.monotonic() - begun < 3
    assert not alive(pid)
    assert stack.events[-1].detail == "ended by signal 9"


async def test_hurry_ends_a_stop_that_takes_its_time(tmp_path) -> None:
    script = "trap '' TERM; touch $ready; while :; do sleep 60 & wait $!; done"
    stack = Watched(tmp_path, shell(tmp_path, "a", script))
    await stack.start()
    stopping = asyncio.create_task(stack.stop())
    await stack.until("a", PartState.STOPPING)
    stack.hurry()
    async with asyncio.timeout(STOP_S_MAX / 2):
        await stopping


async def test_a_start_can_be_given_up_at_any_time(tmp_path) -> None:
    stack = Watched(
        tmp_path,
        shell(tmp_path, "never", "echo $$ > pid; exec sleep 60"),
        server(tmp_path, "later", after=("never",)),
    )
    starting = asyncio.create_task(stack.start())
    await stack.until("never", PartState.STARTING)
    assert until((tmp_path / "pid").exists)
    starting.cancel()
    await stack.stop()
    assert not alive(int((tmp_path / "pid").read_text()))
    assert stack.states("later") == [PartState.WAITING, PartState.STOPPED]


async def test_a_stopped_process_is_told_as_not_answering(tmp_path) -> None:
    stack = Watched(tmp_path, server(tmp_path, "a"))
    await stack.start()
    try:
        os.kill(stack.pid("a"), signal.SIGSTOP)
        await stack.until("a", PartState.NOT_ANSWERING)
        os.kill(stack.pid("a"), signal.SIGCONT)
        await stack.until("a", PartState.READY, 2)
        assert journal(tmp_path) == ["a started"]
    finally:
        await stack.stop()


async def test_a_socket_left_by_an_earlier_run_makes_nobody_ready(tmp_path) -> None:
    stale = tmp_path / "stale.sock"
    stale.write_text("")
    part = shell(tmp_path, "a", "exec sleep 60", ready_s_max=0.3)
    part = type(part)(
        name="a",
        argv=part.argv,
        environment=part.environment,
        probe=SocketAnswers(stale),
        ready_s_max=0.2,
    )
    stack = Watched(tmp_path, part)
    starting = asyncio.create_task(stack.start())
    await stack.until("a", PartState.RESTARTING)
    starting.cancel()
    await stack.stop()
    assert not stale.exists()


async def test_a_log_is_appended_to_up_to_its_limit_and_then_begun_anew(
    tmp_path,
) -> None:
    log = tmp_path / "a.log"
    part = once(tmp_path, "a", "echo new")
    log.write_text("old\n")
    await spawn(part, log=log, cwd=tmp_path).ended
    assert log.read_text() == "old\nnew\n"
    os.truncate(log, LOG_BYTES_MAX)
    await spawn(part, log=log, cwd=tmp_path).ended
    assert log.stat().st_size == LOG_BYTES_MAX + len("new\n")
    await spawn(part, log=log, cwd=tmp_path).ended
    assert log.read_text() == "new\n"
    assert log.with_suffix(".log.1").stat().st_size == LOG_BYTES_MAX + len("new\n")


async def test_a_part_has_no_terminal_no_core_and_a_private_umask(tmp_path) -> None:
    script = """
    ulimit -c > seen; umask >> seen
    [ "$(readlink /proc/self/fd/0)" = /dev/null ] && echo null >> seen
    [ "$(ps -o sid= -p $$ | tr -d ' ')" = $$ ] && echo own session >> seen
    """
    stack = Watched(tmp_path, once(tmp_path, "a", script))
    await stack.start()
    await stack.stop()
    assert (tmp_path / "seen").read_text().splitlines() == [
        "0",
        "0077",
        "null",
        "own session",
    ]

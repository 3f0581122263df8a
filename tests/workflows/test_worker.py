"""The worker as a process of its own: ready when it polls, gone when it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.approvals.office import serve_office
from tests.support.approvals.timekeeping import PATIENCE_S, Stage, until
from tests.support.approvals.voters import LARGE, approve, large_refund
from tests.support.source import TOP
from tests.workflows.test_settings import environment
from workflows.worker import (
    CACHED_RUNS_MAX,
    GRACE_S,
    QUESTIONS_AT_ONCE_MAX,
    RUNS_AT_ONCE_MAX,
)
from workflows.worker import CONNECT_S_MAX as WORKER_CONNECT_S_MAX

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

STOPS_S_MAX = GRACE_S + 3


def told(stage: Stage, state: Path, url: str, **changes: str) -> dict[str, str]:
    """Return the environment that the supervisor would give."""
    access = stage.access
    wanted = environment(
        state,
        ISSUER=url,
        BROKER_URLS=f"http://127.0.0.1:9,{url}",
        TEMPORAL_ADDRESS=access.temporal_address,
        TEMPORAL_TASK_QUEUE=stage.queue,
        TEMPORAL_PROXY_USER=access.temporal_user,
        **{
            "TEMPORAL_NAMESPACE": access.temporal_namespace,
            "TEMPORAL_PROXY": access.temporal_proxy,
        }
        | changes,
    )
    (state / "worker" / "temporal.password").write_text(access.temporal_password)
    return wanted | {"PATH": os.environ["PATH"], "PYTHONPATH": str(TOP)}


@asynccontextmanager
async def working(wanted: dict[str, str]) -> AsyncIterator[Process]:
    """Run a worker; kill it at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "workflows.worker"),
        cwd=TOP,
        env=wanted,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def waits(process: Process) -> None:
    """Wait until the worker says that Temporal does not answer."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        while b"temporal_waits" not in await process.stderr.readline():
            assert not process.stderr.at_eof()


async def ready(state: Path) -> None:
    """Wait until the worker says that it polls."""

    async def announced() -> bool:
        return (state / "ready").exists()

    await until(announced)


async def test_the_process_settles_an_approval_and_stops_when_told(
    stage: Stage, tmp_path: Path
) -> None:
    async with serve_office(stage.house) as url, stage.sending():
        record = await large_refund(stage.house)
        async with working(told(stage, tmp_path, url)) as process:
            await ready(tmp_path)
            await approve(stage.house, "alice", record.approval_id)
            assert await stage.result(record.approval_id) == "done"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), STOPS_S_MAX) == 0
    assert stage.house.executor.amounts() == [LARGE]


async def test_a_temporal_without_our_namespace_is_named_in_one_line(
    stage: Stage, tmp_path: Path
) -> None:
    wanted = told(stage, tmp_path, "http://127.0.0.1:9", TEMPORAL_NAMESPACE="nowhere")
    async with working(wanted) as process, asyncio.timeout(PATIENCE_S):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"namespace named 'nowhere'" in said.splitlines()[-1]
    assert b"Traceback" not in said


async def test_a_worker_that_is_killed_is_replaced_by_the_next_one(
    stage: Stage, tmp_path: Path
) -> None:
    async with serve_office(stage.house) as url, stage.sending():
        record = await large_refund(stage.house)
        async with working(told(stage, tmp_path, url)) as process:
            await ready(tmp_path)
            process.kill()
            await process.wait()
        await approve(stage.house, "alice", record.approval_id)
        (tmp_path / "ready").unlink()
        async with working(told(stage, tmp_path, url)):
            assert await stage.result(record.approval_id) == "done"
    assert stage.house.executor.amounts() == [LARGE]


async def test_a_worker_that_starts_before_temporal_waits_for_it(
    stage: Stage, tmp_path: Path
) -> None:
    late = tmp_path / "proxy.sock"
    async with serve_office(stage.house) as url:
        wanted = told(stage, tmp_path, url, TEMPORAL_PROXY=str(late))
        async with working(wanted) as process:
            await waits(process)
            assert not (tmp_path / "ready").exists()
            late.symlink_to(stage.access.temporal_proxy)
            await ready(tmp_path)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), STOPS_S_MAX) == 0


async def test_a_worker_can_be_stopped_while_it_waits_for_temporal(
    stage: Stage, tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone.sock")
    wanted = told(stage, tmp_path, "http://127.0.0.1:9", TEMPORAL_PROXY=gone)
    async with working(wanted) as process:
        await waits(process)
        process.send_signal(signal.SIGTERM)
        limit_s = WORKER_CONNECT_S_MAX + STOPS_S_MAX
        assert await asyncio.wait_for(process.wait(), limit_s) == 0


async def test_a_worker_without_its_settings_says_which_and_ends(
    stage: Stage, tmp_path: Path
) -> None:
    wanted = told(stage, tmp_path, "http://127.0.0.1:9")
    (tmp_path / "worker" / "codec.key").unlink()
    async with working(wanted) as process:
        assert await asyncio.wait_for(process.wait(), STOPS_S_MAX) == 1


def test_what_one_worker_does_at_once_is_bounded() -> None:
    assert RUNS_AT_ONCE_MAX <= CACHED_RUNS_MAX
    assert QUESTIONS_AT_ONCE_MAX <= 64

"""Approvals that are open survive a new version: recorded histories replay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.workflow import NondeterminismError

from broker.core.approvals.messages import TELL, WORKFLOW
from tests.support.approvals.timekeeping import KEYS
from tests.workflows.record import HISTORIES, ID, SCENES
from workflows.approval import Approval
from workflows.codec import sealing_converter
from workflows.messages import LOOK

RECORDED = sorted(HISTORIES.glob("*.json"))


def history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(ID, path.read_text("utf-8"))


def test_every_scene_has_a_history_and_no_history_is_lost() -> None:
    assert {path.stem for path in RECORDED} >= {*SCENES}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_run_replays_with_the_workflow_of_today(path: Path) -> None:
    replayer = Replayer(workflows=[Approval], data_converter=sealing_converter(KEYS))
    await replayer.replay_workflow(history(path))


@workflow.defn(name=WORKFLOW)
class Hasty:
    """What somebody might make of it: it sleeps before it looks."""

    @workflow.run
    async def run(self, approval_id: str) -> str:
        await asyncio.sleep(1)
        return await workflow.execute_activity(
            LOOK, approval_id, start_to_close_timeout=timedelta(seconds=1)
        )

    @workflow.update(name=TELL)
    def tell(self) -> None:
        """Take it in."""


async def test_a_changed_workflow_that_would_break_open_runs_is_noticed() -> None:
    replayer = Replayer(
        workflows=[Hasty],
        data_converter=sealing_converter(KEYS),
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(history(RECORDED[0]))


@workflow.defn(name=WORKFLOW)
class Impatient(Approval):
    """The run of today, but that it waits a little before it first looks."""

    @workflow.init
    def __init__(self, approval_id: str) -> None:
        super().__init__(approval_id)

    @workflow.run
    async def run(self, approval_id: str) -> str:
        await asyncio.sleep(1)
        return await super().run(approval_id)


@workflow.defn(name=WORKFLOW)
class Patched(Approval):
    """The same change, made so that runs which were begun before it go on."""

    @workflow.init
    def __init__(self, approval_id: str) -> None:
        super().__init__(approval_id)

    @workflow.run
    async def run(self, approval_id: str) -> str:
        if workflow.patched("waits-first"):
            await asyncio.sleep(1)
        return await super().run(approval_id)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_one_more_step_breaks_every_open_run_unless_it_is_patched_in(
    path: Path,
) -> None:
    def replayer(definition: type) -> Replayer:
        return Replayer(
            workflows=[definition],
            data_converter=sealing_converter(KEYS),
            workflow_runner=UnsandboxedWorkflowRunner(),
        )

    with pytest.raises(NondeterminismError):
        await replayer(Impatient).replay_workflow(history(path))
    await replayer(Patched).replay_workflow(history(path))


def test_histories_hold_nothing_in_clear() -> None:
    for path in RECORDED:
        text = path.read_text("utf-8")
        assert "pending_approval" not in text
        assert "anNvbi9wbGFpbg" not in text  # json/plain, as the encoding is written

"""The words that broker and worker share: changed ones would break open approvals."""

from __future__ import annotations

from broker.core.approvals import messages
from workflows.approval import Approval


def test_the_names_that_open_runs_were_started_under_stay_the_same() -> None:
    assert messages.WORKFLOW == "approval"
    assert messages.TELL == "tell"


def test_the_workflow_is_defined_under_these_names() -> None:
    definition = Approval.__temporal_workflow_definition  # type: ignore[attr-defined]  # noqa: SLF001
    assert definition.name == messages.WORKFLOW
    assert set(definition.updates) == {messages.TELL}
    assert messages.TOLD_MAX < 1_000

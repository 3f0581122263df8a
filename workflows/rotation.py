"""The clock of key rotations: tells the broker, once in a while, to see if it is time.

It knows no key, no age and no policy, and carries nothing: the broker decides from its
signed rows. Whoever forges a run makes it look once more.

Source: docs/adr/0002 (workflow code imports core only); DESIGN, chapter 4 (Temporal).
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from workflows.messages import ROTATE, ROTATION

ROTATE_S_MAX = 20
"""Longest answer of the broker, in seconds."""

TRIES_MAX = 5
"""The next run of the schedule is another try, and each broker looks by itself too."""


@workflow.defn(name=ROTATION)
class Rotation:
    """One look at whether a signing key has signed long enough."""

    @workflow.run
    async def run(self) -> bool:
        """Have the broker rotate if it is time; return whether it was."""
        rotated: bool = await workflow.execute_activity(
            ROTATE,
            start_to_close_timeout=timedelta(seconds=ROTATE_S_MAX),
            retry_policy=RetryPolicy(maximum_attempts=TRIES_MAX),
            result_type=bool,
        )
        return rotated

"""An executor that is silent costs one call a wait, and those after it none."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from broker.core.jwk import Algorithm
from broker.core.words.errors import ExecutorUnavailableError
from broker.effects.executor import HELLO_KEPT_S, HELLO_S_MAX
from broker.effects.keyfiles import publish_key
from tests.support.flow.fake_runner import made
from tests.support.identities import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.warrants.sandbox import Sandbox

SLACK_S = 1.5


async def _nothing(_: Sandbox) -> None:
    """Record nothing."""


async def test_a_silent_executor_is_unavailable_and_not_waited_for_again(
    tmp_path: Path,
) -> None:
    greeted: list[bytes] = []
    over = asyncio.Event()

    async def silent(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        greeted.append(await reader.read(4))
        await over.wait()
        writer.close()

    path = tmp_path / "r.sock"
    publish_key(tmp_path / "receipt.jwk", key_of("edge", Algorithm.EDDSA).public())
    server = await asyncio.start_unix_server(silent, str(path))
    executor = made(tmp_path, _nothing)
    took = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(ExecutorUnavailableError) as caught:
            await executor.address()
        took.append(time.monotonic() - began)
        assert caught.value.retry_after_s
    assert HELLO_S_MAX <= took[0] < HELLO_S_MAX + SLACK_S
    assert max(took[1:]) < HELLO_S_MAX / 2
    assert len(greeted) == 1
    # It may be back by now: it is asked again.
    await asyncio.sleep(HELLO_KEPT_S)
    with pytest.raises(ExecutorUnavailableError):
        await executor.address()
    assert len(greeted) == 2
    over.set()
    await executor.close()
    server.close()
    await asyncio.sleep(0.05)

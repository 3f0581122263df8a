"""The line to the runner: pooled connections, and as many calls at once as it takes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from broker.core.canonical import CanonicalError
from broker.core.frames import (
    HEADER_BYTES,
    FrameError,
    body_bytes,
    decode_body,
    encode_frame,
)
from broker.core.words.errors import ExecutorUnavailableError
from broker.effects.runner.place import Streams, TlsRunner, dial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

FRAME_MAX = 2 * 1_048_576
CALLS_MAX = 32
"""Runs and notices at once."""
QUESTIONS_MAX = 8
"""Greetings and questions of what was sent, at once: no slow run is in their way."""
PLACE_S_MAX = 2.0
"""How long a call waits for a place; a warrant outlasts this and CONNECT_S_MAX."""
CONNECT_S_MAX = 2.0
RETRY_AFTER_S = 2
_QUESTIONS = frozenset({"hello", "ask"})


class LostAnswerError(Exception):
    """A message may have reached the runner, and no answer came back."""


def down(msg: str) -> ExecutorUnavailableError:
    """Return the error for what cannot have been sent."""
    hint = "try again; nothing was sent"
    return ExecutorUnavailableError(msg, hint=hint, retry_after_s=RETRY_AFTER_S)


class Line:
    """Connections to one runner, each used by one call at a time."""

    def __init__(self, place: str | TlsRunner) -> None:
        """Keep where the runner listens; nothing is opened yet."""
        self._place = place
        self._idle: list[Streams] = []
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._questions = asyncio.Semaphore(QUESTIONS_MAX)

    async def call(
        self, message: Mapping[str, Any], *, within_s: float
    ) -> dict[str, Any]:
        """Send one frame and read one; the connection is reused if all went well.

        Args:
            message: What is said; its ``op`` tells questions from calls.
            within_s: How long the answer may take, once there are a place and a
                connection: at most PLACE_S_MAX + CONNECT_S_MAX before that.

        Raises:
            ExecutorUnavailableError: the message cannot have reached the runner.
            LostAnswerError: it may have.
        """
        data = encode_frame(message, frame_max=FRAME_MAX)
        asks = message["op"] in _QUESTIONS
        places = self._questions if asks else self._calls
        async with _taken(places), self._connection() as (reader, writer):
            try:
                async with asyncio.timeout(within_s):
                    writer.write(data)
                    await writer.drain()
                    header = await reader.readexactly(HEADER_BYTES)
                    body = await reader.readexactly(
                        body_bytes(header, frame_max=FRAME_MAX)
                    )
                    return decode_body(body, frame_max=FRAME_MAX, floats=True)
            except (
                OSError,
                TimeoutError,
                asyncio.IncompleteReadError,
                FrameError,
                CanonicalError,
            ) as error:
                msg = "the runner's answer was lost"
                raise LostAnswerError(msg) from error

    def close(self) -> None:
        """Close idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Streams]:
        streams = self._take_idle() or await self._connect()
        try:
            yield streams
        except BaseException:
            streams[1].close()
            raise
        self._idle.append(streams)

    def _take_idle(self) -> Streams | None:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _connect(self) -> Streams:
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                return await dial(self._place)
        except (OSError, TimeoutError) as error:
            msg = "the runner does not answer"
            raise down(msg) from error


@asynccontextmanager
async def _taken(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """Take a place, or say in time that there is none."""
    try:
        async with asyncio.timeout(PLACE_S_MAX):
            await places.acquire()
    except TimeoutError as error:
        msg = "the executor has no place for one more call"
        raise down(msg) from error
    try:
        yield
    finally:
        places.release()

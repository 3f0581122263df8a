"""One stream per tab that says: something changed, look again; nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.responses import StreamingResponse

from broker.api.console import sessions
from broker.api.console.drawing import security_headers
from broker.api.console.room import PULSE_S, STREAMS_MAX
from broker.core.words.errors import (
    UnauthenticatedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fastapi import Request
    from starlette.responses import Response

    from broker.api.console.room import Room

STILL_HERE_S: Final = 15.0
"""How often a quiet stream says that it is there, and looks at its session."""

RETRY_MS: Final = 1_000


def stream(request: Request, *, signed_in: Callable[[], Awaitable[bool]]) -> Response:
    """Return the stream of whoever follows; ``signed_in`` says whether they still may.

    Raises:
        UnavailableError: this replica keeps as many tabs up to date as it can.
    """
    room: Room = request.app.state.console
    if room.streams >= STREAMS_MAX:
        msg = "too many tabs are open here"
        raise UnavailableError(msg, hint="close some", retry_after_s=int(STILL_HERE_S))
    headers = security_headers() | {"X-Accel-Buffering": "no"}
    return StreamingResponse(
        _changes(request, room, signed_in),
        media_type="text/event-stream",
        headers=headers,
    )


async def _changes(
    request: Request, room: Room, signed_in: Callable[[], Awaitable[bool]]
) -> AsyncIterator[str]:
    room.streams += 1
    try:
        # Who comes back says what they saw last: what they missed is told at once.
        known = request.headers.get("last-event-id", "") or await _pulse(room, "")
        yield f"retry: {RETRY_MS}\nid: {known}\nevent: here\ndata:\n\n"
        quiet_s = 0.0
        while not room.closing.is_set():
            now = await _pulse(room, known)
            if now != known:
                known, quiet_s = now, 0.0
                yield f"id: {known}\nevent: changed\ndata:\n\n"
            elif quiet_s >= STILL_HERE_S:
                quiet_s = 0.0
                if not await signed_in():
                    yield "event: signed-out\ndata:\n\n"
                    return
                yield ": still here\n\n"
            await _sleep(room)
            quiet_s += PULSE_S
    finally:
        room.streams -= 1


async def _pulse(room: Room, known: str) -> str:
    """Ask what holds now; while the database is away, nothing is known to change."""
    try:
        return await room.pulse.now()
    except UnavailableError:
        return known


async def session_lasts(request: Request) -> bool:
    """Return whether the session of a request lasts; not known is not over."""
    try:
        await sessions.current(request)
    except UnauthenticatedError:
        return False
    except UnavailableError:
        return True
    return True


async def _sleep(room: Room) -> None:
    """Wait a little, or until this replica stops."""
    try:
        async with asyncio.timeout(PULSE_S):
            await room.closing.wait()
    except TimeoutError:
        return

"""Whether this replica can decide now: asked by anybody, looked at once a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastapi.responses import JSONResponse

from broker.core.words.errors import BrokerError, RestoredError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from broker.ports import Ports

READY_KEPT_S: Final = 1.0
"""How long an answer stands; whoever asks meanwhile costs the parts nothing."""


class Readiness:
    """The newest answer of one replica."""

    def __init__(self) -> None:
        """Begin without one."""
        self._looking = asyncio.Lock()
        self._kept: tuple[float, Mapping[str, str], int] | None = None

    async def answer(self, ports: Ports) -> Response:
        """Say whether it can decide, and what is missing if it cannot."""
        clock = asyncio.get_running_loop().time
        async with self._looking:
            if self._kept is None or clock() - self._kept[0] >= READY_KEPT_S:
                said, status = await _look(ports)
                self._kept = (clock(), said, status)
            _, said, status = self._kept
        return JSONResponse(dict(said), status)


async def _look(ports: Ports) -> tuple[Mapping[str, str], int]:
    try:
        await ports.journal.ready()
        await ports.executor.address()
        await ports.authority.approvers()
    except RestoredError as error:
        # It answers, so that people can agree; nothing is decided meanwhile.
        return {"status": "held", "detail": error.detail}, 200
    except BrokerError as error:
        return {"status": "waiting", "code": error.code, "detail": error.detail}, 503
    return {"status": "ready"}, 200

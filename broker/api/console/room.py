"""What the console needs, put together once by `broker.wiring`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.jwk import PrivateKey
    from broker.ports import Desk

PULSE_S: Final = 0.5
"""How long an answer about changes is shared among the tabs of a replica."""

STREAMS_MAX: Final = 200
"""Tabs that one replica keeps up to date at once."""


class Tickets(Protocol):
    """Links and sessions, under the hashes of their secrets."""

    async def keep(
        self, name: bytes, *, kind: str, signed: str, expires_at: datetime
    ) -> None:
        """Keep a new ticket."""

    async def find(self, name: bytes, *, kind: str) -> str | None:
        """Return a ticket that was not ended early, signed as it is; or None."""

    async def end(self, name: bytes, *, kind: str) -> str | None:
        """End a ticket for good, and return it; None if it was ended before."""


class Pulse:
    """Asks for all tabs of a replica at once whether something changed."""

    def __init__(self, desk: Desk) -> None:
        """Keep whom to ask; nobody is asked before somebody listens."""
        self._desk = desk
        self._asking = asyncio.Lock()
        self._known = ""
        self._until_s = float("-inf")

    async def now(self) -> str:
        """Return a text that changes when an approval, or what came of it, changes."""
        async with self._asking:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._until_s:
                self._known = await self._desk.pulse()
                self._until_s = loop.time() + PULSE_S
            return self._known


@dataclass(slots=True)
class Room:
    """What the console is made of.

    ``key`` signs tickets; None refuses sign-in by link, as production does. ``closing``
    is set when this replica stops, so that no open stream keeps it.
    """

    issuer: str
    key: PrivateKey | None
    tickets: Tickets
    pulse: Pulse
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    streams: int = 0

    @property
    def secure(self) -> bool:
        """Return whether people reach us by https."""
        return self.issuer.startswith("https://")

    @property
    def cookie(self) -> str:
        """Return the cookie's name.

        Ports of one host share their cookies, so on loopback each stack has its own.
        """
        if self.secure:
            return "__Host-counterfoil"
        return f"counterfoil-{self.issuer.rpartition(':')[2]}"

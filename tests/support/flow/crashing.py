"""Die between two steps: ports whose every call can be the last one.

A step is one call of a port that can leave something behind. The process "dies" before
the call or right after it; whatever the call did stays done, and nothing runs any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.ports import Ports

WATCHED = {
    "store": {"submit", "claim", "take_over", "rearm", "refuse", "finish"},
    "executor": {"address", "run", "ask"},
    "journal": {"ready", "record"},
    "rates": {"check"},
    "authority": {"view"},
}


class Died(BaseException):
    """The process ended here."""


@dataclass
class Fuse:
    """Counts steps; ``at`` is the one to die at, ``after`` whether it is still made."""

    at: int = -1
    after: bool = False
    count: int = 0
    steps: list[str] = field(default_factory=list)

    def end(self, step: str) -> None:
        """End it all."""
        raise Died(step)


class _Watched:
    def __init__(self, port: Any, name: str, fuse: Fuse) -> None:
        self._port = port
        self._name = name
        self._fuse = fuse

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._port, method)
        if method not in WATCHED[self._name]:
            return call
        return self._stepped(call, f"{self._name}.{method}")

    def _stepped(
        self, call: Callable[..., Awaitable[Any]], step: str
    ) -> Callable[..., Awaitable[Any]]:
        fuse = self._fuse

        async def stepped(*args: Any, **kwargs: Any) -> Any:
            number = fuse.count
            fuse.count += 1
            fuse.steps.append(step)
            if number == fuse.at and not fuse.after:
                fuse.end(step)
            done = await call(*args, **kwargs)
            if number == fuse.at:
                fuse.end(step)
            return done

        return stepped


def fused(ports: Ports, fuse: Fuse) -> Ports:
    """Return ports that count steps, and die at one."""
    watched: dict[str, Any] = {
        name: _Watched(getattr(ports, name), name, fuse) for name in WATCHED
    }
    return replace(ports, **watched)

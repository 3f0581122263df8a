"""All upstreams that credentials lead to, web and mail, each by its route."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from broker.edge.egress.addresses import look_up
from broker.edge.egress.mail import MailUpstream
from broker.edge.egress.tls import TlsError
from broker.edge.egress.upstream import Upstream, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.edge.egress.route import Route
    from broker.edge.egress.upstream import Answer, Outgoing

UPSTREAMS_MAX: Final = 128
"""Upstreams whose pools are kept; a credential that was switched leaves one behind."""

RETIRE_AFTER_S: Final = 60.0


class Upstreams:
    """The upstreams that credentials name, each with its pools."""

    def __init__(
        self, resolve: Callable[[str, int], Awaitable[list[str]]] = look_up
    ) -> None:
        """Begin with none; ``resolve`` returns a host's addresses."""
        self._resolve = resolve
        self._known: OrderedDict[Route, Upstream | MailUpstream] = OrderedDict()
        self._retired: set[asyncio.Task[None]] = set()

    async def send(
        self,
        route: Route,
        outgoing: Outgoing,
        guard: Callable[[], Awaitable[None]],
    ) -> Answer:
        """Send to where the credential belongs, and nowhere else.

        Raises:
            UpstreamError: No usable answer came.
        """
        return await self._at(route).send(outgoing, guard=guard)

    async def ask(self, route: Route, outgoing: Outgoing) -> Answer:
        """Send what no warrant stands behind, such as a form to a token endpoint.

        Raises:
            UpstreamError: No usable answer came.
        """
        return await self._at(route).send(outgoing, guard=_nothing)

    def _at(self, route: Route) -> Upstream | MailUpstream:
        upstream = self._known.get(route)
        if upstream is None:
            try:
                upstream = self._made(route)
            except TlsError as error:
                code = "upstream_unreachable"
                raise UpstreamError(code, str(error), sent=False) from None
            self._known[route] = upstream
        self._known.move_to_end(route)
        while len(self._known) > UPSTREAMS_MAX:
            _, old = self._known.popitem(last=False)
            task = asyncio.create_task(_retire(old))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        return upstream

    def _made(self, route: Route) -> Upstream | MailUpstream:
        if route.endpoint.is_mail:
            return MailUpstream(route, now=_now, resolve=self._resolve)
        return Upstream(
            route.endpoint,
            allow_private=route.allow_private,
            tls=route.tls,
            resolve=self._resolve,
        )

    @property
    def kept(self) -> int:
        """Return how many upstreams have pools that may be used again."""
        return len(self._known)

    async def close(self) -> None:
        """Close what is kept alive."""
        for task in self._retired:
            task.cancel()
        for upstream in self._known.values():
            await upstream.close()


async def _nothing() -> None:
    """Let a request out that no warrant stands behind."""


async def _retire(upstream: Upstream | MailUpstream) -> None:
    """Close what is no longer used, when no request can be under way on it."""
    await asyncio.sleep(RETIRE_AFTER_S)
    await upstream.close()


def _now() -> datetime:
    return datetime.now(UTC)

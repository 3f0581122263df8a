"""Find an upstream's address once, and refuse those that no upstream may have.

A name that anybody can change must not lead to the machine's own services, to the
cloud's metadata, or to the network behind it. The address that was checked is the one
that is dialled; the name is not looked up a second time.

Source: RFC 6890 (special-purpose addresses); RFC 6052 and 4291 (IPv4 inside IPv6).
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

import httpcore

from broker.core.identity.addresses import refused
from broker.edge.egress.tls import pinned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

RESOLVE_S_MAX: Final = 3.0
ADDRESSES_MAX: Final = 32


class AddressError(httpcore.ConnectError):
    """A name leads to an address that is not allowed, or to none."""


async def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system finds them.

    Raises:
        AddressError: It has none, or the resolver took too long.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_S_MAX):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        msg = "the upstream's name has no address"
        raise AddressError(msg) from None
    return [str(entry[4][0]) for entry in found[:ADDRESSES_MAX]]


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Dial only addresses that were checked, a name looked up once per connection."""

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Callable[[str, int], Awaitable[list[str]]] = look_up,
        pins: Iterable[str] = (),
    ) -> None:
        """Dial for one upstream.

        Args:
            allow_private: Private addresses were declared.
            resolve: Returns a host's addresses.
            pins: Public keys that may answer; none for any.
        """
        self._allow_private = allow_private
        self._pins = tuple(pins)
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the base class's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Look the host up, refuse it if any address is not allowed, and dial one.

        Raises:
            AddressError: An address is not allowed: a name with good and bad ones is
                somebody's attempt.
        """
        addresses = await self._resolve(host, port)
        bad = [a for a in addresses if refused(a, allow_private=self._allow_private)]
        if bad or not addresses:
            msg = "the upstream's name leads to an address that is not allowed"
            raise AddressError(msg)
        stream = await self._network.connect_tcp(
            addresses[0],
            port,
            timeout=timeout,
            local_address=local_address,
            socket_options=socket_options,
        )
        return pinned(stream, self._pins)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  (the base class's signature)
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no upstream is a local socket."""
        del path, timeout, socket_options
        msg = "no upstream is a local socket"
        raise AddressError(msg)

    async def sleep(self, seconds: float) -> None:
        """Wait; the pool asks for it between attempts."""
        await self._network.sleep(seconds)

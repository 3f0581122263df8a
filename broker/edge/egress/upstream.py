"""Send a request to an upstream, and take back status, content type and body only.

Reads share kept-alive connections. An effectful request always dials one of its own: a
kept one may have been closed by the other side in the meantime, and then nobody could
tell whether the request was taken. A failed dial is surely not sent.

Nothing comes from the environment (no proxy), no redirect is followed, no encoding is
undone, and nothing is ever sent a second time.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import httpcore

from broker.edge.egress.addresses import AddressError, CheckedNetwork, look_up
from broker.edge.egress.tls import SYSTEM_TLS, PinError, Tls, context_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.edge.egress.route import Endpoint

CONNECT_S_MAX: Final = 5.0
IDLE_S_MAX: Final = 15.0
"""Kept shorter than most servers do, so that they rarely hang up first."""

CONNECTIONS_MAX: Final = 32
CONTENT_TYPE_CHARS_MAX: Final = 100

OVERSIZED: Final = "oversized"

# httpcore looks for sniffio at every lock it makes, five times a request. Where that is
# not installed that costs 1.2 ms of searching the path (measured); None ends it.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

# The library's own lines quote what upstreams send, at whatever level is asked for.
logging.getLogger("httpcore").setLevel(logging.CRITICAL + 1)

_REDIRECTS = range(300, 400)
_NOT_MODIFIED = 304
_STATUSES = range(200, 1000)
_CONTENT_TYPE = re.compile(rf"[\x21-\x7e][\x20-\x7e]{{0,{CONTENT_TYPE_CHARS_MAX - 1}}}")
_UNKNOWN_TYPE = "application/octet-stream"
_WRITES = "http11.send_request_headers.started"


class UpstreamError(Exception):
    """A request that got no usable answer.

    Attributes:
        code: Stable word for what went wrong.
        sent: Whether any of the request may have reached the upstream.
        status: The upstream's status if one came, else 0.
    """

    def __init__(self, code: str, detail: str, *, sent: bool, status: int = 0) -> None:
        """Keep what happened; ``detail`` holds nothing of request or response."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.sent = sent
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request as it leaves: computed by the edge, with the credential."""

    method: str
    target: str
    body: bytes | None
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    key_header: str
    key: str
    fresh: bool
    timeout_s: float
    response_bytes_max: int
    content_type: bytes = b"application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    content_type: str
    body: bytes
    address: str
    ms: int

    @property
    def sha256(self) -> str:
        """Return the hex digest of the body."""
        return sha256(self.body).hexdigest()


@dataclass(slots=True)
class _Progress:
    """How far a request came; `sent` is set before the first byte is written."""

    sent: bool = False
    status: int = 0


class Upstream:
    """One upstream: the pool for reads, and connections of their own for effects."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        allow_private: bool,
        tls: Tls = SYSTEM_TLS,
        resolve: Callable[[str, int], Awaitable[list[str]]] = look_up,
    ) -> None:
        """Prepare pools; nothing is dialled yet.

        Raises:
            TlsError: Certificate and key do not belong together, or are none.
        """
        self._endpoint = endpoint
        context = context_of(tls) if endpoint.scheme == "https" else None
        network = CheckedNetwork(
            allow_private=allow_private, resolve=resolve, pins=tls.pins
        )
        self._kept = _pool(context, network, idle=CONNECTIONS_MAX)
        self._fresh = _pool(context, network, idle=0)

    async def send(
        self, outgoing: Outgoing, *, guard: Callable[[], Awaitable[None]]
    ) -> Answer:
        """Send one request and return the whole answer.

        Args:
            outgoing: The request.
            guard: Awaited when the connection stands and before the first byte is
                written; raising there keeps the request from being sent.

        Raises:
            UpstreamError: No usable answer came; ``sent`` says whether the upstream may
                have seen the request.
        """
        began = time.monotonic()
        progress = _Progress()
        try:
            async with asyncio.timeout(outgoing.timeout_s):
                return await self._exchange(outgoing, guard, progress, began)
        except UpstreamError:
            raise
        except (TimeoutError, httpcore.TimeoutException):
            problem, detail = "upstream_timeout", "no answer in time"
        except AddressError as error:
            problem, detail = "address_refused", str(error)
        except PinError as error:
            problem, detail = "pin_refused", str(error)
        except (httpcore.ConnectError, ssl.SSLError):
            problem, detail = "upstream_unreachable", "no connection"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            problem, detail = "upstream_broken", "the connection broke"
        raise UpstreamError(
            problem, detail, sent=progress.sent, status=progress.status
        ) from None

    async def close(self) -> None:
        """Close what is kept alive."""
        await self._kept.aclose()
        await self._fresh.aclose()

    async def _exchange(
        self,
        outgoing: Outgoing,
        guard: Callable[[], Awaitable[None]],
        progress: _Progress,
        began: float,
    ) -> Answer:
        async def trace(event: str, _: dict[str, Any]) -> None:
            if event == _WRITES:
                await guard()
                progress.sent = True

        pool = self._fresh if outgoing.fresh else self._kept
        timeouts = {"connect": CONNECT_S_MAX, "pool": CONNECT_S_MAX}
        async with pool.stream(
            outgoing.method,
            self._url(outgoing.target),
            headers=self._headers(outgoing),
            content=outgoing.body,
            extensions={"trace": trace, "timeout": timeouts},
        ) as response:
            progress.status = response.status
            said = _content_type(response)
            body = await _body(response, bytes_max=outgoing.response_bytes_max)
            stream = response.extensions["network_stream"]
            peer = stream.get_extra_info("server_addr")
        return Answer(
            status=response.status,
            content_type=said,
            body=body,
            address=f"{peer[0]}:{peer[1]}" if peer else "",
            ms=round((time.monotonic() - began) * 1000),
        )

    def _url(self, target: str) -> httpcore.URL:
        return httpcore.URL(
            scheme=self._endpoint.scheme.encode("ascii"),
            host=self._endpoint.host.encode("ascii"),
            port=self._endpoint.port,
            target=(self._endpoint.prefix + target).encode("ascii"),
        )

    def _headers(self, outgoing: Outgoing) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"Host", self._endpoint.authority.encode("ascii")),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"counterfoil-edge"),
            *outgoing.headers,
        ]
        if outgoing.body is not None:
            headers += [
                (b"Content-Type", outgoing.content_type),
                (b"Content-Length", b"%d" % len(outgoing.body)),
            ]
        elif outgoing.method != "GET":
            headers.append((b"Content-Length", b"0"))
        if outgoing.key_header and outgoing.key:
            name = outgoing.key_header.encode("ascii")
            headers.append((name, outgoing.key.encode("ascii")))
        return headers


def _pool(
    context: ssl.SSLContext | None, network: CheckedNetwork, *, idle: int
) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=CONNECTIONS_MAX,
        max_keepalive_connections=idle,
        keepalive_expiry=IDLE_S_MAX,
        http1=True,
        http2=False,
        retries=0,
        network_backend=network,
    )


def _content_type(response: httpcore.Response) -> str:
    """Return the content type, if the answer is one that the edge passes on."""
    status = response.status

    def refused(*, code: str, detail: str) -> UpstreamError:
        return UpstreamError(code, detail, sent=True, status=status)

    if status not in _STATUSES:
        raise refused(code="upstream_broken", detail="no status of an answer")
    if status in _REDIRECTS and status != _NOT_MODIFIED:
        raise refused(code="redirect", detail="the upstream answered with a redirect")
    said = {name.lower(): value for name, value in response.headers}
    if said.get(b"content-encoding", b"identity").lower() != b"identity":
        raise refused(code="encoding", detail="the upstream encoded its answer")
    text = said.get(b"content-type", b"").decode("latin-1")
    return text if _CONTENT_TYPE.fullmatch(text) else _UNKNOWN_TYPE


async def _body(response: httpcore.Response, *, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_stream():
        size += len(part)
        if size > bytes_max:
            detail = f"the answer is longer than {bytes_max} bytes"
            status = response.status
            raise UpstreamError(OVERSIZED, detail, sent=True, status=status)
        parts.append(part)
    return b"".join(parts)

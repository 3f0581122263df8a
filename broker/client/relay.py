"""The relay: what a framework sends arrives at the broker with a token and a proof.

It holds the agent's key, gets one token for each resource that is called, and adds the
proof of possession that no framework's own client makes yet. It changes nothing else:
the broker decides, and its answers come back as they are.

Source: RFC 9449; DESIGN, chapter 7 (Tokens).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

import httpx

from broker.client.keys import new_key
from broker.client.oauth import ATTEMPTS_MAX, Signer, TokenSource, now_utc, send
from broker.client.session import TIMEOUT_S, UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from types import TracebackType

    from broker.client.keys import ClientKey

RESOURCES_KEPT_MAX: Final = 256
"""Conversations whose tokens are kept; the one that was used longest ago goes first."""

SENT_ON: Final = frozenset(
    {
        *("accept", "content-type", "counterfoil-interaction", "idempotency-key"),
        *("mcp-method", "mcp-name", "mcp-protocol-version"),
    }
)
SENT_BACK: Final = frozenset(
    {
        *("cache-control", "content-type", "location", "retry-after"),
        *("ratelimit", "ratelimit-policy", "allow"),
    }
)
# Nothing that somebody on the way might read as another path: no dot segments, and no
# character that would have to be encoded.
_PATH = re.compile(
    r"(/v1|/mcp(?:/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?)"
    r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*"
)


class NotRelayedError(ValueError):
    """A path that leads to no resource of an agent."""


class Relay:
    """Sends requests on in the name of one agent, from one running instance.

    Use it as an asynchronous context manager, or `close` it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: ClientKey,
        http: httpx.AsyncClient | None = None,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        """Keep who calls whom; nothing is sent yet.

        Args:
            base_url: A broker, such as ``http://127.0.0.1:8400``.
            key: The agent's key file, read.
            http: A connection pool to share; it is then not closed here.
            now: The clock.
        """
        self.base_url = base_url.rstrip("/")
        self._client_id = key.client_id
        self._owns_http = http is None
        # The environment's proxies are not asked: nobody else is to see the tokens.
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
        self._key = Signer(key.key, now=now)
        self._instance = Signer(new_key(), now=now)
        self._sources: OrderedDict[str, TokenSource] = OrderedDict()

    async def __aenter__(self) -> Self:
        """Return the relay."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections, if they are this relay's own."""
        if self._owns_http:
            await self._http.aclose()

    async def ready(self) -> None:
        """Get a first token, so that a wrong key is known before anything is asked.

        Raises:
            RefusedError: There is none for this agent.
            UnreachableError: Nobody answered.
        """
        await self._source("/v1").token()

    async def forward(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> httpx.Response:
        """Send a request on, and return the broker's answer.

        Repeats it for a nonce, or once for a new token: both times the broker has said
        that it did nothing.

        Args:
            method: As it was called.
            path: Absolute, and not decoded.
            query: Without the question mark.
            headers: All that came; only SENT_ON go on.
            body: As it came.

        Raises:
            NotRelayedError: The path is none of an agent's.
            RefusedError: There is no token for this agent.
            UnreachableError: Nobody answered.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            msg = "only /v1 and /mcp are relayed"
            raise NotRelayedError(msg)
        source = self._source(found[1])
        url = f"{self.base_url}{path}"
        kept = [(name, value) for name, value in headers if name.lower() in SENT_ON]
        renewed, attempts = False, 0
        while True:
            attempts += 1
            token = await source.token()
            proof = self._instance.proof(method, url, token=token)
            own = [("authorization", f"DPoP {token}"), ("dpop", proof)]
            response = await send(
                self._http,
                method,
                f"{url}?{query}" if query else url,
                headers=[*kept, *own],
                content=body,
            )
            if self._instance.learn(response) and attempts < ATTEMPTS_MAX:
                continue
            if response.status_code == UNAUTHORIZED and not renewed:
                renewed = True
                source.forget()
                continue
            return response

    def _source(self, resource: str) -> TokenSource:
        source = self._sources.get(resource)
        if source is None:
            source = self._sources[resource] = TokenSource(
                http=self._http,
                base_url=self.base_url,
                client_id=self._client_id,
                key=self._key,
                instance=self._instance,
                resource=resource,
            )
        self._sources.move_to_end(resource)
        while len(self._sources) > RESOURCES_KEPT_MAX:
            self._sources.popitem(last=False)
        return source


def returned(response: httpx.Response) -> list[tuple[str, str]]:
    """Return the headers of the broker's answer that the framework gets."""
    return [
        (name, value)
        for name, value in response.headers.multi_items()
        if name.lower() in SENT_BACK
    ]

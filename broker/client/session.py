"""A session: calls with a token that is bound to this process's own key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from broker.client.answers import Answer, UnreachableError, answer_of
from broker.client.keys import new_key
from broker.client.oauth import ATTEMPTS_MAX, Signer, TokenSource, now_utc, send
from broker.client.trust import authorities

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from broker.core.jws import PrivateKey

TIMEOUT_S: Final = 40.0
"""Longer than the longest wait that the broker offers (``wait_s=30``)."""

UNAUTHORIZED: Final = 401


class Session:
    """Calls one broker in one name, with a fresh instance key.

    Use it as an asynchronous context manager, or `close` it.
    """

    RESOURCE = "/v1"

    def __init__(
        self,
        base_url: str,
        *,
        client_id: str,
        key: PrivateKey,
        resource: str = "",
        details: Sequence[Mapping[str, Any]] = (),
        http: httpx.AsyncClient | None = None,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        """Keep who calls whom; nothing is sent yet.

        Args:
            base_url: A broker, such as ``http://127.0.0.1:8400``.
            client_id: Such as ``agent:<id>``.
            key: What the client authenticates with.
            resource: Path of the resource, if it is not this class's own.
            details: ``authorization_details``, to ask for less than the row allows.
            http: A connection pool to share; it is then not closed here.
            now: The clock.
        """
        self.base_url = base_url.rstrip("/")
        self._owns_http = http is None
        self._http = http or httpx.AsyncClient(timeout=TIMEOUT_S, verify=authorities())
        self.instance = Signer(new_key(), now=now)
        self.tokens = TokenSource(
            http=self._http,
            base_url=self.base_url,
            client_id=client_id,
            key=Signer(key, now=now),
            instance=self.instance,
            resource=resource or self.RESOURCE,
            details=details,
        )

    async def __aenter__(self) -> Self:
        """Return the session."""
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
        """Close the connections, if they are this session's own."""
        if self._owns_http:
            await self._http.aclose()

    async def lines(self, path: str) -> AsyncIterator[str]:
        """Yield the lines of an answer that goes on, until it ends.

        Raises:
            RefusedError: There is no token for this client, or the answer is a problem.
            UnreachableError: Nobody answered, or the connection broke.
        """
        url = self.base_url + path
        for attempt in range(ATTEMPTS_MAX):
            token = await self.tokens.token()
            headers = {
                "authorization": f"DPoP {token}",
                "dpop": self.instance.proof("GET", url, token=token),
            }
            try:
                async with self._http.stream("GET", url, headers=headers) as response:
                    again = self.instance.learn(response) and attempt < ATTEMPTS_MAX - 1
                    if response.is_error and not again:
                        await response.aread()
                        answer_of(response).checked()
                    if not again:
                        async for line in response.aiter_lines():
                            yield line
                        return
            except httpx.TransportError as error:
                msg = f"{self.base_url} does not answer ({type(error).__name__})"
                raise UnreachableError(msg) from error

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call with a token and a proof; repeat for a nonce, or once for a new token.

        Raises:
            RefusedError: There is no token for this client.
            UnreachableError: Nobody answered.
        """
        url = self.base_url + path
        renewed = False
        attempts = 0
        while True:
            attempts += 1
            token = await self.tokens.token()
            sent = dict(headers or {}) | {
                "authorization": f"DPoP {token}",
                "dpop": self.instance.proof(method, url, token=token),
            }
            response = await send(
                self._http, method, url, json=json, params=params, headers=sent
            )
            if self.instance.learn(response) and attempts < ATTEMPTS_MAX:
                continue
            if response.status_code == UNAUTHORIZED and not renewed:
                # It may have ended on the way, or been revoked; a new one will tell.
                renewed = True
                self.tokens.forget()
                continue
            return answer_of(response)

"""Put answers on the wire, as they are or as a fault bends them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Final

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from infra.democrm.words import Answer

_PIECE_BYTES: Final = 64 * 1024
_JSON: Final = "application/json"
_AMOUNTS: Final = ("amount_minor_units", "refunded_minor_units")


def plain(answer: Answer) -> Response:
    """Return the answer as it is."""
    return Response(
        _encoded(answer), answer.status, dict(answer.headers), media_type=_JSON
    )


def huge(answer: Answer, *, size_bytes: int) -> Response:
    """Return the answer with a member of ``size_bytes`` in front; still valid JSON.

    The length is not declared, so a reader has to count while reading.
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"padding":"'
        for start in range(0, size_bytes, _PIECE_BYTES):
            yield b"x" * min(_PIECE_BYTES, size_bytes - start)
        yield b'",' + _encoded(answer).removeprefix(b"{")

    return StreamingResponse(
        pieces(), answer.status, dict(answer.headers), media_type=_JSON
    )


def slow(answer: Answer, *, pause_s: float) -> Response:
    """Return the answer byte by byte, with a pause before each."""
    encoded = _encoded(answer)

    async def pieces() -> AsyncIterator[bytes]:
        for byte in encoded:
            await asyncio.sleep(pause_s)
            yield bytes([byte])

    headers = {**answer.headers, "Content-Length": str(len(encoded))}
    return StreamingResponse(pieces(), answer.status, headers, media_type=_JSON)


def echoed(answer: Answer, authorization: str) -> Answer:
    """Return the answer with the caller's credential in its body and headers."""
    return replace(
        answer,
        body={**_members(answer), "debug": {"authorization": authorization}},
        headers={**answer.headers, "X-Debug-Authorization": authorization},
    )


def overreported(answer: Answer, *, extra: int) -> Answer:
    """Return the answer with ``extra`` cents on every amount and total of refunds."""
    return replace(
        answer,
        body={
            name: _raised(name, inner, extra)
            for name, inner in _members(answer).items()
        },
    )


def _members(answer: Answer) -> Mapping[str, object]:
    if not isinstance(answer.body, Mapping):
        msg = "faults meet only endpoints that answer objects"
        raise TypeError(msg)
    return answer.body


def _raised(name: str, value: object, extra: int) -> object:
    if isinstance(value, dict):
        return {inner: _raised(inner, value[inner], extra) for inner in value}
    if isinstance(value, list):
        return [_raised(name, inner, extra) for inner in value]
    if name in _AMOUNTS and isinstance(value, int):
        return value + extra
    return value


class Dropped(Response):
    """No answer at all: the TCP connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection and wait until the server has noticed.

        Returning earlier would make the server log an error and try to answer 500.
        """
        del send
        drop: Callable[[], None] = scope["state"]["drop"]
        drop()
        while (await receive())["type"] != "http.disconnect":
            pass


def _encoded(answer: Answer) -> bytes:
    return json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode()

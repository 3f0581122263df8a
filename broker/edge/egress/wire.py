"""Read a child's HTTP/1.1 strictly, and answer it.

The bytes come from code that may be hostile. Whatever two parsers could read in two
ways is refused before the real parser sees it: bare line feeds, folded lines, a header
twice, any Transfer-Encoding, a length that is not plain digits.

Source: RFC 9112, sections 2.2, 3, 5 and 6.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import h11

from broker.edge.egress.rules import REQUEST_BYTES_MAX, Asked

HEAD_BYTES_MAX: Final = 16_384
HEADERS_MAX: Final = 16

_HEAD = re.compile(
    rb"[A-Z]{1,16} [\x21-\x7e]{1,8192} HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\x20-\x7e\t]*\r\n)*\r\n"
)
_METHODS = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"})
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,8}")
_WITHOUT_BODY = frozenset({204, 304})
# None of them is sent on; a connector that sends another one tries something.
_ALLOWED = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"user-agent",
    }
)


class WireError(Exception):
    """A request that is answered with a refusal and ends the call."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Keep the HTTP status, a stable code and a sentence."""
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


class Child:
    """The edge's end of a child's connection: one request after the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Speak over a stream whose reader was made with a limit of HEAD_BYTES_MAX."""
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(
            h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX
        )

    async def next(self) -> Asked | None:
        """Return the next request, or None once the child has ended the connection.

        Raises:
            WireError: The request is malformed, too large, or has a header that is not
                allowed.
        """
        head = await self._head()
        if head is None:
            return None
        length = _check_head(head)
        try:
            body = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise WireError(400, "malformed", "the body is cut off") from None
        return self._parse(head, body)

    async def answer(
        self, status: int, *, content_type: str, body: bytes, last: bool = False
    ) -> None:
        """Send a response; ``last`` says that the connection ends with it."""
        headers: list[tuple[str, str]] = []
        if status in _WITHOUT_BODY:
            body = b""
        else:
            headers.append(("content-length", str(len(body))))
        if body:
            headers.append(("content-type", content_type))
        if last:
            headers.append(("connection", "close"))
        data = self._send(h11.Response(status_code=status, headers=headers))
        if body:
            data += self._send(h11.Data(data=body))
        data += self._send(h11.EndOfMessage())
        self._writer.write(data)
        await self._writer.drain()
        if not last:
            self._http.start_next_cycle()

    async def _head(self) -> bytes | None:
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b"x" * (HEAD_BYTES_MAX + 1)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise WireError(400, "malformed", "the head is cut off") from None
            return None
        if len(head) > HEAD_BYTES_MAX:
            detail = f"request line and headers are over {HEAD_BYTES_MAX} bytes"
            raise WireError(431, "too_large", detail)
        return head

    def _parse(self, head: bytes, body: bytes) -> Asked:
        try:
            self._http.receive_data(head + body)
            request = self._http.next_event()
            while self._http.their_state is not h11.DONE:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    # Exactly one request was handed over; here it is none.
                    raise WireError(400, "malformed", "the request has no end")
        except h11.RemoteProtocolError as error:
            raise WireError(400, "malformed", str(error)) from None
        if not isinstance(request, h11.Request):
            raise WireError(400, "malformed", "no request")
        said = dict(request.headers)
        return Asked(
            method=request.method.decode("ascii"),
            target=request.target.decode("ascii"),
            content_type=said.get(b"content-type", b"").decode("ascii"),
            body=body,
        )

    def _send(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        return self._http.send(event) or b""


def _check_head(head: bytes) -> int:
    """Return how long the body is, if the head has one meaning and nothing extra."""
    if not _HEAD.fullmatch(head):
        raise WireError(400, "malformed", "the head is no plain HTTP/1.1")
    method, *lines = head.split(b"\r\n")[:-2]
    if method.partition(b" ")[0] not in _METHODS:
        # CONNECT and HEAD change how a message is framed, not only what it asks.
        raise WireError(403, "rule", "the method is not one of a manifest")
    if len(lines) > HEADERS_MAX:
        raise WireError(431, "too_large", f"more than {HEADERS_MAX} headers")
    said: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"transfer-encoding":
            raise WireError(400, "malformed", "a body has a Content-Length here")
        if name not in _ALLOWED:
            shown = name[:64].decode("ascii")
            raise WireError(403, "header", f"header {shown!r} is not allowed")
        if name in said:
            raise WireError(400, "malformed", "a header stands twice")
        said[name] = value.strip(b" \t")
    length = said.get(b"content-length", b"0")
    if not _LENGTH.fullmatch(length):
        raise WireError(400, "malformed", "the length is no plain number")
    if int(length) > REQUEST_BYTES_MAX:
        raise WireError(413, "too_large", f"more than {REQUEST_BYTES_MAX} bytes")
    return int(length)

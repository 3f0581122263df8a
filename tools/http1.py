"""Send HTTP/1.1 requests over an inherited descriptor and read the responses strictly.

The peer is the edge, on a local socket: no names, no TLS, no redirects, no encodings.
A whole HTTP library in a zygote would slow every fork down: its pages are mapped anew
each time.

Source: RFC 9112, sections 2 to 7.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from typing import Final

from tools.limits import HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX

_READ_BYTES: Final = 65_536
_END: Final = b"\r\n\r\n"
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_TARGET: Final = re.compile(r"/[\x21-\x7e]*")
_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2})(?: [^\r\n\x00]*)?")
_HEADER: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\x00]*?)[ \t]*"
)
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_NO_BODY: Final = (204, 304)


class HttpError(Exception):
    """The peer ended the connection, broke the protocol, or sent too much."""


class Connection:
    """A connection that carries one request after the other."""

    __slots__ = ("_buffer", "_closing", "_fd")

    def __init__(self, fd: int) -> None:
        """Speak over a blocking, connected descriptor."""
        self._fd = fd
        self._buffer = b""
        self._closing = False

    def exchange(
        self, method: str, target: str, *, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers by lower-case name, and the body.

        Raises:
            HttpError: No whole, well-formed response came.
            ValueError: The request itself cannot be written down.
        """
        head = _head(method, target, headers=headers, length=len(body))
        if self._closing or self._buffer:
            msg = "the edge has ended the connection"
            raise HttpError(msg)
        try:
            # A peer that refuses early answers first and then stops reading.
            with contextlib.suppress(BrokenPipeError):
                self._send(head + body)
            return self._receive(without_body=method == "HEAD")
        except OSError as error:
            self._closing = True
            msg = "the edge ended the connection"
            raise HttpError(msg) from error

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _receive(self, *, without_body: bool) -> tuple[int, dict[str, str], bytes]:
        # Until it was read to its end, the connection carries nothing else.
        self._closing = True
        head = self._until(_END, HTTP_HEAD_BYTES_MAX)
        first, *lines = head.split(b"\r\n")
        found = _STATUS_LINE.fullmatch(first)
        if not found:
            msg = "no status line"
            raise HttpError(msg)
        status, headers = int(found[1]), _headers(lines)
        if without_body or status in _NO_BODY:
            body = b""
        else:
            body = self._exactly(_length(headers))
        self._closing = "close" in headers.get("connection", "").lower()
        return status, headers, body

    def _until(self, mark: bytes, bytes_max: int) -> bytes:
        while mark not in self._buffer:
            if len(self._buffer) > bytes_max:
                msg = f"a head of more than {bytes_max} bytes"
                raise HttpError(msg)
            self._buffer += self._read()
        taken, _, self._buffer = self._buffer.partition(mark)
        if len(taken) > bytes_max:
            msg = f"a head of more than {bytes_max} bytes"
            raise HttpError(msg)
        return taken

    def _exactly(self, count: int) -> bytes:
        parts = [self._buffer]
        have = len(self._buffer)
        while have < count:
            parts.append(self._read())
            have += len(parts[-1])
        data = b"".join(parts)
        self._buffer = data[count:]
        return data[:count]

    def _read(self) -> bytes:
        data = os.read(self._fd, _READ_BYTES)
        if not data:
            msg = "the edge ended the connection within a response"
            raise HttpError(msg)
        return data


def warm_up() -> None:
    """Write and read a sample: what a first request would touch first."""
    _head("GET", "/", headers={"accept": "text/plain"}, length=0)
    _STATUS_LINE.fullmatch(b"HTTP/1.1 200 OK")
    _length(_headers([b"content-length: 2"]))


def _head(
    method: str, target: str, *, headers: Mapping[str, str], length: int
) -> bytes:
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        msg = "a target is a path of printable ASCII characters"
        raise ValueError(msg)
    lines = [f"{method} {target} HTTP/1.1", "host: edge"]
    for name, value in headers.items():
        if not _VALUE.fullmatch(value):
            msg = f"the value of {name} holds what a header cannot"
            raise ValueError(msg)
        lines.append(f"{name}: {value}")
    if length or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > HTTP_HEADERS_MAX:
        msg = f"more than {HTTP_HEADERS_MAX} headers"
        raise HttpError(msg)
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if not found:
            msg = "a malformed header"
            raise HttpError(msg)
        name = found[1].decode("ascii").lower()
        if name in headers:
            msg = "a header stands twice"
            raise HttpError(msg)
        headers[name] = found[2].decode("latin-1")
    return headers


def _length(headers: Mapping[str, str]) -> int:
    # The edge has the whole body before it answers, so it always knows the length. Two
    # ways to say where a body ends are how responses are smuggled.
    text = headers.get("content-length", "")
    if not _LENGTH.fullmatch(text) or "transfer-encoding" in headers:
        msg = "no one length of the body"
        raise HttpError(msg)
    length = int(text)
    if length > HTTP_BODY_BYTES_MAX:
        msg = f"a body of more than {HTTP_BODY_BYTES_MAX} bytes"
        raise HttpError(msg)
    return length

"""Request targets: is the address in a proof the address that was called?

The address that was called is one of our public origins and the path of the request
line. ``Host`` and ``X-Forwarded-*`` have no part in it: whoever sends a request writes
them.

Source: RFC 9449 section 4.3, check 9; RFC 3986 section 6.2.2 (normalization).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

URL_CHARS_MAX: Final = 2_048

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._~-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[^?#]*)?"
    r"(?P<rest>[?#].*)?",
    re.ASCII,
)
_VISIBLE = re.compile(r"[!#-\[\]-~]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Target:
    """What was called: method as sent, our public origins, path of the request line."""

    method: str
    origins: frozenset[str]
    path: str


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL in the one form that is compared.

    Raises:
        ValueError: Not an http(s) URL with a host, or with user information.
    """
    return _split(url)[0]


def names_target(htu: str, target: Target) -> bool:
    """Return whether a proof's ``htu`` is the address that was called.

    Scheme and host compare without case, a default port is no port, escapes compare in
    their normal form, query and fragment are ignored; the path compares exactly. Dot
    segments, user information and broken escapes match nothing.
    """
    try:
        origin, path = _split(htu)
        return origin in target.origins and path == _normal_path(target.path)
    except ValueError:
        return False


def _split(url: str) -> tuple[str, str]:
    if len(url) > URL_CHARS_MAX or not _VISIBLE.fullmatch(url):
        msg = "not a short URL of visible ASCII"
        raise ValueError(msg)
    head, slash, tail = url.partition("://")
    host, cut, rest = re.match(r"([^/?#]*)([/?#]?)(.*)", tail, re.DOTALL).groups()  # type: ignore[union-attr]
    match = _URL.fullmatch(head.lower() + slash + host.lower() + cut + rest)
    if match is None:
        msg = "not an http URL with a host"
        raise ValueError(msg)
    origin = f"{match['scheme']}://{match['host']}"
    if match["port"] is not None:
        port = match["port"].lstrip("0")
        if port != _PORTS[match["scheme"]]:
            origin += f":{port}"
    return origin, _normal_path(match["path"] or "/")


def _normal_path(path: str) -> str:
    """Write every escape in its one normal form.

    Raises:
        ValueError: A broken escape, or a dot segment, which two parties may resolve
            differently.
    """
    if _BROKEN_ESCAPE.search(path) or not _VISIBLE.fullmatch(path):
        msg = "not a path"
        raise ValueError(msg)
    normal = _ESCAPE.sub(_unescape, path)
    if {".", ".."} & {*normal.split("/")}:
        msg = "a path with dot segments"
        raise ValueError(msg)
    return normal


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if _UNRESERVED.fullmatch(char) else f"%{match[1].upper()}"

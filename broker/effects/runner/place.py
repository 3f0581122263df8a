"""Reach the runner: on its unix socket, or over mutual TLS where it runs elsewhere."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_OTHERS: Final = 0o077


class PlaceError(ValueError):
    """Where the runner is, or what is shown to it, cannot be used."""


@dataclass(frozen=True, slots=True)
class TlsRunner:
    """A runner at a port, and the context that shows it who we are."""

    host: str
    port: int
    context: ssl.SSLContext


def tls_runner(
    address: str, *, certificate: Path, key: Path, server_ca: Path
) -> TlsRunner:
    """Return how a runner is reached over mutual TLS.

    Args:
        address: ``tls://HOST:PORT``; its certificate names that host.
        certificate: Ours, in PEM, with its chain.
        key: Its key, not encrypted, in a file that nobody else may read.
        server_ca: The one authority that signs for runners.

    Raises:
        PlaceError: The address or a file cannot be used; the message names it.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
        plain = address == f"tls://{parts.netloc}" and "@" not in parts.netloc
    except ValueError:
        host, port, plain = None, None, False
    if not plain or not host or not port:
        msg = f"a path or tls://HOST:PORT, not {address!r}"
        raise PlaceError(msg)
    return TlsRunner(host, port, _context(certificate, key, server_ca))


def _context(certificate: Path, key: Path, server_ca: Path) -> ssl.SSLContext:
    # This protocol asks for a certificate of the host by itself.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if key.stat().st_mode & _OTHERS:
            msg = f"{key} can be read by others; chmod 600 it"
            raise PlaceError(msg)
        # An encrypted key is refused; otherwise OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        msg = f"{certificate} and {key} cannot be used: {error.strerror}"
        raise PlaceError(msg) from error
    try:
        context.load_verify_locations(server_ca)
    except OSError as error:
        msg = f"{server_ca} cannot be used: {error.strerror}"
        raise PlaceError(msg) from error
    return context


async def dial(place: str | TlsRunner) -> Streams:
    """Open a connection to the runner.

    Over TLS 1.3 the runner may refuse our certificate after this has returned; the
    first read says so then.

    Raises:
        OSError: Nobody answers, or not with a certificate that we know.
    """
    if isinstance(place, str):
        return await asyncio.open_unix_connection(place)
    return await asyncio.open_connection(place.host, place.port, ssl=place.context)

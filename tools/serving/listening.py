"""Listen for brokers: on a socket of this user, or over mutual TLS on a port.

A file's socket is open to this user and root. A port is open to whoever shows a
certificate that one authority signed, which should sign for brokers alone.
"""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tools import limits
from tools.settings import SettingsError, TlsPlace

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_CREDENTIALS: Final = struct.Struct("=3i")  # pid, uid, gid of SO_PEERCRED
_OTHERS: Final = 0o077


async def listen(accept: Accept, *, at: Path | TlsPlace) -> asyncio.Server:
    """Serve a place.

    Raises:
        OSError: It cannot be bound, or another runner listens there.
        SettingsError: Certificate, key or authority cannot be used.
    """
    if isinstance(at, Path):
        return await asyncio.start_unix_server(accept, sock=_bind(at))
    context = server_context(at)
    return await asyncio.start_server(
        accept,
        at.host,
        at.port,
        ssl=context,
        ssl_handshake_timeout=limits.HANDSHAKE_S_MAX,
    )


def server_context(place: TlsPlace) -> ssl.SSLContext:
    """Return what speaks TLS 1.3 with known brokers, and with nobody else.

    Raises:
        SettingsError: Certificate, key or authority cannot be used; it names which.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # A session that is taken up again would not show its certificate again.
    context.num_tickets = 0
    try:
        if place.key.stat().st_mode & _OTHERS:
            msg = f"{place.key} can be read by others; chmod 600 it"
            raise SettingsError(msg)
        # An encrypted key is refused; otherwise OpenSSL would ask on the terminal.
        context.load_cert_chain(place.certificate, place.key, password=lambda: "")
    except OSError as error:
        msg = f"{place.certificate} and {place.key} cannot be used: {error.strerror}"
        raise SettingsError(msg) from error
    try:
        context.load_verify_locations(place.client_ca)
    except OSError as error:
        msg = f"{place.client_ca} cannot be used: {error.strerror}"
        raise SettingsError(msg) from error
    return context


def may_connect(writer: asyncio.StreamWriter) -> bool:
    """Say whether a peer may speak: as this user or root, or by its certificate."""
    if (spoken := writer.get_extra_info("ssl_object")) is not None:
        return bool(spoken.getpeercert())
    peer: socket.socket = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] in {0, os.geteuid()}


def _bind(path: Path) -> socket.socket:
    """Bind a socket that this user alone can connect to; replace a stale one.

    Raises:
        OSError: The path cannot be bound, or another runner listens there.
    """
    if _answers(path):
        msg = f"another runner listens on {path}"
        raise FileExistsError(msg)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        listener.close()
        msg = f"{path} cannot be bound: {error.strerror or error}"
        raise OSError(msg) from error
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        try:
            peer.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True

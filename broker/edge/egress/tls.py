"""TLS towards an upstream: whom to trust, who we are, and which key must answer.

Source: RFC 8446; RFC 7469, section 2.4 (pins over the SubjectPublicKeyInfo).
"""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import httpcore
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTEXTS_MAX: Final = 128


class TlsError(ValueError):
    """Certificates or a key that TLS cannot use; the text never holds them."""


class PinError(httpcore.ConnectError):
    """The upstream has another key than the one that was pinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What TLS towards one upstream needs.

    Attributes:
        ca: Certificates in PEM to trust instead of the system's; empty for those.
        certificate: Our own certificate chain in PEM; empty if there is none.
        key: Its private key in PEM.
        pins: ``sha256/BASE64`` of the public keys that may answer; empty for any.
    """

    ca: str = ""
    certificate: str = ""
    key: bytes = field(default=b"", repr=False)
    pins: frozenset[str] = frozenset()


SYSTEM_TLS: Final = Tls()


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return a client context.

    Raises:
        TlsError: Certificate and key do not belong together, or are none.
    """
    if not tls.certificate:
        return _trusting(tls.ca)
    # The library loads a key from a file only: this one is nowhere but in memory, and
    # gone when the context has it.
    context = _context(tls.ca)
    fd = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        os.write(fd, tls.key + b"\n" + tls.certificate.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_passphrase)
    except (ssl.SSLError, ValueError, OSError):
        msg = "client certificate and key do not belong together"
        raise TlsError(msg) from None
    finally:
        os.close(fd)
    return context


@lru_cache(maxsize=CONTEXTS_MAX)
def _trusting(ca: str) -> ssl.SSLContext:
    """Return one context for all upstreams; making it reads every root certificate."""
    return _context(ca)


def _context(ca: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        msg = "the certificates to trust are none"
        raise TlsError(msg) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_passphrase() -> str:
    """Refuse a key that is encrypted: without this the library asks at the terminal."""
    msg = "the key has a passphrase"
    raise ValueError(msg)


def pin_of(certificate: bytes) -> str:
    """Return the pin of a certificate in DER.

    Raises:
        ValueError: It is no certificate.
    """
    key = load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256/" + b64encode(sha256(spki).digest()).decode("ascii")


class PinnedStream(httpcore.AsyncNetworkStream):
    """A connection on which only a server with a pinned key is spoken to."""

    def __init__(
        self, stream: httpcore.AsyncNetworkStream, pins: frozenset[str]
    ) -> None:
        """Speak over ``stream``."""
        self._stream = stream
        self._pins = pins

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Return what was received."""
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Shake hands, then look at the key before anything is written.

        Raises:
            PinError: It is none of the pinned ones.
        """
        inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        session = inner.get_extra_info("ssl_object")
        certificate = session.getpeercert(binary_form=True) if session else None
        try:
            known = certificate is not None and pin_of(certificate) in self._pins
        except ValueError:
            known = False
        if not known:
            await inner.aclose()
            msg = "the upstream has another key than the one that was pinned"
            raise PinError(msg)
        return inner

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401
        """Return what is known of the connection."""
        return self._stream.get_extra_info(info)


def pinned(
    stream: httpcore.AsyncNetworkStream, pins: Iterable[str]
) -> httpcore.AsyncNetworkStream:
    """Return a stream that checks the pins, if there are any."""
    wanted = frozenset(pins)
    return PinnedStream(stream, wanted) if wanted else stream

"""Have keys wrapped by the transit engine of Vault or OpenBao.

The wrapping key never leaves that server: a process sends one key and gets it back
wrapped, and the other way round at every use. Nothing is remembered between uses, so
that a token which is revoked there ends this process's access at once.

Source: HashiCorp Vault and OpenBao, transit secrets engine, HTTP API.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import hvac
import requests
from hvac.exceptions import InvalidRequest
from hvac.exceptions import VaultError as TransitError

from broker.sealing.words import SealError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.sealing.words import Transit

TRANSIT_S_MAX: Final = 3.0
"""How long one answer of the transit server is waited for."""

WRAPPED_BYTES_MAX: Final = 1_024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,99}")
_WRAPPED = re.compile(rb"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}")


class TransitKek:
    """A wrapping key that stays in a transit engine."""

    def __init__(self, place: Transit, *, read: Callable[[Path], bytes]) -> None:
        """Keep where it is; nothing is asked yet.

        Args:
            place: Where it is.
            read: Returns what stands in a file that only its owner can read, or
                raises RuntimeError.

        Raises:
            SealError: Key or mount has no plain name.
        """
        if not (_NAME.fullmatch(place.key) and _MOUNT.fullmatch(place.mount)):
            msg = "the transit key and its mount have plain names"
            raise SealError(msg)
        self._place = place
        self._read = read

    @property
    def kek_id(self) -> str:
        """Return which key of which server: its name, and a hash of the address."""
        place = self._place
        where = f"{place.url}\x00{place.namespace}\x00{place.mount}"
        return f"transit:{sha256(where.encode()).hexdigest()[:12]}:{place.key}"

    async def wrap(self, key: bytes, *, bound: bytes) -> bytes:
        """Return the key as the server wrapped it.

        Raises:
            SealError: The server does not answer in time, or refuses.
        """
        plaintext = b64encode(key).decode("ascii")

        def ask(client: hvac.Client) -> Any:  # noqa: ANN401
            return client.secrets.transit.encrypt_data(
                self._place.key,
                plaintext=plaintext,
                associated_data=_hash(bound),
                mount_point=self._place.mount,
            )["data"]["ciphertext"]

        wrapped = str(await self._ask(ask)).encode("ascii", "replace")
        if len(wrapped) > WRAPPED_BYTES_MAX or not _WRAPPED.fullmatch(wrapped):
            msg = "the transit server answered with no wrapped key"
            raise SealError(msg)
        return wrapped

    async def unwrap(self, wrapped: bytes, *, bound: bytes) -> bytes:
        """Return the key that the server unwraps.

        Raises:
            SealError: It does not unwrap it, or does not answer in time.
        """
        if len(wrapped) > WRAPPED_BYTES_MAX or not _WRAPPED.fullmatch(wrapped):
            msg = "the row is not as it was sealed"
            raise SealError(msg)

        def ask(client: hvac.Client) -> Any:  # noqa: ANN401
            return client.secrets.transit.decrypt_data(
                self._place.key,
                ciphertext=wrapped.decode("ascii"),
                associated_data=_hash(bound),
                mount_point=self._place.mount,
            )["data"]["plaintext"]

        said = str(await self._ask(ask))
        try:
            return b64decode(said, validate=True)
        except ValueError:
            msg = "the transit server answered with no key"
            raise SealError(msg) from None

    async def _ask(self, question: Callable[[hvac.Client], Any]) -> Any:  # noqa: ANN401
        try:
            async with asyncio.timeout(TRANSIT_S_MAX + 1):
                return await asyncio.to_thread(self._answer, question)
        except TimeoutError:
            msg = "the transit server did not answer in time"
        except InvalidRequest:
            # A key that was wrapped for something else, or by another key.
            msg = "the transit server refused: the row is not as it was sealed"
        except (TransitError, requests.RequestException, KeyError, TypeError) as error:
            # What these say may quote what was sent: the class is enough.
            msg = f"the transit server: {type(error).__name__}"
        raise SealError(msg) from None

    def _answer(self, question: Callable[[hvac.Client], Any]) -> Any:  # noqa: ANN401
        place = self._place
        try:
            token = self._read(place.token_file).decode("ascii", "replace").strip()
        except RuntimeError as error:
            msg = f"the transit token: {error}"
            raise SealError(msg) from None
        with requests.Session() as session:
            # No proxy, no .netrc: where this goes is said in one place.
            session.trust_env = False
            session.verify = place.ca_file or _system_certificates()
            client = hvac.Client(
                url=place.url,
                token=token,
                namespace=place.namespace or None,
                verify=session.verify,
                session=session,
                timeout=TRANSIT_S_MAX,
                allow_redirects=False,
            )
            return question(client)


def _hash(bound: bytes) -> str:
    """Return what is bound, short: certificates may stand in it."""
    return b64encode(sha256(bound).digest()).decode("ascii")


def _system_certificates() -> str | bool:
    """Return where the system keeps its certificates; True for the library's own."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True

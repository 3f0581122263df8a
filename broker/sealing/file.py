"""Wrap keys with one that stands in a file of this process alone.

Source: NIST SP 800-38D (GCM); RFC 5116.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.sealing.words import SealError

if TYPE_CHECKING:
    from collections.abc import Callable

NONCE_BYTES: Final = 12

_CHANGED = "the row is not as it was sealed"


class FileKek:
    """A wrapping key that is a file (0600), read when the process starts."""

    def __init__(
        self, kek: bytes, *, random: Callable[[int], bytes], whose: str = "edge"
    ) -> None:
        """Keep the key, 32 bytes.

        Args:
            kek: The key.
            random: Returns that many fresh random bytes.
            whose: Which process's it is; its name depends on that.
        """
        self._kek = kek
        self._random = random
        self._whose = whose

    @property
    def kek_id(self) -> str:
        """Return the start of the key's hash."""
        named = f"counterfoil {self._whose} kek\x00".encode() + self._kek
        return f"file:{sha256(named).hexdigest()[:16]}"

    async def wrap(self, key: bytes, *, bound: bytes) -> bytes:
        """Return the key under AES-256-GCM."""
        return encrypt(self._kek, key, bound, nonce=self._random(NONCE_BYTES))

    async def unwrap(self, wrapped: bytes, *, bound: bytes) -> bytes:
        """Return the key, if it was wrapped for this.

        Raises:
            SealError: It was not.
        """
        return decrypt(self._kek, wrapped, bound)


def encrypt(key: bytes, data: bytes, bound: bytes, *, nonce: bytes) -> bytes:
    """Return data under AES-256-GCM, behind its nonce."""
    return nonce + AESGCM(key).encrypt(nonce, data, bound)


def decrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    """Return what `encrypt` was given.

    Raises:
        SealError: Key, data or what it is bound to is another.
    """
    try:
        return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise SealError(_CHANGED) from None

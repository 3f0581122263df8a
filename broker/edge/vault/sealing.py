"""Seal a secret, open it, and prove which version of it is in use.

Every credential has a key of its own (AES-256-GCM), and a key provider wraps that one.
Both are bound to everything that the row says. Whoever can write to the database can
neither seal nor choose: which version is in use is proved under that version's own key.

Source: NIST SP 800-38D (GCM); RFC 5116.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.canonical import canonical
from broker.edge.vault.credential import Sealed
from broker.edge.vault.kinds import VaultError, check_secret
from broker.sealing import NONCE_BYTES, decrypt, encrypt

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.edge.vault.credential import Credential
    from broker.sealing import KeyProvider

KEY_BYTES: Final = 32

_CHANGED = "the row is not as it was sealed"


async def seal(
    credential: Credential,
    secret: bytes,
    *,
    kek: KeyProvider,
    random: Callable[[int], bytes],
) -> Sealed:
    """Seal a secret for exactly this use.

    Args:
        credential: What it is for.
        secret: In the form of its kind.
        kek: Wraps the key.
        random: Returns that many fresh random bytes.

    Raises:
        VaultError: The secret has another form or length, or the provider failed.
    """
    check_secret(credential.kind, credential.settings, secret)
    key, bound = random(KEY_BYTES), credential.bound
    return Sealed(
        credential=credential,
        kek_id=kek.kek_id,
        wrapped_key=await kek.wrap(key, bound=b"key " + bound),
        sealed=encrypt(key, secret, b"secret " + bound, nonce=random(NONCE_BYTES)),
    )


async def key_of(row: Sealed, *, kek: KeyProvider) -> bytes:
    """Return a credential's own key; the caller uses it at once and forgets it.

    Raises:
        VaultError: The credential was removed, another key wrapped it, or the row is
            not as it was sealed.
    """
    if not row.sealed:
        msg = "this version of the credential was removed"
        raise VaultError(msg)
    if row.kek_id != kek.kek_id:
        msg = f"sealed under the key {row.kek_id}, which this edge does not have"
        raise VaultError(msg)
    key = await kek.unwrap(row.wrapped_key, bound=b"key " + row.credential.bound)
    if len(key) != KEY_BYTES:
        raise VaultError(_CHANGED)
    return key


async def unseal(row: Sealed, *, kek: KeyProvider) -> bytes:
    """Return the secret; the caller uses it at once and keeps it nowhere.

    Raises:
        VaultError: As `key_of`.
    """
    key = await key_of(row, kek=kek)
    return open_with(key, row)


def open_with(key: bytes, row: Sealed) -> bytes:
    """Return the secret, given the credential's own key.

    Raises:
        VaultError: The row is not as it was sealed.
    """
    return decrypt(key, row.sealed, b"secret " + row.credential.bound)


def prove_use(
    key: bytes, credential: Credential, *, seq: int, random: Callable[[int], bytes]
) -> bytes:
    """Return a proof that the holder of the key put this version into use.

    ``seq`` counts the connector's changes, so that an earlier proof shows nothing.
    """
    return encrypt(key, b"", _use(credential, seq), nonce=random(NONCE_BYTES))


def check_use(key: bytes, credential: Credential, *, seq: int, proof: bytes) -> None:
    """Refuse a version that nobody with the key put into use.

    Raises:
        VaultError: The proof is another's.
    """
    if decrypt(key, proof, _use(credential, seq)) != b"":
        raise VaultError(_CHANGED)


def seal_rotated(
    key: bytes,
    credential: Credential,
    token: bytes,
    *,
    seq: int,
    random: Callable[[int], bytes],
) -> bytes:
    """Seal a refresh token that took the place of the one before."""
    return encrypt(key, token, _rotated(credential, seq), nonce=random(NONCE_BYTES))


def open_rotated(
    key: bytes, credential: Credential, sealed: bytes, *, seq: int
) -> bytes:
    """Return a refresh token that was sealed with `seal_rotated`.

    Raises:
        VaultError: It is another's, or has another place in the order.
    """
    return decrypt(key, sealed, _rotated(credential, seq))


def _use(credential: Credential, seq: int) -> bytes:
    return b"use " + canonical({"seq": seq}) + credential.bound


def _rotated(credential: Credential, seq: int) -> bytes:
    return b"refresh " + canonical({"seq": seq}) + credential.bound

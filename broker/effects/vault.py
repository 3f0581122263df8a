"""Encryption of personal data: one data key per subject and purpose.

A payload is AES-256-GCM under the subject's data key, with its ids as associated data,
so a row that is moved to another place does not open. Data keys are wrapped under the
payload KEK. Erasing a subject destroys its wrapped keys; entries and proofs stay valid,
because a leaf commits to ciphertext only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.core.canonical import canonical
from broker.core.words.entry import PayloadRef
from broker.ports import PayloadDraft, Sealed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.effects.database import Database

KEY_BYTES = 32
NONCE_BYTES = 12
KEYS_KEPT_MAX = 4_096


class ErasedError(LookupError):
    """The subject's data key was destroyed; what it sealed cannot be read any more."""


class PayloadVault:
    """Seals and opens payloads; keeps unwrapped data keys of recent subjects."""

    def __init__(self, database: Database, *, kek: bytes) -> None:
        """Derive what is needed from the KEK (32 random bytes)."""
        if len(kek) != KEY_BYTES:
            msg = f"the payload KEK must be {KEY_BYTES} bytes"
            raise ValueError(msg)
        self._database = database
        self._wrap = AESGCM(_derive(kek, b"wrap"))
        self._facts = AESGCM(_derive(kek, b"facts"))
        self._references = _derive(kek, b"references")
        self._keys: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def seal(self, value: Mapping[str, Any], draft: PayloadDraft) -> Sealed:
        """Encrypt canonical JSON under the subject's data key."""
        key = await self._data_key(draft.subject, draft.purpose)
        nonce = os.urandom(NONCE_BYTES)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        data = nonce + AESGCM(key).encrypt(nonce, text, _context(draft))
        ref = PayloadRef(
            payload_id=draft.payload_id,
            subject=draft.subject,
            purpose=draft.purpose,
            retention=draft.retention,
            data_class=draft.data_class,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        return Sealed(ref=ref, data=data)

    async def open(self, draft: PayloadDraft, data: bytes) -> dict[str, Any]:
        """Decrypt a payload.

        Raises:
            ErasedError: its key was destroyed.
            ValueError: it was changed, or belongs to another place.
        """
        key = await self._data_key(draft.subject, draft.purpose)
        try:
            text = AESGCM(key).decrypt(
                data[:NONCE_BYTES], data[NONCE_BYTES:], _context(draft)
            )
        except InvalidTag:
            msg = f"payload {draft.payload_id} does not verify"
            raise ValueError(msg) from None
        value: dict[str, Any] = json.loads(text)
        return value

    def open_with(
        self, wrapped: bytes | None, draft: PayloadDraft, data: bytes
    ) -> dict[str, Any]:
        """Decrypt a payload with a wrapped key that is at hand, and keep no key.

        Raises:
            ErasedError: the key was destroyed.
            ValueError: the payload was changed, or belongs to another place.
        """
        if wrapped is None:
            msg = f"the data key of {draft.subject} was destroyed"
            raise ErasedError(msg)
        context = f"{draft.subject}|{draft.purpose}".encode()
        try:
            key = self._wrap.decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context
            )
            text = AESGCM(key).decrypt(
                data[:NONCE_BYTES], data[NONCE_BYTES:], _context(draft)
            )
        except InvalidTag:
            msg = f"payload {draft.payload_id} does not verify"
            raise ValueError(msg) from None
        value: dict[str, Any] = json.loads(text)
        return value

    async def keyed_hash(self, value: Any, *, subject: str, purpose: str) -> str:  # noqa: ANN401
        """Return an HMAC-SHA-256 whose key ends with the subject's data key, in hex."""
        key = _derive(await self._data_key(subject, purpose), b"arguments")
        return hmac.new(key, canonical(value), hashlib.sha256).hexdigest()

    def reference(self, *parts: str) -> str:
        """Return a keyed reference (64 hex digits) to something by its name."""
        text = json.dumps(parts, ensure_ascii=True, separators=(",", ":")).encode()
        return hmac.new(self._references, text, hashlib.sha256).hexdigest()

    def seal_fact(self, place: str, value: Mapping[str, Any]) -> bytes:
        """Encrypt a small fact that only this place may hold."""
        nonce = os.urandom(NONCE_BYTES)
        text = canonical(dict(value))
        return nonce + self._facts.encrypt(nonce, text, place.encode())

    def open_fact(self, place: str, data: bytes) -> dict[str, Any] | None:
        """Return a fact, or None if it was changed or moved."""
        try:
            text = self._facts.decrypt(
                data[:NONCE_BYTES], data[NONCE_BYTES:], place.encode()
            )
        except InvalidTag:
            return None
        value: dict[str, Any] = json.loads(text)
        return value

    def forget(self, subject: str) -> None:
        """Drop a subject's unwrapped keys from memory, after an erasure."""
        for name in [name for name in self._keys if name[0] == subject]:
            del self._keys[name]

    async def _data_key(self, subject: str, purpose: str) -> bytes:
        name = (subject, purpose)
        if name in self._keys:
            self._keys.move_to_end(name)
            return self._keys[name]
        context = f"{subject}|{purpose}".encode()
        nonce = os.urandom(NONCE_BYTES)
        fresh = nonce + self._wrap.encrypt(nonce, os.urandom(KEY_BYTES), context)
        wrapped = await self._database.value(
            "SELECT subject_key_for($1, $2, $3)", subject, purpose, fresh
        )
        if wrapped is None:
            msg = f"the data key of {subject} for {purpose} was destroyed"
            raise ErasedError(msg)
        key = self._wrap.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        self._keys[name] = key
        if len(self._keys) > KEYS_KEPT_MAX:
            self._keys.popitem(last=False)
        return key


def _context(draft: PayloadDraft) -> bytes:
    parts = (draft.payload_id, draft.subject, draft.purpose, draft.data_class)
    return "|".join(parts).encode()


def _derive(key: bytes, label: bytes) -> bytes:
    """Derive a key for one use. Source: RFC 5869, expand with a uniform input key."""
    return hmac.new(key, b"counterfoil " + label + b"\x01", hashlib.sha256).digest()

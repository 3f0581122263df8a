"""Make what a log is made of: keys, entries, leaves, checkpoints."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.jwk import SEED_BYTES, Algorithm, PrivateKey, private_from_seed
from broker.core.transparency.checkpoint import Checkpoint, sign_checkpoint
from broker.core.transparency.entry_leaf import seal_entry
from broker.core.transparency.export import entry_line, header_line, trailer_line
from broker.core.transparency.merkle import leaf_hash, root_of
from broker.core.transparency.signed_note import NoteVerifier

ORIGIN = "counterfoil.example/demo"
LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"log key of the tests".ljust(32, b"."))
LOG = NoteVerifier(ORIGIN, LOG_KEY.public_key())


def entry_key(name: str = "first") -> PrivateKey:
    """Return an entry key, the same one for the same name."""
    seed = name.encode().ljust(SEED_BYTES, b".")
    return private_from_seed(seed, algorithm=Algorithm.EDDSA)


KEY = entry_key()
KEYS = {KEY.kid: KEY.public()}


def entry_id(number: int, *, salt: str = "") -> str:
    """Return a UUIDv7-shaped id, the same one for the same number."""
    raw = bytearray(hashlib.sha256(f"{salt}{number}".encode()).digest()[:16])
    raw[:6] = number.to_bytes(6, "big")
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return str(UUID(bytes=bytes(raw)))


def entry(number: int, *, salt: str = "", **more: Any) -> dict[str, Any]:
    """Return the least that an entry may be, and ``more``."""
    return {
        "entry_id": entry_id(number, salt=salt),
        "kind": "authorize.decision",
        "at": "2026-11-23T21:00:00.000000Z",
        "action": {"action_id": entry_id(number // 2, salt="action")},
        **more,
    }


def leaf(number: int, *, salt: str = "", key: PrivateKey = KEY, **more: Any) -> bytes:
    """Return the sealed entry with this number."""
    return seal_entry(entry(number, salt=salt, **more), key=key)


def head_of(leaves: list[bytes], *, origin: str = ORIGIN) -> Checkpoint:
    """Return the unsigned head of a log with these leaves."""
    return Checkpoint(origin, len(leaves), root_of(leaf_hash(each) for each in leaves))


def export_of(leaves: list[bytes], *, at: tuple[int, ...] = ()) -> list[bytes]:
    """Return the lines of a true export with checkpoints at these sizes and the end."""
    sizes = [*at, len(leaves)]
    notes = [sign_checkpoint(head_of(leaves[:size]), LOG_KEY) for size in sizes]
    return [
        header_line(log_keys=[LOG], entry_keys=[KEY.public()], checkpoints=notes),
        *(
            entry_line(seq=seq, entry_id=entry_id(seq), leaf=each)
            for seq, each in enumerate(leaves)
        ),
        trailer_line(head_of(leaves)),
    ]

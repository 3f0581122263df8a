"""Seal what goes to Temporal: AES-256-GCM under a key that Temporal does not have.

The workflow id is associated data, so that a payload copied into another run does not
open, and a payload in clear is refused rather than believed. The first key seals, all
of them open: a rotation adds the new one in front.

Source: NIST SP 800-38D; notes of the Temporal SDK on payload codecs.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.core.canonical import CanonicalError, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

CODEC_KEYS_MAX: Final = 4
CODEC_KEY_BYTES: Final = 32
CODEC_NONCE_BYTES: Final = 12
CODEC_FILE_BYTES_MAX: Final = 2_048
ENCODING: Final = b"binary/counterfoil-aes-256-gcm"
"""What the metadata of a sealed payload says; beside it stands the key's name."""

_KID_CHARS = 16
_B64 = re.compile(r"[A-Za-z0-9_-]{43}")


class CodecError(ValueError):
    """A payload that is not sealed for this run by one of our keys, or a bad key file.

    The text never holds anything of either.
    """


@dataclass(frozen=True, slots=True)
class CodecKey:
    """A key and its name, which is a hash of it."""

    kid: str
    secret: bytes

    def __repr__(self) -> str:
        """Keep the secret out of logs and tracebacks."""
        return f"CodecKey(kid={self.kid!r})"


@dataclass(frozen=True, slots=True)
class CodecKeys:
    """The keys of one file, newest first; a source that always gives itself."""

    keys: tuple[CodecKey, ...]

    def __call__(self) -> CodecKeys:
        """Return the keys as they are."""
        return self


KeySource: TypeAlias = Callable[[], CodecKeys]
"""Gives the keys of now: they may change while approvals are open."""


def codec_key(secret: bytes) -> CodecKey:
    """Return a key with its name.

    Raises:
        CodecError: Not CODEC_KEY_BYTES long.
    """
    if len(secret) != CODEC_KEY_BYTES:
        msg = f"a codec key has {CODEC_KEY_BYTES} bytes"
        raise CodecError(msg)
    kid = sha256(b"counterfoil codec\0" + secret).hexdigest()[:_KID_CHARS]
    return CodecKey(kid, secret)


def parse_codec_keys(data: bytes) -> CodecKeys:
    """Read a key file: ``{"keys": [base64url, ...]}``, newest first.

    Raises:
        CodecError: It is something else, or holds none or more than CODEC_KEYS_MAX.
    """
    try:
        document = parse_json(data, bytes_max=CODEC_FILE_BYTES_MAX, depth_max=2)
    except CanonicalError as error:
        msg = f"the codec's key file is no JSON ({error.problem})"
        raise CodecError(msg) from None
    texts = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(texts, list) or not 1 <= len(texts) <= CODEC_KEYS_MAX:
        msg = f"the codec's key file holds no list of 1 to {CODEC_KEYS_MAX} keys"
        raise CodecError(msg)
    keys = []
    for text in texts:
        if not isinstance(text, str) or not _B64.fullmatch(text):
            msg = "the codec's key file holds something that is no key"
            raise CodecError(msg)
        keys.append(codec_key(urlsafe_b64decode(text + "=")))
    return CodecKeys(tuple(keys))


def seal(
    keys: CodecKeys, data: bytes, *, nonce: bytes, workflow_id: str
) -> tuple[dict[str, bytes], bytes]:
    """Return metadata and data of the sealed form of a payload, under the newest key.

    Args:
        keys: Ours.
        data: The payload, serialized whole.
        nonce: CODEC_NONCE_BYTES of fresh randomness.
        workflow_id: The run that the payload belongs to.

    Raises:
        CodecError: It belongs to no run.
    """
    key = keys.keys[0]
    sealed = AESGCM(key.secret).encrypt(nonce, data, _context(workflow_id))
    metadata = {
        "encoding": ENCODING,
        "kid": key.kid.encode(),
        # Who shows a history to an operator has the payload alone, without its run.
        "run": workflow_id.encode(),
    }
    return metadata, nonce + sealed


def unseal(
    keys: CodecKeys, metadata: Mapping[str, bytes], data: bytes, *, workflow_id: str
) -> bytes:
    """Return the payload that was sealed for this run, serialized.

    Raises:
        CodecError: It is in clear, of an unknown key, changed, or of another run.
    """
    if metadata.get("encoding") != ENCODING:
        msg = "a payload in clear is not believed"
        raise CodecError(msg)
    kid = metadata.get("kid", b"")
    key = next((key for key in keys.keys if key.kid.encode() == kid), None)
    if key is None:
        msg = "a payload was sealed with a key that is not known here"
        raise CodecError(msg)
    nonce, sealed = data[:CODEC_NONCE_BYTES], data[CODEC_NONCE_BYTES:]
    context = _context(workflow_id)
    try:
        return AESGCM(key.secret).decrypt(nonce, sealed, context)
    except (InvalidTag, ValueError):
        msg = "a payload was changed, or sealed for another run"
        raise CodecError(msg) from None


def unseal_alone(keys: CodecKeys, metadata: Mapping[str, bytes], data: bytes) -> bytes:
    """Return a payload for an operator to look at: it names its run itself.

    Nothing may be decided from it: it was sealed for the run that it names, and stands
    perhaps in another.

    Raises:
        CodecError: As `unseal`, or it names no run.
    """
    run = metadata.get("run", b"").decode("utf-8", "replace")
    return unseal(keys, metadata, data, workflow_id=run)


def with_newest(keys: CodecKeys, fresh: CodecKey) -> CodecKeys:
    """Return the keys with this one in front, wherever it stood before.

    Raises:
        CodecError: There would be more than CODEC_KEYS_MAX.
    """
    return _ring((fresh, *(key for key in keys.keys if key != fresh)))


def with_known(keys: CodecKeys, fresh: CodecKey) -> CodecKeys:
    """Return the keys with this one last: it opens, and does not seal yet.

    Raises:
        CodecError: There would be more than CODEC_KEYS_MAX.
    """
    return _ring((*(key for key in keys.keys if key != fresh), fresh))


def _ring(keys: tuple[CodecKey, ...]) -> CodecKeys:
    if len(keys) > CODEC_KEYS_MAX:
        msg = f"a ring holds at most {CODEC_KEYS_MAX} keys"
        raise CodecError(msg)
    return CodecKeys(keys)


def _context(workflow_id: str) -> bytes:
    if not workflow_id:
        msg = "a payload belongs to a run"
        raise CodecError(msg)
    return b"counterfoil temporal\0" + workflow_id.encode()

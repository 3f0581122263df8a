"""Sign and open notes: a text, a blank line, and one line per signature.

Source: C2SP signed-note, Ed25519 signatures (type 0x01) only.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.transparency.encoding import EncodingError, from_base64, to_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOTE_BYTES_MAX: Final = 65_536
"""Longest note that is read."""

NOTE_SIGNATURES_MAX: Final = 32
"""Most signature lines that are read; the standard asks for at least 16."""

KEY_NAME_CHARS_MAX: Final = 200
"""Longest key name."""

_ED25519: Final = b"\x01"
_KEY_ID_BYTES: Final = 4
_PUBLIC_BYTES: Final = 32
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_LINE = re.compile("\u2014 ([^ \n]+) ([A-Za-z0-9+/=]+)")
_VKEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


class NoteError(ValueError):
    """A note is malformed, or no trusted key signed it."""


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A key that is trusted to sign notes under a name."""

    name: str
    public: Ed25519PublicKey

    def __post_init__(self) -> None:
        """Refuse a name that could not stand in a signature line."""
        unusable = not self.name or "+" in self.name or len(self.name.split()) != 1
        if (
            unusable
            or len(self.name) > KEY_NAME_CHARS_MAX
            or not self.name.isprintable()
        ):
            msg = "a key name has no spaces and no plus, and is not empty or too long"
            raise NoteError(msg)

    @property
    def key_id(self) -> bytes:
        """Four bytes that, with the name, say which key made a signature."""
        named = self.name.encode() + b"\n" + _ED25519 + _raw(self.public)
        return hashlib.sha256(named).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The one-line form in which others configure this key."""
        encoded = to_base64(_ED25519 + _raw(self.public))
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


def parse_vkey(text: str) -> NoteVerifier:
    """Read a verifier key: ``name+hex key id+base64(0x01 || public key)``.

    Raises:
        NoteError: Not an Ed25519 verifier key, or its key id is not its own.
    """
    match = _VKEY.fullmatch(text)
    if match is None:
        msg = "not a verifier key: name+hash+key"
        raise NoteError(msg)
    try:
        key = from_base64(match[3], bytes_exact=1 + _PUBLIC_BYTES)
    except EncodingError as error:
        msg = f"not a verifier key: {error}"
        raise NoteError(msg) from None
    if key[:1] != _ED25519:
        msg = "only Ed25519 verifier keys are read"
        raise NoteError(msg)
    verifier = NoteVerifier(match[1], Ed25519PublicKey.from_public_bytes(key[1:]))
    if verifier.key_id.hex() != match[2]:
        msg = "the verifier key's id does not belong to it"
        raise NoteError(msg)
    return verifier


def sign_note(text: str, *, name: str, key: Ed25519PrivateKey) -> str:
    """Return the note: the text with one signature.

    Args:
        text: What is signed; ends in a newline, no control characters.
        name: The key's name.
        key: The key.

    Raises:
        NoteError: The text or the name cannot be in a note.
    """
    _require_text(text)
    verifier = NoteVerifier(name, key.public_key())
    signature = to_base64(verifier.key_id + key.sign(text.encode()))
    return f"{text}\n\u2014 {name} {signature}\n"


def open_note(note: str, verifiers: Sequence[NoteVerifier]) -> str:
    """Return the text of a note that at least one of the given keys signed.

    Signatures of other keys are ignored. One of a given key that does not verify
    spoils the note, whatever else is there.

    Raises:
        NoteError: The note is malformed, or none of the keys signed it.
    """
    text, lines = _split(note)
    trusted = {(each.name, each.key_id): each.public for each in verifiers}
    signed = False
    for line in lines:
        name, key_id, signature = _parse_line(line)
        public = trusted.get((name, key_id))
        if public is None:
            continue
        try:
            public.verify(signature, text.encode())
        except InvalidSignature:
            msg = f"the signature of {name} does not verify"
            raise NoteError(msg) from None
        signed = True
    if not signed:
        msg = "no known key signed the note"
        raise NoteError(msg)
    return text


def _split(note: str) -> tuple[str, list[str]]:
    if len(note.encode("utf-8", "surrogatepass")) > NOTE_BYTES_MAX:
        msg = f"a note has at most {NOTE_BYTES_MAX} bytes"
        raise NoteError(msg)
    text, blank, signatures = note.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        msg = "a note has a text, a blank line and signature lines"
        raise NoteError(msg)
    _require_text(text + "\n")
    lines = signatures[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES_MAX:
        msg = f"a note has at most {NOTE_SIGNATURES_MAX} signatures"
        raise NoteError(msg)
    return text + "\n", lines


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    match = _LINE.fullmatch(line)
    if match is None:
        msg = "a signature line is malformed"
        raise NoteError(msg)
    try:
        raw = from_base64(match[2])
    except EncodingError:
        msg = "a signature is not base64"
        raise NoteError(msg) from None
    if len(raw) <= _KEY_ID_BYTES:
        msg = "a signature is too short"
        raise NoteError(msg)
    return match[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:]


def _require_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = "a note is UTF-8"
        raise NoteError(msg) from None
    if not text.endswith("\n") or _CONTROL.search(text):
        msg = "a note's text ends in a newline and has no control characters"
        raise NoteError(msg)


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)

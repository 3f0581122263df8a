"""Wrap keys with one that is not given away: a file's, or a transit engine's.

Broker and edge each have a wrapping key of their own; they share this code and nothing
else.
"""

from broker.sealing.file import NONCE_BYTES, FileKek, decrypt, encrypt
from broker.sealing.words import KeyProvider, SealError, Transit, read_transit

__all__ = [
    "NONCE_BYTES",
    "FileKek",
    "KeyProvider",
    "SealError",
    "Transit",
    "decrypt",
    "encrypt",
    "read_transit",
]

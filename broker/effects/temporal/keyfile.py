"""The key of what goes to Temporal: a copy for the broker and one for the worker.

Each process can read its own folder only; whoever sets a state up writes both.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

from broker.core.approvals.codec import (
    CODEC_KEY_BYTES,
    CodecError,
    CodecKeys,
    parse_codec_keys,
)
from broker.effects.keyfiles import KeyFileError, read_secret, write_secret

if TYPE_CHECKING:
    from pathlib import Path

CODEC_FILE: Final = "codec.key"


def generate_codec_keys(state: Path) -> CodecKeys:
    """Make the key that a state does not have yet, for broker and worker; load it.

    Raises:
        KeyFileError: the two copies differ, or one cannot be read.
    """
    ours, theirs = state / "broker" / CODEC_FILE, state / "worker" / CODEC_FILE
    if not ours.exists() and not theirs.exists():
        fresh = urlsafe_b64encode(secrets.token_bytes(CODEC_KEY_BYTES)).rstrip(b"=")
        write_secret(ours, json.dumps({"keys": [fresh.decode("ascii")]}).encode())
    # If we die between the two, the next start finds one and copies it.
    for copy, source in ((theirs, ours), (ours, theirs)):
        if not copy.exists():
            write_secret(copy, read_secret(source))
    if read_secret(ours) != read_secret(theirs):
        msg = f"{ours} and {theirs} must be the same"
        raise KeyFileError(msg)
    return load_codec_keys(ours)


def load_codec_keys(path: Path) -> CodecKeys:
    """Load the keys.

    Raises:
        KeyFileError: the file is missing, malformed or open to others.
    """
    try:
        return parse_codec_keys(read_secret(path))
    except CodecError as error:
        msg = f"{path}: {error}"
        raise KeyFileError(msg) from None

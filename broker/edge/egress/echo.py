"""Find a credential in what an upstream sent back, in the forms that it may take.

An upstream that echoes its caller's credential (a debugging page, an error that quotes
the request) would hand it to the connector. The scan cannot find a form that nobody
thought of; a connector cannot make the upstream use one, because its requests are
fixed by the decision.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import unquote_to_bytes

_ESCAPED = re.compile(rb"\\(?:u00([0-9a-fA-F]{2})|(.))", re.DOTALL)


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Return the texts that give a secret away: plain, hex, base64 at any offset."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    if b" " in secret:
        found.add(secret.replace(b" ", b"+"))  # As a form writes a space.
    for offset in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            coded = encode(b"\x00" * offset + secret).rstrip(b"=")
            # The first and last characters depend on what stands beside the secret.
            start = (offset * 8 + 5) // 6
            end = (offset + len(secret)) * 8 // 6
            found.add(coded[start:end])
    return tuple(found)


def echoes(body: bytes, secret: bytes) -> bool:
    """Return whether a response holds the secret, as it is or decoded once or twice."""
    wanted = forms(secret)
    views = {body}
    for _ in range(2):
        views |= {undo(view) for view in views for undo in (_unescaped, _unquoted)}
    return any(form in view for view in views for form in wanted)


def _unquoted(data: bytes) -> bytes:
    """Undo the escapes of URLs, wherever they stand."""
    return unquote_to_bytes(data) if b"%" in data else data


def _unescaped(data: bytes) -> bytes:
    """Undo the escapes of JSON strings, wherever they stand."""
    if b"\\" not in data:
        return data
    return _ESCAPED.sub(
        lambda m: bytes((int(m[1], 16),)) if m[1] is not None else m[2], data
    )

"""Forms of the OAuth endpoints: one value per name, plain text, within limits.

Source: RFC 6749 section 3.2 and appendix B; the WHATWG form encoding.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

FORM_BYTES_MAX: Final = 32_768
FORM_FIELDS_MAX: Final = 32

_MEDIA_TYPE = re.compile(
    r'application/x-www-form-urlencoded\s*(?:;\s*charset="?utf-8"?\s*)?', re.IGNORECASE
)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class FormError(ValueError):
    """A form with no single meaning; ``field`` names what is at fault, if known."""

    def __init__(self, detail: str, *, field: str = "") -> None:
        """Keep the field apart from the sentence."""
        super().__init__(detail)
        self.detail = detail
        self.field = field


def parse_form(data: bytes, *, content_type: str) -> dict[str, str]:
    """Read a form; a field without a value counts as absent.

    Raises:
        FormError: Another media type or charset, too long, a name twice, a broken
            escape, no UTF-8, or control characters.
    """
    if not _MEDIA_TYPE.fullmatch(content_type.strip()):
        msg = "the body must be application/x-www-form-urlencoded in UTF-8"
        raise FormError(msg)
    if len(data) > FORM_BYTES_MAX:
        msg = f"the body is longer than {FORM_BYTES_MAX} bytes"
        raise FormError(msg)
    pairs = [pair for pair in data.split(b"&") if pair]
    if len(pairs) > FORM_FIELDS_MAX:
        msg = f"more than {FORM_FIELDS_MAX} fields"
        raise FormError(msg)
    form: dict[str, str] = {}
    for pair in pairs:
        raw_name, _, raw_value = pair.partition(b"=")
        name = _text(raw_name)
        if not _NAME.fullmatch(name):
            msg = "a field has a name that nobody uses"
            raise FormError(msg)
        if name in form:
            msg = "a field stands twice"
            raise FormError(msg, field=name)
        form[name] = _text(raw_value)
    return {name: value for name, value in form.items() if value}


def _text(raw: bytes) -> str:
    if _BROKEN_ESCAPE.search(raw):
        msg = "a broken escape"
        raise FormError(msg)
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        msg = "the body is not UTF-8"
        raise FormError(msg) from None
    if _CONTROL.search(text):
        msg = "control characters"
        raise FormError(msg)
    return text

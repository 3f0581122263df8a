"""The receiver of docs/notifications.md, as it stands there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_DOC = Path(__file__).resolve().parents[3] / "docs" / "notifications.md"


@cache
def documented() -> dict[str, Any]:
    """Return what the page's sample defines."""
    (sample,) = re.findall(r"```python\n(.*?)```", _DOC.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(sample, str(_DOC), "exec"), names)  # noqa: S102  (our own page)
    return names

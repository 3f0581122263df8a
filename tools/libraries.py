"""Find the third-party libraries that a connector brings, as its lock pins them.

A connector with a ``requirements.txt`` beside its code gets exactly what stands there:
installed by hash into a folder of its own, which Landlock opens to that connector and
to no other. Nothing else that is installed in this environment can be imported.
"""

import hashlib
from pathlib import Path
from typing import Final

from tools import limits

LOCK_FILE: Final = "requirements.txt"
STAMP_FILE: Final = ".lock"
"""Holds the SHA-256 of the lock that the folder was installed from."""


class LibrariesError(ValueError):
    """A connector's libraries are not those of its lock; the message says what now."""


def libraries_of(connector: Path, *, root: Path) -> Path | None:
    """Return the folder of a connector's libraries, or None if it uses none.

    Args:
        connector: The connector's folder in the catalog.
        root: Holds a folder of installed libraries per connector.

    Raises:
        LibrariesError: They are missing, or were installed from another lock.
        OSError: The lock cannot be read.
    """
    lock = connector / LOCK_FILE
    if not lock.exists():
        return None
    data = lock.read_bytes()
    if len(data) > limits.LOCK_BYTES_MAX:
        msg = f"{lock}: more than {limits.LOCK_BYTES_MAX} bytes"
        raise LibrariesError(msg)
    folder = root / connector.name
    try:
        stamp = (folder / STAMP_FILE).read_text("ascii").strip()
    except (OSError, ValueError):
        stamp = ""
    if stamp != hashlib.sha256(data).hexdigest():
        msg = (
            f"{folder} does not hold the libraries that {lock} pins; install them "
            f"with `make up`, or requirements/install VENV connector:{connector.name}"
        )
        raise LibrariesError(msg)
    return folder.resolve()

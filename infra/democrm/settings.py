"""Say how the process is set up; the only reader of its environment and key files."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.democrm.limits import (
    CREDENTIAL_CHARS_MAX,
    CREDENTIAL_CHARS_MIN,
    IDEMPOTENCY_TTL_S_MAX,
)

_HOST: Final = "127.0.0.1"
_PORTS: Final = range(65_536)
_DAY_S: Final = 24 * 3600


class SettingsError(Exception):
    """The process cannot start like this; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the process is told from outside.

    Credentials are left out of the representation, which may reach a log.
    """

    state_file: Path
    host: str
    port: int
    """0 asks the kernel for a free one."""
    credentials: "Credentials"
    idempotency_ttl_s: int


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What callers must show; without ``control`` there are no control endpoints."""

    api: str
    control: str | None


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings; see README.md for the variables.

    Raises:
        SettingsError: a variable or a credential file is missing or not usable.
    """
    own = environ.get("COUNTERFOIL_CRM_LISTEN")
    # A supervisor may tell every part its address under the same name.
    host, port = _listen(own or environ.get("COUNTERFOIL_LISTEN") or f"{_HOST}:8460")
    credential_file = environ.get("COUNTERFOIL_CRM_CREDENTIAL_FILE", "")
    if not credential_file:
        msg = "COUNTERFOIL_CRM_CREDENTIAL_FILE must name the file with the credential"
        raise SettingsError(msg)
    api = _credential(Path(credential_file))
    control_file = environ.get("COUNTERFOIL_CRM_CONTROL_FILE", "")
    control = _credential(Path(control_file)) if control_file else None
    if api == control:
        msg = "the control credential must not be the API's credential"
        raise SettingsError(msg)
    state = Path(environ.get("COUNTERFOIL_STATE") or ".counterfoil")
    return Settings(
        state_file=state / "democrm" / "state.sqlite3",
        host=host,
        port=port,
        credentials=Credentials(api=api, control=control),
        idempotency_ttl_s=_ttl_s(
            environ.get("COUNTERFOIL_CRM_IDEMPOTENCY_TTL_S", str(_DAY_S))
        ),
    )


def _listen(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    # Loopback alone: it holds invented data, but a stranger's refunds spoil a test.
    if host not in ("", _HOST) or not port.isdecimal() or int(port) not in _PORTS:
        msg = f"the address to listen on must be {_HOST}:PORT, got {value!r}"
        raise SettingsError(msg)
    return _HOST, int(port)


def _ttl_s(value: str) -> int:
    if not value.isdecimal() or int(value) > IDEMPOTENCY_TTL_S_MAX:
        msg = (
            "COUNTERFOIL_CRM_IDEMPOTENCY_TTL_S must be 0 to"
            f" {IDEMPOTENCY_TTL_S_MAX} seconds, got {value!r}"
        )
        raise SettingsError(msg)
    return int(value)


def _credential(path: Path) -> str:
    try:
        with path.open() as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = file.read(CREDENTIAL_CHARS_MAX + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {type(error).__name__}"
        raise SettingsError(msg) from error
    if mode & 0o077:
        msg = f"{path} is open to others (mode {mode:04o}); it must be 0600"
        raise SettingsError(msg)
    if not (
        CREDENTIAL_CHARS_MIN <= len(text) <= CREDENTIAL_CHARS_MAX
        and text.isascii()
        and text.isprintable()
        and " " not in text
    ):
        msg = (
            f"{path} must hold {CREDENTIAL_CHARS_MIN} to {CREDENTIAL_CHARS_MAX}"
            " visible ASCII characters"
        )
        raise SettingsError(msg)
    return text

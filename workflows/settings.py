"""Settings of the worker process: the only reader of its environment and its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.core.approvals.codec import (
    CodecError,
    CodecKeys,
    KeySource,
    parse_codec_keys,
)
from broker.core.canonical import CanonicalError, parse_json
from broker.core.identity.assertions import parse_client_id
from broker.core.jwk import JwsError, PrivateKey, private_from_jwk
from broker.core.words.errors import UnauthenticatedError
from broker.core.words.subject import SubjectKind

SECRET_BYTES_MAX: Final = 4_096
BROKERS_MAX: Final = 32


class SettingsError(ValueError):
    """A setting or file is missing or malformed; says which, and never what it held."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this worker was told.

    Attributes:
        part: This process's name, in Temporal and in log lines.
        issuer: Whose tokens it uses.
        broker_urls: Base URLs of the brokers, in the order in which they are tried.
        client_id: Who it is to the broker, ``service:<uuid>``.
        client_key: The key that it authenticates with.
        codec_keys: What seals everything that goes to Temporal.
        temporal_proxy: Socket of the CONNECT proxy before Temporal, or empty.
        ready_file: To be made once the task queue is polled, or None.
    """

    part: str
    issuer: str
    broker_urls: tuple[str, ...]
    client_id: str
    client_key: PrivateKey
    codec_keys: KeySource
    temporal_address: str
    temporal_namespace: str
    temporal_task_queue: str
    temporal_proxy: str
    temporal_user: str
    temporal_password: str
    ready_file: Path | None


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: naming the first variable or file that is missing or malformed.
    """
    env = os.environ if environment is None else environment
    folder = Path(_need(env, "STATE")) / "worker"
    urls = tuple(u.rstrip("/") for u in _need(env, "BROKER_URLS").split(",") if u)
    if not 1 <= len(urls) <= BROKERS_MAX:
        msg = f"COUNTERFOIL_BROKER_URLS must name 1 to {BROKERS_MAX} brokers"
        raise SettingsError(msg)
    ready = env.get("COUNTERFOIL_READY_FILE", "")
    return Settings(
        part=env.get("COUNTERFOIL_PART", "worker-0"),
        issuer=_need(env, "ISSUER").rstrip("/"),
        broker_urls=urls,
        client_id=_client_id(folder / "client.id"),
        client_key=_client_key(folder / "client.jwk"),
        codec_keys=CodecFile(folder / "codec.key"),
        temporal_address=_need(env, "TEMPORAL_ADDRESS"),
        temporal_namespace=env.get("COUNTERFOIL_TEMPORAL_NAMESPACE", "counterfoil"),
        temporal_task_queue=env.get("COUNTERFOIL_TEMPORAL_TASK_QUEUE", "counterfoil"),
        temporal_proxy=env.get("COUNTERFOIL_TEMPORAL_PROXY", ""),
        temporal_user=env.get("COUNTERFOIL_TEMPORAL_PROXY_USER", "worker"),
        temporal_password=_password(env),
        ready_file=Path(ready) if ready else None,
    )


def _need(env: Mapping[str, str], name: str) -> str:
    value = env.get(f"COUNTERFOIL_{name}", "")
    if not value:
        msg = f"COUNTERFOIL_{name} is not set; `counterfoil up` sets it for its parts"
        raise SettingsError(msg)
    return value


def _password(env: Mapping[str, str]) -> str:
    file = env.get("COUNTERFOIL_TEMPORAL_PASSWORD_FILE", "")
    return _secret(Path(file)).decode().removesuffix("\n") if file else ""


def _client_id(path: Path) -> str:
    try:
        client = parse_client_id(_secret(path).decode("ascii", "replace").strip())
    except UnauthenticatedError:
        client = None
    if client is None or client.kind is not SubjectKind.SERVICE:
        msg = f"{path} does not name a service, as service:<id>"
        raise SettingsError(msg)
    return str(client)


def _client_key(path: Path) -> PrivateKey:
    try:
        jwk = parse_json(_secret(path), bytes_max=SECRET_BYTES_MAX, depth_max=1)
        return private_from_jwk(jwk if isinstance(jwk, dict) else {})
    except (CanonicalError, JwsError):
        msg = f"{path} holds no private key"
        raise SettingsError(msg) from None


class CodecFile:
    """The keys of a file as it stands now: whoever rotates them tells nobody."""

    def __init__(self, path: Path) -> None:
        """Load them.

        Raises:
            SettingsError: The file is missing, malformed or open to others.
        """
        self._path = path
        self._stamp = _stamp(path)
        self._keys = _codec_keys(path)

    def __call__(self) -> CodecKeys:
        """Return the keys; a file that cannot be read leaves them as they were."""
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            with suppress(SettingsError):
                self._keys, self._stamp = _codec_keys(self._path), stamp
        return self._keys


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _codec_keys(path: Path) -> CodecKeys:
    try:
        return parse_codec_keys(_secret(path))
    except CodecError as error:
        msg = f"{path}: {error}"
        raise SettingsError(msg) from None


def _secret(path: Path) -> bytes:
    """Return the content of a file that only its owner can read."""
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            msg = f"{path} is open to others; its mode must be 0600"
            raise SettingsError(msg)
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise SettingsError(msg) from None
    if len(data) > SECRET_BYTES_MAX:
        msg = f"{path} is longer than {SECRET_BYTES_MAX} bytes"
        raise SettingsError(msg)
    return data

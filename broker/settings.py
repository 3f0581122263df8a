"""Settings of the broker process: the only reader of its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.effects.runner.place import PlaceError, TlsRunner, tls_runner
from broker.sealing import SealError, read_transit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.sealing import Transit


class SettingsError(ValueError):
    """A setting is missing or malformed; the message says which, and what it takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this replica was told; paths are absolute, passwords stand in 0600 files.

    Attributes:
        state: The state folder; ``broker/`` in it holds this process's keys.
        stamp: ``demo`` or ``production``.
        tenant: Whose installation this is.
        environment: ``dev``, ``staging`` or ``prod``.
        part: This replica's own name in logs, leases and entries; no other has it.
        listen: (host, port) to serve on.
        issuer: Issuer identifier: base URL of the installation.
        origins: Every origin under which clients may reach us (DPoP's ``htu``).
        database_url: PostgreSQL, role cf_broker.
        redis_url: Valkey or Redis.
        temporal_address: Host and port as Temporal's clients see it.
        runner_socket: Path, or ``tls://HOST:PORT`` of a runner elsewhere.
        runner_tls: In the second case, how it is reached.
        receipt_key: Public half of the edge's receipt key, pinned.
        signing_kek_file: The key that wraps signing keys, unless transit does.
        signing_transit: Where Vault or OpenBao wraps them; None if a file's key does.
        codec_origins: Pages that may have payloads of Temporal's opened; none.
    """

    state: Path
    stamp: str
    tenant: str
    environment: str
    part: str
    listen: tuple[str, int]
    issuer: str
    origins: tuple[str, ...]
    database_url: str
    database_password: str
    redis_url: str
    redis_password: str
    temporal_address: str
    temporal_namespace: str
    temporal_task_queue: str
    temporal_proxy: str
    temporal_proxy_user: str
    temporal_password: str
    runner_socket: str
    runner_tls: TlsRunner | None
    signer_socket: str
    catalog: Path
    receipt_key: Path
    signing_kek_file: Path
    signing_transit: Transit | None
    codec_origins: tuple[str, ...] = ()


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: naming the first variable that is missing or malformed.
    """
    env = os.environ if environment is None else environment
    host, _, port = _need(env, "LISTEN").rpartition(":")
    if not (host and port.isdecimal()):
        msg = "COUNTERFOIL_LISTEN must be host:port, such as 127.0.0.1:8400"
        raise SettingsError(msg)
    issuer = _need(env, "ISSUER").rstrip("/")
    own = f"http://{host}:{port}"
    extra = [o for o in env.get("COUNTERFOIL_ORIGINS", "").split(",") if o]
    stamp = env.get("COUNTERFOIL_STAMP", "production")
    if stamp not in {"demo", "production"}:
        msg = "COUNTERFOIL_STAMP must be demo or production"
        raise SettingsError(msg)
    return Settings(
        state=Path(_need(env, "STATE")),
        stamp=stamp,
        tenant=env.get("COUNTERFOIL_TENANT", "demo"),
        environment=env.get("COUNTERFOIL_ENVIRONMENT", "dev"),
        part=_need(env, "PART"),
        listen=(host, int(port)),
        issuer=issuer,
        origins=tuple(dict.fromkeys((issuer, own, *extra))),
        database_url=_need(env, "DATABASE_URL"),
        database_password=_secret(env, "DATABASE_PASSWORD_FILE"),
        redis_url=_need(env, "REDIS_URL"),
        redis_password=_secret(env, "REDIS_PASSWORD_FILE"),
        temporal_address=_need(env, "TEMPORAL_ADDRESS"),
        temporal_namespace=env.get("COUNTERFOIL_TEMPORAL_NAMESPACE", "counterfoil"),
        temporal_task_queue=env.get("COUNTERFOIL_TEMPORAL_TASK_QUEUE", "counterfoil"),
        temporal_proxy=env.get("COUNTERFOIL_TEMPORAL_PROXY", ""),
        temporal_proxy_user=env.get("COUNTERFOIL_TEMPORAL_PROXY_USER", "broker"),
        temporal_password=_secret(env, "TEMPORAL_PASSWORD_FILE"),
        runner_socket=_need(env, "RUNNER_SOCKET"),
        runner_tls=_runner_tls(env),
        signer_socket=_need(env, "SIGNER_SOCKET"),
        catalog=Path(_need(env, "CATALOG")),
        receipt_key=Path(_need(env, "STATE")) / "public" / "edge" / "receipt.jwk",
        signing_kek_file=Path(
            env.get("COUNTERFOIL_SIGNING_KEK_FILE", "")
            or Path(_need(env, "STATE")) / "broker" / "signing.kek"
        ),
        signing_transit=_transit(env),
        codec_origins=tuple(
            one for one in env.get("COUNTERFOIL_CODEC_ORIGINS", "").split(",") if one
        ),
    )


def _transit(env: Mapping[str, str]) -> Transit | None:
    try:
        return read_transit(env, "COUNTERFOIL_SIGNING_TRANSIT")
    except SealError as error:
        raise SettingsError(str(error)) from error


def _runner_tls(env: Mapping[str, str]) -> TlsRunner | None:
    address = _need(env, "RUNNER_SOCKET")
    if "://" not in address:
        return None
    try:
        return tls_runner(
            address,
            certificate=Path(_need(env, "RUNNER_TLS_CERTIFICATE_FILE")),
            key=Path(_need(env, "RUNNER_TLS_KEY_FILE")),
            server_ca=Path(_need(env, "RUNNER_TLS_SERVER_CA_FILE")),
        )
    except PlaceError as error:
        msg = f"COUNTERFOIL_RUNNER_SOCKET: {error}"
        raise SettingsError(msg) from error


def _need(env: Mapping[str, str], name: str) -> str:
    value = env.get(f"COUNTERFOIL_{name}", "")
    if not value:
        msg = f"COUNTERFOIL_{name} is not set; `counterfoil up` sets it for its parts"
        raise SettingsError(msg)
    return value


def _secret(env: Mapping[str, str], name: str) -> str:
    """Read a secret from the file that a variable names; none if it names none."""
    file = env.get(f"COUNTERFOIL_{name}", "")
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        msg = f"COUNTERFOIL_{name} names {file}, which cannot be read: {error.strerror}"
        raise SettingsError(msg) from error

"""The worker's settings: named when missing, refused when open to others."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest

from broker.core.jwk import private_to_jwk
from tests.support.approvals.timekeeping import KEYS
from tests.support.identities import ISSUER, key_of
from workflows.settings import (
    BROKERS_MAX,
    SECRET_BYTES_MAX,
    SettingsError,
    read_settings,
)

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "service:0197a000-0000-7000-8000-0000000000d1"


def folder(state: Path) -> Path:
    """Make the worker's folder as a set-up would."""
    made = state / "worker"
    made.mkdir(mode=0o700, exist_ok=True)
    secret = urlsafe_b64encode(KEYS.keys[0].secret).rstrip(b"=").decode()
    texts = {
        "client.id": CLIENT,
        "client.jwk": json.dumps(private_to_jwk(key_of("worker"))),
        "codec.key": json.dumps({"keys": [secret]}),
        "temporal.password": "pass\n",
    }
    for name, text in texts.items():
        path = made / name
        path.touch(mode=0o600)
        path.write_text(text)
    return made


def environment(state: Path, **changes: str) -> dict[str, str]:
    folder(state)
    base = {
        "STATE": str(state),
        "ISSUER": ISSUER + "/",
        "BROKER_URLS": f"{ISSUER}/,http://127.0.0.1:8401",
        "TEMPORAL_ADDRESS": "127.0.0.1:7233",
        "TEMPORAL_PROXY": "/run/temporal.sock",
        "TEMPORAL_PASSWORD_FILE": str(state / "worker" / "temporal.password"),
        "PART": "worker-1",
        "READY_FILE": str(state / "ready"),
    }
    return {f"COUNTERFOIL_{name}": text for name, text in (base | changes).items()}


def test_everything_is_read_and_slashes_are_forgiven(tmp_path: Path) -> None:
    found = read_settings(environment(tmp_path))
    assert found.issuer == ISSUER
    assert found.broker_urls == (ISSUER, "http://127.0.0.1:8401")
    assert found.client_id == CLIENT
    assert found.client_key.kid == key_of("worker").kid
    assert found.codec_keys() == KEYS
    assert found.temporal_password == "pass"
    assert found.temporal_namespace == "counterfoil"
    assert found.part == "worker-1"
    assert found.ready_file == tmp_path / "ready"


@pytest.mark.parametrize("name", ["STATE", "ISSUER", "BROKER_URLS", "TEMPORAL_ADDRESS"])
def test_a_setting_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"COUNTERFOIL_{name}"):
        read_settings(environment(tmp_path, **{name: ""}))


def test_there_are_some_brokers_and_not_too_many(tmp_path: Path) -> None:
    most = ",".join([ISSUER] * BROKERS_MAX)
    assert len(read_settings(environment(tmp_path, BROKER_URLS=most)).broker_urls) == (
        BROKERS_MAX
    )
    for wrong in (",", f"{most},{ISSUER}"):
        with pytest.raises(SettingsError, match="BROKER_URLS"):
            read_settings(environment(tmp_path, BROKER_URLS=wrong))


@pytest.mark.parametrize(
    "name", ["client.id", "client.jwk", "codec.key", "temporal.password"]
)
def test_a_secret_that_others_can_read_or_that_is_missing_stops_the_worker(
    tmp_path: Path, name: str
) -> None:
    wanted = environment(tmp_path)
    path = tmp_path / "worker" / name
    path.chmod(0o640)
    with pytest.raises(SettingsError, match=f"{name} is open to others"):
        read_settings(wanted)
    path.unlink()
    with pytest.raises(SettingsError, match=name):
        read_settings(wanted)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("client.id", "agent:0197a000-0000-7000-8000-0000000000d1"),
        ("client.id", "nobody"),
        ("client.id", ""),
        ("client.jwk", "{}"),
        ("client.jwk", "no json"),
        ("client.jwk", "[]"),
        ("codec.key", "{}"),
        ("codec.key", "x" * (SECRET_BYTES_MAX + 1)),
    ],
)
def test_a_file_of_another_form_is_named_and_not_shown(
    tmp_path: Path, name: str, text: str
) -> None:
    wanted = environment(tmp_path)
    (tmp_path / "worker" / name).write_text(text)
    with pytest.raises(SettingsError, match=name) as refused:
        read_settings(wanted)
    assert not text or text not in str(refused.value)


def test_a_password_may_be_as_long_as_its_limit(tmp_path: Path) -> None:
    wanted = environment(tmp_path)
    (tmp_path / "worker" / "temporal.password").write_text("x" * SECRET_BYTES_MAX)
    assert len(read_settings(wanted).temporal_password) == SECRET_BYTES_MAX

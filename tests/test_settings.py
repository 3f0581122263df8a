"""The broker's settings: what is missing is named, and no secret is in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.settings import SettingsError, read_settings

if TYPE_CHECKING:
    from pathlib import Path

NEEDED = {
    "COUNTERFOIL_PART": "broker-0",
    "COUNTERFOIL_LISTEN": "127.0.0.1:8401",
    "COUNTERFOIL_ISSUER": "http://127.0.0.1:8400/",
    "COUNTERFOIL_STATE": "state",
    "COUNTERFOIL_DATABASE_URL": "postgresql://cf_broker@db/counterfoil",
    "COUNTERFOIL_REDIS_URL": "redis://valkey",
    "COUNTERFOIL_TEMPORAL_ADDRESS": "temporal:7233",
    "COUNTERFOIL_RUNNER_SOCKET": "runner.sock",
    "COUNTERFOIL_SIGNER_SOCKET": "signer.sock",
    "COUNTERFOIL_CATALOG": "tools/catalog",
}
SECRETS = ("DATABASE_PASSWORD_FILE", "REDIS_PASSWORD_FILE", "TEMPORAL_PASSWORD_FILE")


def test_what_is_needed_is_enough() -> None:
    settings = read_settings(NEEDED)
    assert settings.listen == ("127.0.0.1", 8401)
    assert settings.issuer == "http://127.0.0.1:8400"
    assert settings.stamp == "production"
    assert settings.database_password == ""


@pytest.mark.parametrize("name", sorted(NEEDED))
@pytest.mark.parametrize("empty", [True, False])
def test_a_variable_that_is_missing_or_empty_is_named(name, empty) -> None:
    env = {key: value for key, value in NEEDED.items() if key != name}
    with pytest.raises(SettingsError, match=f"{name} "):
        read_settings(env | ({name: ""} if empty else {}))


@pytest.mark.parametrize("listen", ["8400", "127.0.0.1", "127.0.0.1:", "a:b", ":-1"])
def test_a_place_to_listen_is_a_host_and_a_port(listen) -> None:
    with pytest.raises(SettingsError, match="COUNTERFOIL_LISTEN"):
        read_settings(NEEDED | {"COUNTERFOIL_LISTEN": listen})


def test_an_unknown_stamp_is_refused() -> None:
    assert read_settings(NEEDED | {"COUNTERFOIL_STAMP": "demo"}).stamp == "demo"
    with pytest.raises(SettingsError, match="COUNTERFOIL_STAMP"):
        read_settings(NEEDED | {"COUNTERFOIL_STAMP": "staging"})


def test_clients_reach_the_issuer_this_replica_and_what_is_added_each_once() -> None:
    env = NEEDED | {"COUNTERFOIL_ORIGINS": "https://a.test,,http://127.0.0.1:8401"}
    assert read_settings(env).origins == (
        "http://127.0.0.1:8400",
        "http://127.0.0.1:8401",
        "https://a.test",
    )


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_read_from_its_file_without_the_last_line_end(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(" s3cret \n", encoding="utf-8")
    settings = read_settings(NEEDED | {f"COUNTERFOIL_{name}": str(file)})
    field = name.removesuffix("_FILE").lower()
    assert getattr(settings, field) == " s3cret "


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    env = NEEDED | {f"COUNTERFOIL_{name}": str(tmp_path / "gone")}
    with pytest.raises(SettingsError, match=f"COUNTERFOIL_{name} names .*gone"):
        read_settings(env)


def test_what_wraps_signing_keys_is_a_file_of_the_brokers_or_a_transit_engine() -> None:
    settings = read_settings(NEEDED)
    assert str(settings.signing_kek_file) == "state/broker/signing.kek"
    assert settings.signing_transit is None
    elsewhere = {"COUNTERFOIL_SIGNING_KEK_FILE": "/run/secrets/kek"}
    assert str(read_settings(NEEDED | elsewhere).signing_kek_file) == "/run/secrets/kek"
    transit = {
        "COUNTERFOIL_SIGNING_TRANSIT_URL": "https://vault.test",
        "COUNTERFOIL_SIGNING_TRANSIT_KEY": "signing-prod",
        "COUNTERFOIL_SIGNING_TRANSIT_TOKEN_FILE": "/run/secrets/token",
    }
    found = read_settings(NEEDED | transit).signing_transit
    assert found is not None
    assert (found.key, found.mount) == ("signing-prod", "transit")
    for name in transit:
        wrong = "" if not name.endswith("URL") else "http://vault.test"
        with pytest.raises(SettingsError, match=name):
            read_settings(NEEDED | transit | {name: wrong})

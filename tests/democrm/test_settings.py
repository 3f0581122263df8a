"""How the process is set up, and what it refuses to start with."""

import socket
from pathlib import Path

import pytest

from infra.democrm.limits import (
    CREDENTIAL_CHARS_MAX,
    CREDENTIAL_CHARS_MIN,
    IDEMPOTENCY_TTL_S_MAX,
)
from infra.democrm.settings import Settings, SettingsError, read
from tests.support.crm import Crm, spawn

SECRET = "s" * CREDENTIAL_CHARS_MIN


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    return credential_file(tmp_path / "credential", SECRET)


def credential_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def told(secret_file: Path, **more: str) -> Settings:
    return read({"COUNTERFOIL_CRM_CREDENTIAL_FILE": str(secret_file), **more})


def test_only_the_credential_must_be_told(secret_file: Path) -> None:
    settings = told(secret_file)
    assert (settings.host, settings.port) == ("127.0.0.1", 8460)
    assert settings.state_file == Path(".counterfoil/democrm/state.sqlite3")
    assert settings.idempotency_ttl_s == 86400
    assert (settings.credentials.api, settings.credentials.control) == (SECRET, None)


def test_a_credential_does_not_reach_a_log_by_accident(secret_file: Path) -> None:
    assert SECRET not in repr(told(secret_file))


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"COUNTERFOIL_CRM_LISTEN": "127.0.0.1:1"}, 1),
        ({"COUNTERFOIL_CRM_LISTEN": "65535"}, 65535),
        ({"COUNTERFOIL_LISTEN": "127.0.0.1:2"}, 2),
        ({"COUNTERFOIL_LISTEN": "127.0.0.1:2", "COUNTERFOIL_CRM_LISTEN": ":3"}, 3),
    ],
)
def test_it_listens_where_it_is_told(
    secret_file: Path, environ: dict[str, str], port: int
) -> None:
    assert told(secret_file, **environ).port == port


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:8460", "[::]:1", "example.com:1", "127.0.0.1", "127.0.0.1:65536", ":-1"],
)
def test_it_listens_nowhere_but_on_loopback(secret_file: Path, listen: str) -> None:
    with pytest.raises(SettingsError, match=r"must be 127\.0\.0\.1:PORT"):
        told(secret_file, COUNTERFOIL_CRM_LISTEN=listen)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_credential_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = credential_file(tmp_path / "open", SECRET, mode)
    with pytest.raises(SettingsError, match="open to others"):
        told(path)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("s" * CREDENTIAL_CHARS_MIN + "\n", True),
        ("s" * (CREDENTIAL_CHARS_MIN - 1), False),
        ("s" * CREDENTIAL_CHARS_MAX + "\n", True),
        ("s" * (CREDENTIAL_CHARS_MAX + 1), False),
        ("", False),
        ("s" * 20 + " " + "s" * 20, False),
        ("s" * 20 + "é", False),
        ("s" * 20 + "\n" + "s" * 20, False),
    ],
)
def test_a_credential_is_visible_ascii_of_limited_length(
    tmp_path: Path, text: str, *, good: bool
) -> None:
    path = credential_file(tmp_path / "credential", text)
    if good:
        assert told(path).credentials.api == text.strip()
    else:
        with pytest.raises(SettingsError, match="visible ASCII"):
            told(path)


def test_a_missing_credential_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must name the file"):
        read({})
    with pytest.raises(SettingsError, match="cannot be read"):
        told(tmp_path / "nothing")


def test_the_control_credential_is_another_one(
    secret_file: Path, tmp_path: Path
) -> None:
    other = credential_file(tmp_path / "control", SECRET + "x")
    settings = told(secret_file, COUNTERFOIL_CRM_CONTROL_FILE=str(other))
    assert settings.credentials.control == SECRET + "x"
    with pytest.raises(SettingsError, match="must not be the API's"):
        told(secret_file, COUNTERFOIL_CRM_CONTROL_FILE=str(secret_file))


def test_keys_are_honoured_no_longer_than_the_limit(secret_file: Path) -> None:
    name = "COUNTERFOIL_CRM_IDEMPOTENCY_TTL_S"
    most = told(secret_file, **{name: str(IDEMPOTENCY_TTL_S_MAX)})
    assert most.idempotency_ttl_s == IDEMPOTENCY_TTL_S_MAX
    for value in (str(IDEMPOTENCY_TTL_S_MAX + 1), "-1", "1.5", "a day"):
        with pytest.raises(SettingsError, match=name):
            told(secret_file, **{name: value})


def test_a_process_that_cannot_start_says_why_in_one_line(
    secret_file: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for environ, complaint in (
            ({}, "COUNTERFOIL_CRM_CREDENTIAL_FILE must name"),
            (
                {
                    "COUNTERFOIL_CRM_CREDENTIAL_FILE": str(secret_file),
                    "COUNTERFOIL_CRM_LISTEN": f"127.0.0.1:{port}",
                },
                f"127.0.0.1:{port}: Address already in use",
            ),
        ):
            process = spawn({"COUNTERFOIL_STATE": str(tmp_path / "state"), **environ})
            output, error = process.communicate(timeout=30)
            assert (process.returncode, output) == (1, "")
            assert error.startswith(f"democrm: {complaint}")
            assert error.count("\n") == 1


def test_it_is_small_and_quick(crm: Crm) -> None:
    rollup = Path(f"/proc/{crm.process.pid}/smaps_rollup").read_text()
    (pss_kib,) = [
        int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
    ]
    assert pss_kib < 60 * 1024

"""Who the edge is: kept in files that nobody else can read, or not believed."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.core.jws import public_to_jwk
from broker.core.warrants.orders import id_time
from broker.edge.catalogue import MANIFEST_BYTES_MAX, MANIFESTS_MAX, load_catalogue
from broker.edge.identity import (
    KEY_FILE_BYTES_MAX,
    IdentityError,
    load_identity,
    load_kek,
    load_public,
    lock,
    publish,
    read_secret,
    uuid7,
    write_secret,
)
from broker.edge.settings import SettingsError, from_environment
from broker.registry.tools import ManifestError
from tests.edge.lab import ROOT

NOW = datetime(2026, 11, 23, 12, 0, 0, 123_000, tzinfo=UTC)


def test_an_id_begins_with_its_time_and_is_never_the_same() -> None:
    made = [uuid7(NOW) for _ in range(1_000)]
    assert len(set(made)) == 1_000
    assert {id_time(text) for text in made} == {NOW}
    assert all(text[19] in "89ab" for text in made)


def test_the_edge_stays_itself_and_every_process_is_a_new_boot(tmp_path) -> None:
    first, second = (load_identity(tmp_path, now=NOW) for _ in range(2))
    assert first.edge == second.edge
    assert first.key.kid == second.key.kid
    assert first.boot != second.boot
    for name in ("edge.json", "receipt.jwk"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["edge.json", "receipt.jwk"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"{", b'{"edge":"../x"}'])
def test_a_malformed_file_is_not_replaced(tmp_path, name, content) -> None:
    load_identity(tmp_path, now=NOW)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IdentityError, match=name):
        load_identity(tmp_path, now=NOW)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode) -> None:
    load_identity(tmp_path, now=NOW)
    (tmp_path / "receipt.jwk").chmod(mode)
    with pytest.raises(IdentityError, match="0600"):
        load_identity(tmp_path, now=NOW)


def test_a_secret_is_a_plain_file_of_limited_size(tmp_path) -> None:
    path = tmp_path / "secret"
    write_secret(path, b"x" * KEY_FILE_BYTES_MAX)
    assert len(read_secret(path)) == KEY_FILE_BYTES_MAX
    write_secret(path, b"x" * (KEY_FILE_BYTES_MAX + 1))
    with pytest.raises(IdentityError, match="longer"):
        read_secret(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(IdentityError):
        read_secret(link)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for wrong in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(IdentityError):
            read_secret(wrong)
    with pytest.raises(IdentityError):
        read_secret(tmp_path / "missing")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        write_secret(target, b"data")
    assert list(tmp_path.iterdir()) == [target]


def test_one_folder_has_one_edge(tmp_path) -> None:
    held = lock(tmp_path)
    with pytest.raises(IdentityError, match="another edge"):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))


def test_the_wrapping_key_is_made_once(tmp_path) -> None:
    path = tmp_path / "vault.kek"
    with pytest.raises(IdentityError):
        load_kek(path, make=False)
    made = load_kek(path, make=True)
    assert load_kek(path, make=True) == load_kek(path, make=False) == made
    for wrong in (b"", b"zz" * 32, b"00" * 31, b"00" * 33, b"\xff"):
        path.write_bytes(wrong)
        with pytest.raises(IdentityError, match="no key"):
            load_kek(path, make=True)


def test_the_receipt_key_is_published_where_the_broker_looks(tmp_path) -> None:
    public = tmp_path / "public"
    identity = load_identity(tmp_path / "edge", now=NOW)
    where = publish(identity.key.public(), public)
    assert where == public / "edge" / "receipt.jwk"
    found = load_public(where)
    assert public_to_jwk(found) == public_to_jwk(identity.key.public())
    assert b'"d"' not in where.read_bytes()
    written = where.stat().st_mtime_ns
    publish(identity.key.public(), public)
    assert where.stat().st_mtime_ns == written
    other = load_identity(tmp_path / "other", now=NOW)
    publish(other.key.public(), public)
    assert load_public(where).kid == other.key.kid


def test_a_pinned_key_is_a_public_key(tmp_path) -> None:
    load_identity(tmp_path, now=NOW)
    with pytest.raises(IdentityError, match="private"):
        load_public(tmp_path / "receipt.jwk")
    with pytest.raises(FileNotFoundError):
        load_public(tmp_path / "missing.jwk")


def told(folder: Path, **more: str) -> dict[str, str]:
    return {"COUNTERFOIL_STATE": str(folder)} | {
        f"COUNTERFOIL_{name}": value for name, value in more.items()
    }


def test_settings_have_plain_defaults(tmp_path) -> None:
    settings = from_environment(told(tmp_path))
    assert settings.folder == tmp_path / "edge"
    assert settings.kek_file == tmp_path / "edge" / "vault.kek"
    assert settings.catalog == ROOT / "tools" / "catalog"
    assert (settings.tenant, settings.environment) == ("demo", "dev")
    assert settings.database_password_file is None


def test_settings_that_make_no_sense_are_refused(tmp_path) -> None:
    with pytest.raises(SettingsError, match="STATE"):
        from_environment({})
    with pytest.raises(SettingsError, match="STAMP"):
        from_environment(told(tmp_path, STAMP="staging"))


def test_production_refuses_a_wrapping_key_beside_its_data(tmp_path) -> None:
    for kek in ("", str(tmp_path / "other" / "vault.kek")):
        with pytest.raises(SettingsError, match="KEK"):
            from_environment(told(tmp_path, STAMP="production", EDGE_KEK_FILE=kek))
    elsewhere = "/run/keys/vault.kek"
    settings = from_environment(
        told(tmp_path, STAMP="production", EDGE_KEK_FILE=elsewhere)
    )
    assert settings.kek_file == Path(elsewhere)


def manifest(name: str, connector: str = "retail") -> str:
    path = ROOT / "tools" / "catalog" / "retail" / "orders.refund.toml"
    text = path.read_text().replace('name = "orders.refund"', f'name = "{name}"')
    return text.replace('connector = "retail"', f'connector = "{connector}"')


def catalog(folder: Path, **files: str) -> Path:
    (folder / "retail").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "retail" / f"{name}.toml").write_text(text)
    return folder


def test_every_manifest_is_known_by_its_digest(tmp_path) -> None:
    found = load_catalogue(catalog(tmp_path, a=manifest("a.b"), c=manifest("c.d")))
    assert sorted(tool.name for tool in found.values()) == ["a.b", "c.d"]
    assert all(tool.digest == digest for digest, tool in found.items())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema = 1",
        "not toml",
        manifest("a.b", connector="payments"),
        manifest("other.name").replace("effectful = true", "effectful = 1"),
        manifest("other.name") + "\n[more]\na = 1\n",
        manifest("other.name").ljust(MANIFEST_BYTES_MAX + 1),
    ],
)
def test_one_bad_manifest_keeps_the_edge_from_starting(tmp_path, text) -> None:
    load_catalogue(catalog(tmp_path, good=manifest("a.b")))
    with pytest.raises(ManifestError, match=r"bad\.toml"):
        load_catalogue(catalog(tmp_path, bad=text))


def test_a_manifest_of_the_largest_size_is_loaded(tmp_path) -> None:
    text = manifest("a.b").ljust(MANIFEST_BYTES_MAX)
    assert len(load_catalogue(catalog(tmp_path, a=text))) == 1


def test_two_manifests_for_one_tool_are_refused(tmp_path) -> None:
    both = catalog(tmp_path, a=manifest("a.b"), b=manifest("a.b") + "\n# b\n")
    with pytest.raises(ManifestError, match="another manifest"):
        load_catalogue(both)


def test_a_catalogue_has_a_largest_number_of_manifests(tmp_path) -> None:
    folder = catalog(tmp_path) / "retail"
    for number in range(MANIFESTS_MAX + 1):
        (folder / f"{number}.toml").touch()
    with pytest.raises(ManifestError, match="more than"):
        load_catalogue(tmp_path)

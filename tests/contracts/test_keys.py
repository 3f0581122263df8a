"""The broker's own keys, and how they are kept."""

from __future__ import annotations

import json

import pytest

from broker.core.jwk import Algorithm
from broker.core.transparency.entry_leaf import open_entry, seal_entry
from broker.effects.keyfiles import (
    KEY_FILE_BYTES_MAX,
    KeyFileError,
    load_key,
    load_public_key,
    make_key,
    read_secret,
    save_key,
    write_secret,
)
from broker.effects.keys import (
    SIGNING_KEK,
    earlier_token_key,
    end_token_file,
    generate_keys,
    load_keys,
    load_secret,
)
from tests.support.log.made import entry as an_entry

NAMES = ("warrant", "entry", "authority", "console")


def test_no_key_shows_itself(tmp_path):
    keys = generate_keys(tmp_path)
    text = repr(keys) + str(keys)
    for secret in (keys.nonce_secret, keys.payload_kek):
        assert repr(secret) not in text


def test_keys_are_made_once_and_loaded_ever_after(tmp_path):
    made, again = generate_keys(tmp_path), generate_keys(tmp_path)
    for name in NAMES:
        assert getattr(made, name).kid == getattr(again, name).kid
    assert made.payload_kek == again.payload_kek
    assert load_keys(tmp_path / "broker").nonce_secret == made.nonce_secret
    assert {getattr(made, name).algorithm for name in NAMES} == {Algorithm.EDDSA}


def test_everything_is_written_for_its_owner_alone_and_halves_are_published(tmp_path):
    made = generate_keys(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    for name in NAMES:
        half = load_public_key(tmp_path / "public" / f"{name}.jwk")
        assert half.kid == getattr(made, name).kid
        assert "d" not in json.loads((tmp_path / "public" / f"{name}.jwk").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_key_that_is_gone_is_not_replaced_in_silence(tmp_path, name):
    generate_keys(tmp_path)
    (tmp_path / "broker" / f"{name}.jwk").unlink()
    with pytest.raises(KeyFileError, match="restore"):
        generate_keys(tmp_path)


def test_a_payload_key_that_is_gone_is_not_replaced_in_silence(tmp_path):
    generate_keys(tmp_path)
    (tmp_path / "broker" / "payload.kek").unlink()
    with pytest.raises(KeyFileError, match=r"payload\.kek"):
        generate_keys(tmp_path)


def test_a_key_that_wraps_signing_keys_is_made_once_and_never_replaced(tmp_path):
    generate_keys(tmp_path)
    kek = load_secret(tmp_path / "broker" / SIGNING_KEK)
    generate_keys(tmp_path)
    assert load_secret(tmp_path / "broker" / SIGNING_KEK) == kek
    (tmp_path / "broker" / SIGNING_KEK).unlink()
    with pytest.raises(KeyFileError, match="restore"):
        generate_keys(tmp_path)


def test_a_wrapping_key_that_is_elsewhere_is_not_made_beside_the_data(tmp_path):
    generate_keys(tmp_path, signing_kek=False)
    assert not (tmp_path / "broker" / SIGNING_KEK).exists()
    generate_keys(tmp_path, signing_kek=False)
    # Whoever goes over to a file later gets one.
    generate_keys(tmp_path)
    assert (tmp_path / "broker" / SIGNING_KEK).exists()


def test_a_token_key_that_was_a_file_is_found_until_it_is_in_the_ring(tmp_path):
    generate_keys(tmp_path)
    assert earlier_token_key(tmp_path) is None
    key = make_key(Algorithm.ES256)
    save_key(tmp_path / "broker" / "token.jwk", key)
    found = earlier_token_key(tmp_path)
    assert found is not None
    assert found.kid == key.kid
    end_token_file(tmp_path)
    assert earlier_token_key(tmp_path) is None
    end_token_file(tmp_path)


def test_an_entry_key_is_replaced_and_what_it_signed_verifies_on(tmp_path):
    before = generate_keys(tmp_path).entry
    old = seal_entry(an_entry(1), key=before)
    # Everything is stopped: the public half is kept, and a new key made at the start.
    public = tmp_path / "public"
    (public / "entry.jwk").rename(public / "entry-2026.jwk")
    (tmp_path / "broker" / "entry.jwk").unlink()
    after = generate_keys(tmp_path)
    assert after.entry.kid != before.kid
    assert {*after.entries} == {before.kid, after.entry.kid}
    assert open_entry(old, after.entries) == an_entry(1)
    new = seal_entry(an_entry(2), key=after.entry)
    assert open_entry(new, load_keys(tmp_path / "broker").entries) == an_entry(2)


def test_a_published_half_of_another_key_is_noticed(tmp_path):
    generate_keys(tmp_path)
    other = generate_keys(tmp_path / "other")
    half = tmp_path / "public" / "authority.jwk"
    half.write_bytes((tmp_path / "other" / "public" / "authority.jwk").read_bytes())
    with pytest.raises(KeyFileError, match="not the public half"):
        generate_keys(tmp_path)
    assert other.authority.kid


@pytest.mark.parametrize("name", [*(f"{n}.jwk" for n in NAMES), "payload.kek"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_is_open_to_others_stops_the_broker(tmp_path, name, mode):
    generate_keys(tmp_path)
    (tmp_path / "broker" / name).chmod(mode)
    with pytest.raises(KeyFileError, match="0600"):
        load_keys(tmp_path / "broker")


def test_a_key_of_the_wrong_sort_or_twice_the_same_stops_the_broker(tmp_path):
    generate_keys(tmp_path)
    folder = tmp_path / "broker"
    (folder / "entry.jwk").unlink()
    save_key(folder / "entry.jwk", make_key(Algorithm.ES256))
    with pytest.raises(KeyFileError, match="EdDSA"):
        load_keys(folder)
    (folder / "entry.jwk").write_bytes((folder / "warrant.jwk").read_bytes())
    with pytest.raises(KeyFileError, match="two"):
        load_keys(folder)


@pytest.mark.parametrize("content", [b"", b"AAAA", b"not base64!", b"x" * 44])
def test_a_secret_of_another_length_stops_the_broker(tmp_path, content):
    generate_keys(tmp_path)
    write_secret(tmp_path / "broker" / "payload.kek", content)
    with pytest.raises(KeyFileError):
        load_keys(tmp_path / "broker")


def test_an_error_names_the_file_and_repeats_nothing_of_it(tmp_path):
    path = tmp_path / "k.jwk"
    save_key(path, make_key(Algorithm.ES256))
    secret = json.loads(path.read_text())["d"]
    broken = path.read_text().replace('"crv":"P-256"', '"crv":"P-999"')
    write_secret(path, broken.encode())
    with pytest.raises(KeyFileError) as caught:
        load_key(path)
    assert "k.jwk" in str(caught.value)
    assert secret not in str(caught.value)


def test_a_link_a_folder_and_a_missing_file_are_no_secrets(tmp_path):
    write_secret(tmp_path / "real", b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    for name in ("link", "folder", "missing"):
        with pytest.raises(KeyFileError, match=name):
            read_secret(tmp_path / name)


def test_a_secret_at_the_size_limit_is_read_and_a_longer_one_is_not(tmp_path):
    path = tmp_path / "secret"
    write_secret(path, b"x" * KEY_FILE_BYTES_MAX)
    assert len(read_secret(path)) == KEY_FILE_BYTES_MAX
    write_secret(path, b"x" * (KEY_FILE_BYTES_MAX + 1))
    with pytest.raises(KeyFileError, match="longer"):
        read_secret(path)


def test_a_write_that_fails_leaves_the_old_secret_and_nothing_beside_it(tmp_path):
    path = tmp_path / "secret"
    write_secret(path, b"old")
    with pytest.raises(TypeError):
        write_secret(path, "no bytes")  # type: ignore[arg-type]
    assert read_secret(path) == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]

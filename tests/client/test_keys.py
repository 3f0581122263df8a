"""Key files of clients: read only if nobody else can, and never written over."""

from __future__ import annotations

import json
import re

import pytest

from broker.client.keys import (
    KEY_FILE_BYTES_MAX,
    ClientKey,
    KeyFileError,
    new_id,
    new_key,
    read_key,
    write_key,
)
from broker.core.jwk import private_to_jwk
from tests.support.identities import AGENT, AGENT_ID, NOW, key_of

KEY = ClientKey(AGENT, "care-agent", key_of("agent"))


def same(read: ClientKey) -> bool:
    return (read.client_id, read.name, read.key.kid) == (AGENT, KEY.name, KEY.key.kid)


def test_a_written_key_reads_back_and_belongs_to_its_owner_alone(tmp_path):
    path = tmp_path / "agents" / "care-agent.jwk"
    write_key(path, KEY)
    assert same(read_key(path))
    assert read_key(path).subject_id == AGENT_ID
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_key_is_never_written_over_another(tmp_path):
    path = tmp_path / "k.jwk"
    write_key(path, KEY)
    with pytest.raises(KeyFileError, match=r"k\.jwk"):
        write_key(path, ClientKey(AGENT, "other", new_key()))
    assert same(read_key(path))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "k.jwk"
    write_key(path, KEY)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="0600"):
        read_key(path)


def test_a_link_to_a_key_is_refused(tmp_path):
    write_key(tmp_path / "k.jwk", KEY)
    (tmp_path / "link.jwk").symlink_to(tmp_path / "k.jwk")
    with pytest.raises(KeyFileError):
        read_key(tmp_path / "link.jwk")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"client_id": AGENT, "name": "x"}),
        json.dumps(private_to_jwk(key_of("agent"))),
        json.dumps({"client_id": AGENT, "name": "x", "kty": "oct", "k": "AA"}),
        " " * (KEY_FILE_BYTES_MAX + 1),
    ],
)
def test_another_file_is_refused_without_repeating_it(tmp_path, text):
    path = tmp_path / "k.jwk"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        read_key(path)
    assert private_to_jwk(key_of("agent"))["d"] not in str(caught.value)


def test_a_file_at_the_size_limit_is_read(tmp_path):
    path = tmp_path / "k.jwk"
    write_key(path, KEY)
    path.write_text(path.read_text().ljust(KEY_FILE_BYTES_MAX))
    assert same(read_key(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match=r"none\.jwk"):
        read_key(tmp_path / "none.jwk")


def test_fresh_ids_are_uuids_of_version_seven_that_begin_with_the_time():
    ids = {new_id(NOW) for _ in range(100)}
    assert len(ids) == 100
    form = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    for one in ids:
        assert re.fullmatch(form, one)
        assert int(one.replace("-", "")[:12], 16) == int(NOW.timestamp() * 1000)

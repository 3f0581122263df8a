"""The signer's files: whole before, whole after, and never silently new."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from broker.core.transparency.checkpoint import Checkpoint
from broker.core.transparency.merkle import EMPTY_ROOT
from broker.core.transparency.signing import ORIGINS_MAX, Former
from broker.signer.files import (
    KEY_FILE_BYTES_MAX,
    DamagedError,
    Files,
    Order,
    write_order,
)

NAME = "counterfoil.example/demo"


def test_the_first_start_makes_a_key_under_an_origin_of_its_own(
    files, folder, tmp_path
):
    key, last, note = files.load(name=NAME)
    assert key.origin.startswith(f"{NAME}/")
    assert last == Checkpoint(key.origin, 0, EMPTY_ROOT)
    assert note.startswith(key.origin)
    other = Files(tmp_path / "other")
    assert other.load(name=NAME)[0].origin != key.origin
    other.close()


def test_what_was_made_is_found_again(files):
    key, _, _ = files.load(name=NAME)
    head = Checkpoint(key.origin, 3, b"r" * 32)
    files.keep_head(key.sign(head))
    again, last, _ = files.load(name="another.example/name")
    assert again.verifier == key.verifier
    assert last == head


def test_everything_belongs_to_its_owner_alone(files, folder):
    files.load(name=NAME)
    write_order(folder, Order("why", "2026-11-23T00:00:00Z"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 4
    assert set(modes.values()) == {0o600}


def test_no_second_signer_signs_beside_the_first(files, folder):
    with pytest.raises(DamagedError, match="another signer"):
        Files(folder)


def test_a_lost_head_is_never_taken_for_a_first_start(files, folder):
    files.load(name=NAME)
    (folder / "head.note").unlink()
    with pytest.raises(DamagedError, match="audit recover"):
        files.load(name=NAME)


def test_a_first_start_that_died_before_the_key_was_written_starts_over(files, folder):
    files.load(name=NAME)
    next(folder.glob("key-*.json")).unlink()
    key, last, _ = files.load(name=NAME)
    assert last.size == 0
    assert files.load(name=NAME)[0].verifier == key.verifier


def test_a_lost_key_of_a_log_that_was_signed_for_is_damage(files, folder):
    key, _, _ = files.load(name=NAME)
    files.keep_head(key.sign(Checkpoint(key.origin, 3, b"r" * 32)))
    next(folder.glob("key-*.json")).unlink()
    with pytest.raises(DamagedError, match="is missing"):
        files.load(name=NAME)


@pytest.mark.parametrize("bit", range(0, 1600, 97))
def test_a_head_with_any_bit_flipped_is_damage(files, folder, bit):
    key, _, _ = files.load(name=NAME)
    files.keep_head(key.sign(Checkpoint(key.origin, 3, b"r" * 32)))
    path: Path = folder / "head.note"
    raw = bytearray(path.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    path.write_bytes(raw)
    with pytest.raises(DamagedError):
        files.load(name=NAME)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key.update(jwk={}),
        lambda key: key.update(former=None),
        lambda key: key.update(former=[{}]),
        lambda key: key.update(origin="a b"),
        lambda key: key["jwk"].update(x=key["jwk"]["d"]),
    ],
)
def test_an_altered_key_file_is_damage(files, folder, change):
    files.load(name=NAME)
    path = next(folder.glob("key-*.json"))
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(DamagedError):
        files.load(name=NAME)


def test_a_key_under_anothers_name_is_damage(files, folder):
    files.load(name=NAME)
    path = next(folder.glob("key-*.json"))
    path.rename(folder / "key-00000000.json")
    with pytest.raises(DamagedError, match="another key"):
        files.load(name=NAME)


def test_a_half_written_file_does_not_count(files, folder):
    key, _, _ = files.load(name=NAME)
    (folder / ".head.note.new").write_bytes(b"half")
    assert files.load(name=NAME)[0].verifier == key.verifier
    files.keep_head(key.sign(Checkpoint(key.origin, 1, b"r" * 32)))
    assert files.load(name=NAME)[1].size == 1


def test_a_key_never_shows_itself(files):
    key, _, _ = files.load(name=NAME)
    secret = key.private.material.private_bytes_raw()
    assert secret.hex() not in repr(key)
    assert repr(secret) not in repr(key)


def test_an_order_without_a_reason_is_damage(files, folder):
    for text in ("{}", "x", '{"reason": "", "at": "x"}', '{"reason": 1, "at": 2}'):
        (folder / "recover.json").write_text(text)
        with pytest.raises(DamagedError):
            files.order()


def test_a_key_file_has_a_largest_size(files, folder):
    key, _, _ = files.load(name=NAME)
    path = next(folder.glob("key-*.json"))
    path.write_bytes(path.read_bytes().ljust(KEY_FILE_BYTES_MAX))
    assert files.load(name=NAME)[0].verifier == key.verifier
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DamagedError, match="more than"):
        files.load(name=NAME)


def test_there_is_a_largest_number_of_origins(files):
    key, last, _ = files.load(name=NAME)
    former = Former(key.verifier.vkey, last, "again", "2026-11-23T00:00:00Z")
    most = files.open_origin(name=NAME, former=(former,) * ORIGINS_MAX)[0]
    assert len(files.load(name=NAME)[0].former) == ORIGINS_MAX
    with pytest.raises(DamagedError, match="takes no more"):
        files.open_origin(name=NAME, former=(*most.former, former))

"""Keys that are files, replaced while replicas and edges go on: none is turned away."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from broker.cli.app import make_app
from broker.cli.exits import Exit
from broker.core.jwk import Algorithm, public_from_jwk
from broker.core.transparency.entry_leaf import open_entry, seal_entry
from broker.core.words.entry import EntryKind
from broker.core.words.warrant import WARRANT_TTL_S_MAX
from broker.effects.database import Database
from broker.effects.keyfiles import (
    KeyFileError,
    load_key,
    load_public_key,
    make_key,
    publish_key,
    save_key,
)
from broker.effects.keys import generate_keys, load_keys
from broker.effects.ledger import PostgresLedger
from broker.effects.replacing import files
from broker.wiring.own_keys import NEXT, REPLACED, OwnKeyTender
from tests.support.door import open_door
from tests.support.log.ledger import Alarms
from tests.support.log.made import entry as an_entry

if TYPE_CHECKING:
    from pathlib import Path

    from broker.effects.keys import KeyRing

NAMES = files.REPLACEABLE


def replaced(state: Path, name: str) -> str:
    """Replace a key, as the command does, without its pauses; return its name."""
    said = files.make_known(state, name)
    files.let_sign(state, name)
    files.finish(state, name)
    return said.after


def kid(keys: KeyRing, name: str) -> str:
    return keys.entry.kid if name == "entry" else keys.warrant.kid


def present(state: Path) -> list[str]:
    """Return what is in the folders beside what is always there."""
    return sorted(p.name for p in state.rglob("*-next.jwk"))


@pytest.mark.parametrize("name", NAMES)
def test_a_running_process_signs_with_the_new_key_and_verifies_with_both(
    tmp_path, name
):
    running = generate_keys(tmp_path)
    before, old = kid(running, name), seal_entry(an_entry(1), key=running.entry)
    after = replaced(tmp_path, name)
    assert kid(running, name) == after != before
    assert open_entry(old, running.entries) == an_entry(1)
    new = seal_entry(an_entry(2), key=running.entry)
    assert open_entry(new, load_keys(tmp_path / "broker").entries) == an_entry(2)
    assert present(tmp_path) == []
    # Once more, so that nothing of the first time is in the way.
    assert replaced(tmp_path, name) not in {before, after}
    assert open_entry(old, running.entries) == an_entry(1)


def half_made(state: Path, name: str) -> None:
    save_key(state / "broker" / f"{name}-next.jwk", make_key(Algorithm.EDDSA))


def half_signing(state: Path, name: str) -> None:
    files.make_known(state, name)
    following = load_key(state / "broker" / f"{name}-next.jwk")
    save_key(state / "broker" / f"{name}.jwk", following)


def half_finished(state: Path, name: str) -> None:
    files.make_known(state, name)
    files.let_sign(state, name)
    half = state / "public" / f"{name}.jwk"
    if name == "entry":
        earlier = load_public_key(half)
        publish_key(half.with_name(f"entry-{earlier.kid}.jwk"), earlier)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "cut_short",
    [
        (half_made,),
        (files.make_known,),
        (half_signing,),
        (files.make_known, files.let_sign),
        (half_finished,),
    ],
)
def test_a_replacement_that_was_cut_short_anywhere_starts_and_is_gone_on_with(
    tmp_path, name, cut_short
):
    running = generate_keys(tmp_path)
    old = seal_entry(an_entry(1), key=running.entry)
    for step in cut_short:
        step(tmp_path, name)
    # Whoever runs goes on, and whoever starts now does so as well.
    between = seal_entry(an_entry(2), key=running.entry)
    started = generate_keys(tmp_path)
    for keys in (running, started):
        for leaf in (old, between, seal_entry(an_entry(3), key=started.entry)):
            assert open_entry(leaf, keys.entries)
    with suppress(KeyFileError):  # None waits where the start has finished it.
        files.let_sign(tmp_path, name)
    after = replaced(tmp_path, name)
    assert kid(running, name) == kid(generate_keys(tmp_path), name) == after
    assert present(tmp_path) == []


def test_a_file_that_is_spoilt_leaves_what_was_known(tmp_path):
    running = generate_keys(tmp_path)
    before = running.warrant.kid
    for folder, text in (("broker", b"{}"), ("public", b"not a key")):
        for name in NAMES:
            (tmp_path / folder / f"{name}.jwk").write_bytes(text)
    assert running.warrant.kid == before
    assert running.entry.kid in running.entries
    save_key(tmp_path / "broker" / "warrant.jwk", make_key(Algorithm.ES256))
    assert running.warrant.kid == before


async def test_no_entry_of_two_replicas_is_refused_while_the_key_is_replaced_thrice(
    tmp_path, pg_database
):
    first = generate_keys(tmp_path)
    rings = [first, load_keys(tmp_path / "broker")]
    databases = [Database(pg_database.dsn("cf_broker"), password="") for _ in rings]
    alarms = Alarms()
    ledgers = [
        PostgresLedger(database, keys=partial(getattr, ring, "entries"), alarm=alarms)
        for database, ring in zip(databases, rings, strict=True)
    ]
    for ledger in ledgers:
        await ledger.start()
    kids = set()
    for number in range(120):
        ring = rings[number % 2]
        kids.add(ring.entry.kid)
        # Signed by one of them, and verified by the other.
        leaf = seal_entry(an_entry(number), key=ring.entry)
        await ledgers[(number + 1) % 2].append([leaf])
        if number in {30, 60, 90}:
            files.make_known(tmp_path, "entry")
        if number in {33, 63, 93}:
            files.let_sign(tmp_path, "entry")
        if number in {36, 66, 96}:
            files.finish(tmp_path, "entry")
    assert len(kids) == 4
    found = await ledgers[0].history.entries(0)
    later = load_keys(tmp_path / "broker").entries
    assert len([open_entry(one.leaf, later) for one in found]) == 120
    assert alarms.words == []
    for ledger, database in zip(ledgers, databases, strict=True):
        await ledger.close()
        await database.close()


async def test_each_replacement_stands_in_the_log_once_and_the_next_key_before_it_signs(
    tmp_path,
):
    keys = generate_keys(tmp_path)
    async with open_door() as door:
        tenders = [OwnKeyTender(tmp_path, door.desk, keys) for _ in range(2)]
        before = keys.entry.kid

        async def told() -> list[tuple[str, str, str]]:
            for tender in (*tenders, *tenders):
                await tender.tend()
            found = [e.detail for e in door.logged(EntryKind.AUTHORITY)]
            return [(one["what"], one["id"], one["kid"]) for one in found]

        assert await told() == []
        after = files.make_known(tmp_path, "entry").after
        assert await told() == [(NEXT, "entry", after)]
        # It is the present key that says so: whoever trusts that one can go on.
        assert keys.entry.kid == before
        files.let_sign(tmp_path, "entry")
        files.finish(tmp_path, "entry")
        assert await told() == [(NEXT, "entry", after), (REPLACED, "entry", after)]
        named = door.logged(EntryKind.AUTHORITY)[0].detail["jwk"]
        assert public_from_jwk(named) == keys.entry.public()


def run(state: Path, *words: str, code: int = Exit.OK) -> Any:
    done = CliRunner().invoke(
        make_app(), ["keys", "replace", *words, "--state", str(state), "--json"]
    )
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code is Exit.OK else done.output


def test_the_command_makes_a_key_known_first_and_lets_it_sign_with_the_next_call(
    tmp_path,
):
    keys = generate_keys(tmp_path)
    before = keys.warrant.kid
    known = run(tmp_path, "warrant", "--only-known")
    assert (known["was"], known["signs"]) == (before, False)
    assert keys.warrant.kid == before
    done = run(tmp_path, "warrant", "--at-once")
    assert (done["was"], done["kid"], done["signs"]) == (before, known["kid"], True)
    assert keys.warrant.kid == known["kid"]


@pytest.mark.parametrize("name", ["authority", "console", "payload", "../entry"])
def test_a_key_that_cannot_be_replaced_like_this_is_named(tmp_path, name):
    generate_keys(tmp_path)
    said = run(tmp_path, name, code=Exit.USAGE)
    assert "entry, warrant" in said


def test_without_the_keys_the_command_says_where_to_run_it(tmp_path):
    assert "host that holds the state" in run(tmp_path, "entry", code=Exit.FAILED)


def test_an_earlier_warrant_key_stays_known_for_longer_than_a_warrant_lives():
    assert files.RETIRED_S > WARRANT_TTL_S_MAX

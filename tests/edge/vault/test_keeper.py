"""Versions of a credential: added, tried, put into use, taken back, destroyed."""

import asyncio
from dataclasses import replace

import pytest

from broker.core.warrants.events import EdgeEventKind
from broker.edge.identity import KEK_BYTES
from broker.edge.store import Store, StoreError
from broker.edge.vault.keeper import Draft, secret_from
from broker.edge.vault.kinds import VaultError
from broker.edge.vault.rows import (
    CREDENTIAL_AGE_S_MAX,
    VERSIONS_SHOWN_MAX,
    Event,
    Rows,
)
from broker.sealing import FileKek
from tests.edge.vault.conftest import make_safe
from tests.edge.vault.fake_rows import FakeRows

SECRET = b"a-secret-of-the-keeper-tests"
DRAFT = Draft(connector="retail", base_url="http://127.0.0.1:1", allow_private=True)


async def opened(safe) -> tuple[int, bytes]:
    credential, secret = await safe.vault.open("retail") or (None, b"")
    assert credential is not None
    return credential.version, secret


async def two_versions(safe) -> None:
    await safe.vault.switch("retail", await safe.vault.add(DRAFT, SECRET))
    assert await safe.vault.add(DRAFT, SECRET + b"2") == 2


async def test_a_version_that_was_added_is_not_in_use(safe) -> None:
    assert await safe.vault.add(DRAFT, SECRET) == 1
    assert await safe.vault.open("retail") is None
    await safe.vault.switch("retail", 1)
    assert await opened(safe) == (1, SECRET)


async def test_a_rotation_is_switched_to_and_taken_back(safe) -> None:
    await two_versions(safe)
    assert await opened(safe) == (1, SECRET)
    await safe.vault.switch("retail", 2, tested=True)
    assert await opened(safe) == (2, SECRET + b"2")
    assert await safe.vault.roll_back("retail") == 1
    assert await opened(safe) == (1, SECRET)
    assert await safe.vault.roll_back("retail") == 2
    listed = await safe.vault.rows.listed()
    assert [(row.version, row.used, row.removed) for row in listed] == [
        (2, True, False),
        (1, False, False),
    ]


async def test_there_is_nothing_to_go_back_to_but_what_was_in_use(safe) -> None:
    await two_versions(safe)
    with pytest.raises(VaultError, match="no earlier version"):
        await safe.vault.roll_back("retail")
    await safe.vault.switch("retail", 2)
    await safe.vault.remove("retail", 1, in_use=False)
    with pytest.raises(VaultError, match="no earlier version"):
        await safe.vault.roll_back("retail")


async def test_a_version_that_was_removed_is_gone_for_good(safe) -> None:
    await two_versions(safe)
    with pytest.raises(VaultError, match="in use"):
        await safe.vault.remove("retail", 1, in_use=False)
    await safe.vault.remove("retail", 2, in_use=False)
    with pytest.raises(VaultError, match="was removed"):
        await safe.vault.switch("retail", 2)
    with pytest.raises(VaultError, match="removed before"):
        await safe.vault.remove("retail", 2, in_use=False)
    row = await safe.vault.version("retail", 2)
    assert (row.wrapped_key, row.sealed) == (b"", b"")
    # Its number is not used again: an old proof must show nothing.
    assert await safe.vault.add(DRAFT, SECRET) == 3
    await safe.vault.remove("retail", 1, in_use=True)
    with pytest.raises(VaultError, match="was removed"):
        await safe.vault.open("retail")
    assert [row.removed for row in await safe.vault.rows.listed("retail")] == [
        False,
        True,
        True,
    ]


async def test_a_version_that_there_is_not_is_refused(safe) -> None:
    for what in (
        safe.vault.switch("retail", 1),
        safe.vault.version("retail", 1),
        safe.vault.remove("retail", 1, in_use=True),
    ):
        with pytest.raises(VaultError, match="no version 1"):
            await what


async def test_of_two_who_switch_at_once_one_is_refused(safe) -> None:
    await two_versions(safe)
    row = await safe.vault.version("retail", 2)
    for refused in (False, True):
        using = safe.vault.rows.use(
            row.credential, told(safe, EdgeEventKind.SWITCHED), seq=2, proof=b"p"
        )
        if not refused:
            await using
            continue
        with pytest.raises(StoreError):
            await using


@pytest.mark.control("7.3")
async def test_every_change_is_told_and_nothing_of_the_secret(safe) -> None:
    await two_versions(safe)
    await safe.vault.switch("retail", 2, tested=True)
    await safe.vault.roll_back("retail")
    await safe.vault.remove("retail", 2, in_use=False)
    events = await safe.events()
    kind = EdgeEventKind
    assert [event.kind for event in events] == [
        kind.ADDED, kind.SWITCHED, kind.ADDED, kind.SWITCHED, kind.ROLLED_BACK,
        kind.REMOVED,
    ]  # fmt: skip
    assert events[3].detail == {
        "version": 2, "before": 1, "tested": True, "by": "user:test",
    }  # fmt: skip
    assert {event.edge for event in events} == {safe.identity.edge}
    # Nor its length, nor a hash of it: what is said is this and no more.
    assert set(events[0].detail) == {
        "version", "kind", "host", "token_host", "allow_private", "pinned", "kek", "by",
    }  # fmt: skip
    assert SECRET.decode() not in str(events)


async def test_a_change_that_is_refused_is_not_told(safe) -> None:
    await safe.vault.add(DRAFT, SECRET)
    row = await safe.vault.version("retail", 1)
    before = await safe.events()
    with pytest.raises(StoreError):
        await safe.vault.rows.add(row, told(safe, EdgeEventKind.ADDED))
    assert await safe.events() == before
    await safe.vault.switch("retail", 1)
    switched = told(safe, EdgeEventKind.SWITCHED)
    with pytest.raises(StoreError):
        await safe.vault.rows.use(row.credential, switched, seq=1, proof=b"p")
    assert len(await safe.events()) == len(before) + 1


def told(safe, kind: EdgeEventKind) -> Event:
    return safe.vault.notary.event(kind, "retail", {"version": 1})


async def test_a_version_that_the_database_switched_to_is_not_used(safe) -> None:
    await two_versions(safe)
    _, _, proof = await in_use(safe)
    vault = safe.vault
    if safe.owner is None:
        safe.rows.uses["retail"].append((2, 2, proof))
    else:
        await safe.owner.execute(
            "INSERT INTO edge_credential_use (tenant, environment, connector, seq, "
            "version, proof) VALUES ('demo', 'dev', 'retail', 2, 2, $1)",
            proof,
        )
        rows = Rows(safe.store, tenant="demo", environment="dev")
        vault = replace(vault, rows=rows)
    with pytest.raises(VaultError, match="not as it was sealed"):
        await vault.open("retail")


async def in_use(safe) -> tuple[int, int, bytes]:
    current = await safe.vault.rows.current("retail")
    return current.seq, current.sealed.credential.version, current.proof


async def test_exactly_what_the_owner_hands_over_is_in_use(safe) -> None:
    vault, draft = safe.vault, DRAFT
    assert await vault.open("retail") is None
    for _ in range(2):
        await vault.ensure(draft, SECRET)
        assert await opened(safe) == (1, SECRET)
    await vault.ensure(draft, SECRET + b"2")
    assert await opened(safe) == (2, SECRET + b"2")
    draft = replace(draft, base_url="http://127.0.0.1:2")
    await vault.ensure(draft, SECRET + b"2")
    assert (await opened(safe))[0] == 3
    kek = FileKek(bytes(KEK_BYTES), random=bytes)
    other = replace(vault, kek=kek)
    await other.ensure(draft, SECRET)
    assert ((await other.open("retail")) or (None, b""))[1] == SECRET


@pytest.mark.control("7.4")
async def test_a_dev_edge_cannot_open_a_prod_credential(tmp_path) -> None:
    rows = FakeRows()
    prod = make_safe(tmp_path, rows, None, environment="prod")
    await prod.vault.switch("retail", await prod.vault.add(DRAFT, SECRET))
    dev = make_safe(tmp_path, rows, None)
    assert await dev.vault.open("retail") is None
    # Nor if somebody relabels the row in the database, with the very same key.
    row = rows.versions["retail", 1]
    rows.change("retail", credential=replace(row.credential, environment="dev"))
    with pytest.raises(VaultError, match="not as it was sealed"):
        await dev.vault.open("retail")


async def test_a_credential_belongs_to_one_tenant_and_environment(
    pg_database, tmp_path
) -> None:
    store = Store(pg_database.dsn("cf_edge"), password_file=None)
    await store.open()
    safe = make_safe(tmp_path, Rows(store, tenant="demo", environment="dev"), None)
    await safe.vault.switch("retail", await safe.vault.add(DRAFT, SECRET))
    for tenant, environment in (("demo", "prod"), ("x", "dev")):
        other = Rows(store, tenant=tenant, environment=environment)
        assert await other.current("retail") is None
        assert await other.version("retail", 1) is None
        assert await other.listed() == []
        assert await other.used("retail") == []
        assert await other.newest("retail") == 0
    assert await safe.rows.current("payments") is None
    await store.close()


async def test_a_sealed_row_is_read_again_after_a_moment(pg_database, tmp_path) -> None:
    store = Store(pg_database.dsn("cf_edge"), password_file=None)
    await store.open()
    mine = make_safe(tmp_path, Rows(store, tenant="demo", environment="dev"), None)
    other = make_safe(tmp_path, Rows(store, tenant="demo", environment="dev"), None)
    assert await mine.vault.open("retail") is None
    await other.vault.switch("retail", await other.vault.add(DRAFT, SECRET))
    assert await mine.vault.open("retail") is None
    await asyncio.sleep(CREDENTIAL_AGE_S_MAX + 0.1)
    assert await opened(mine) == (1, SECRET)
    assert len(await mine.rows.listed()) <= VERSIONS_SHOWN_MAX
    await store.close()


def test_a_secret_file_is_read_without_its_last_newline(tmp_path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o600)
    assert secret_from(path) == SECRET
    path.chmod(0o640)
    with pytest.raises(VaultError, match="0600"):
        secret_from(path)
    with pytest.raises(VaultError):
        secret_from(tmp_path / "missing")

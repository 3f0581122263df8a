"""The vault: a credential opens for what it was sealed for, and for nothing else."""

import secrets
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.credentials import Vault, secret_from
from broker.edge.identity import KEK_BYTES
from broker.edge.store import Store
from broker.edge.vault import (
    BASE_URL_CHARS_MAX,
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    VERSION_MAX,
    Credential,
    Endpoint,
    Sealed,
    VaultError,
    kek_id,
    parse_base_url,
    seal,
    unseal,
)
from tests.edge.fake_store import FakeStore

KEK = bytes(range(KEK_BYTES))
SECRET = b"a-secret-of-the-vault-tests"
HERE: dict[str, Any] = {
    "tenant": "demo",
    "environment": "dev",
    "connector": "retail",
    "version": 1,
    "kind": "bearer",
    "base_url": "https://crm.test/v1",
    "allow_private": False,
}

visible = st.binary(min_size=SECRET_BYTES_MIN, max_size=200).map(
    lambda raw: bytes(33 + byte % 94 for byte in raw)
)


def sealed(secret: bytes = SECRET, **changes: Any) -> Sealed:
    credential = Credential(**(HERE | changes))
    return seal(credential, secret, kek=KEK, random=secrets.token_bytes)


@given(secret=visible)
def test_what_was_sealed_opens(secret) -> None:
    row = sealed(secret)
    assert unseal(row, kek=KEK) == secret
    assert secret not in row.sealed
    assert secret not in row.wrapped_key


def test_nothing_is_sealed_alike_twice() -> None:
    one, other = sealed(), sealed()
    assert one.sealed != other.sealed
    assert one.wrapped_key != other.wrapped_key


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "other"},
        {"environment": "prod"},
        {"connector": "payments"},
        {"version": 2},
        {"base_url": "https://evil.test/v1"},
        {"base_url": "https://crm.test"},
        {"allow_private": True},
    ],
)
def test_a_row_that_was_moved_or_edited_does_not_open(changes) -> None:
    row = sealed()
    moved = replace(row, credential=replace(row.credential, **changes))
    with pytest.raises(VaultError, match="not as it was sealed"):
        unseal(moved, kek=KEK)


@given(at=st.integers(min_value=0), bit=st.integers(0, 7), which=st.booleans())
def test_a_flipped_bit_does_not_open(at, bit, which) -> None:
    row = sealed()
    data = bytearray(row.sealed if which else row.wrapped_key)
    data[at % len(data)] ^= 1 << bit
    changed = (
        replace(row, sealed=bytes(data))
        if which
        else replace(row, wrapped_key=bytes(data))
    )
    with pytest.raises(VaultError):
        unseal(changed, kek=KEK)


def test_parts_of_two_rows_do_not_open_together() -> None:
    one, other = sealed(), sealed(b"another-secret-of-the-tests")
    with pytest.raises(VaultError):
        unseal(replace(one, sealed=other.sealed), kek=KEK)
    with pytest.raises(VaultError):
        unseal(replace(one, sealed=b"", wrapped_key=b""), kek=KEK)


def test_another_edges_key_opens_nothing_and_is_told_apart() -> None:
    stranger = bytes(KEK_BYTES)
    with pytest.raises(VaultError, match="does not have"):
        unseal(sealed(), kek=stranger)
    with pytest.raises(VaultError, match="not as it was sealed"):
        unseal(replace(sealed(), kek_id=kek_id(stranger)), kek=stranger)
    assert KEK.hex() not in kek_id(KEK)


def test_a_secret_has_a_length_and_a_form() -> None:
    for length in (SECRET_BYTES_MIN, SECRET_BYTES_MAX):
        assert unseal(sealed(b"s" * length), kek=KEK) == b"s" * length
    for length in (0, SECRET_BYTES_MIN - 1, SECRET_BYTES_MAX + 1):
        with pytest.raises(VaultError, match="bytes"):
            sealed(b"s" * length)
    for wrong in (b"x" * 20 + b"\r\nX: y", b"with a space in the middle", b"\xff" * 20):
        with pytest.raises(VaultError) as caught:
            sealed(wrong)
        assert wrong.decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"connector": "Retail"},
        {"connector": "../x"},
        {"version": 0},
        {"version": VERSION_MAX + 1},
        {"kind": "basic"},
        {"base_url": "http://crm.test"},
        {"base_url": "ftp://crm.test"},
    ],
)
def test_a_credential_that_the_edge_could_not_use_safely_is_refused(changes) -> None:
    with pytest.raises(VaultError):
        Credential(**(HERE | changes))
    Credential(**(HERE | {"version": VERSION_MAX}))


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("https://crm.test", Endpoint("https", "crm.test", 443, "")),
        ("https://CRM.test:8443/", Endpoint("https", "crm.test", 8443, "")),
        ("http://127.0.0.1:8460", Endpoint("http", "127.0.0.1", 8460, "")),
        ("http://[::1]:8460/a/b/", Endpoint("http", "::1", 8460, "/a/b")),
    ],
)
def test_a_base_url_is_taken_apart(text, endpoint) -> None:
    assert parse_base_url(text) == endpoint


def test_an_endpoint_is_named_as_the_host_header_wants_it() -> None:
    assert parse_base_url("https://crm.test").authority == "crm.test"
    assert parse_base_url("https://crm.test:80").authority == "crm.test:80"
    assert parse_base_url("http://[::1]").authority == "[::1]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crm.test",
        "//crm.test",
        "https://",
        "https://user@crm.test",
        "https://user:pw@crm.test",
        "https://crm.test?a=b",
        "https://crm.test#x",
        "https://crm.test/../admin",
        "https://crm.test/./a",
        "https://crm.test/a//b",
        "https://crm.test/a%2fb",
        "https://crm.test\\@evil.test",
        "https://crm test",
        "https://crm.test:0",
        "https://crm.test:99999",
        "https://crm.test:x",
        "https://-crm.test",
        "https://crm..test",
        "https://[fe80::1%25eth0]",
        "https://crmé.test",
        "javascript:alert(1)",
        "https://crm.test/" + "a" * BASE_URL_CHARS_MAX,
    ],
)
def test_a_base_url_with_two_readings_is_refused(text) -> None:
    with pytest.raises(VaultError):
        parse_base_url(text)


async def test_a_new_version_takes_over_and_the_same_one_is_not_added_again() -> None:
    store = FakeStore()
    vault = Vault(store=cast("Store", store), kek=KEK, tenant="demo", environment="dev")
    where: dict[str, Any] = {"base_url": "http://127.0.0.1:1", "allow_private": True}
    assert await vault.open("retail") is None
    for _ in range(2):
        await vault.ensure("retail", secret=SECRET, **where)
        credential, opened = await vault.open("retail") or (None, b"")
        assert credential is not None
        assert (credential.version, opened) == (1, SECRET)
    await vault.ensure("retail", secret=SECRET + b"2", **where)
    assert store.rows["retail"].credential.version == 2
    where["base_url"] = "http://127.0.0.1:2"
    await vault.ensure("retail", secret=SECRET + b"2", **where)
    assert store.rows["retail"].credential.version == 3
    other = replace(vault, kek=bytes(KEK_BYTES))
    await other.ensure("retail", secret=SECRET, **where)
    assert store.rows["retail"].credential.version == 4
    assert (await other.open("retail") or (None, b""))[1] == SECRET


@pytest.mark.control("7.4")
async def test_a_dev_edge_cannot_open_a_prod_credential() -> None:
    store = FakeStore()
    prod = Vault(store=cast("Store", store), kek=KEK, tenant="demo", environment="prod")
    await prod.add(
        "retail", base_url="https://a.test", allow_private=False, secret=SECRET
    )
    dev = replace(prod, environment="dev")
    assert await dev.open("retail") is None
    # Nor if somebody relabels the row in the database.
    row = store.rows["retail"]
    relabelled = replace(row.credential, environment="dev")
    store.rows["retail"] = replace(row, credential=relabelled)
    with pytest.raises(VaultError):
        await dev.open("retail")


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

"""The vault: a credential opens for what it was sealed for, and for nothing else."""

import asyncio
import secrets
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.edge.egress.route import Endpoint
from broker.edge.identity import KEK_BYTES
from broker.edge.vault.credential import (
    BASE_URL_CHARS_MAX,
    VERSION_MAX,
    Credential,
    Sealed,
    parse_base_url,
)
from broker.edge.vault.kinds import SECRET_BYTES_MAX, SECRET_BYTES_MIN, VaultError
from broker.edge.vault.sealing import (
    KEY_BYTES,
    check_use,
    key_of,
    open_rotated,
    prove_use,
    seal_rotated,
)
from broker.edge.vault.sealing import seal as seal_with
from broker.edge.vault.sealing import unseal as unseal_with
from broker.sealing import FileKek

KEK = FileKek(bytes(range(KEK_BYTES)), random=secrets.token_bytes)
STRANGER = FileKek(bytes(KEK_BYTES), random=secrets.token_bytes)
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
    making = seal_with(credential, secret, kek=KEK, random=secrets.token_bytes)
    return asyncio.run(making)


def unseal(row: Sealed, *, kek: FileKek = KEK) -> bytes:
    return asyncio.run(unseal_with(row, kek=kek))


@given(secret=visible)
def test_what_was_sealed_opens(secret) -> None:
    row = sealed(secret)
    assert unseal(row) == secret
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
        {"kind": "header", "settings": {"header": "X-Key"}},
    ],
)
def test_a_row_that_was_moved_or_edited_does_not_open(changes) -> None:
    row = sealed()
    moved = replace(row, credential=replace(row.credential, **changes))
    with pytest.raises(VaultError, match="not as it was sealed"):
        unseal(moved)


@pytest.mark.parametrize(
    ("kind", "settings", "changes"),
    [
        ("header", {"header": "X-Key"}, {"header": "X-Debug"}),
        ("query", {"parameter": "key"}, {"parameter": "q"}),
        ("basic", {"user": "shop"}, {"user": "admin"}),
        ("bearer", {"pins": "sha256/" + "A" * 43 + "="}, {"pins": None}),
        (
            "oauth_client",
            {
                "token_url": "https://sso.test/token",
                "client_id": "shop",
                "client_auth": "basic",
            },
            {"token_url": "https://evil.test/token"},
        ),
    ],
)
def test_a_row_whose_settings_were_edited_does_not_open(
    kind, settings, changes
) -> None:
    row = sealed(kind=kind, settings=settings)
    edited = {name: text for name, text in (settings | changes).items() if text}
    moved = replace(row, credential=replace(row.credential, settings=edited))
    assert unseal(row) == SECRET
    with pytest.raises(VaultError, match="not as it was sealed"):
        unseal(moved)


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
        unseal(changed)


def test_parts_of_two_rows_do_not_open_together() -> None:
    one, other = sealed(), sealed(b"another-secret-of-the-tests")
    with pytest.raises(VaultError):
        unseal(replace(one, sealed=other.sealed))
    with pytest.raises(VaultError):
        unseal(replace(one, sealed=b"", wrapped_key=b""))


def test_another_edges_key_opens_nothing_and_is_told_apart() -> None:
    with pytest.raises(VaultError, match="does not have"):
        unseal(sealed(), kek=STRANGER)
    with pytest.raises(VaultError, match="not as it was sealed"):
        unseal(replace(sealed(), kek_id=STRANGER.kek_id), kek=STRANGER)
    assert bytes(range(KEK_BYTES)).hex() not in KEK.kek_id


def test_a_secret_has_a_length_and_a_form() -> None:
    for length in (SECRET_BYTES_MIN, SECRET_BYTES_MAX):
        assert unseal(sealed(b"s" * length)) == b"s" * length
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
        {"kind": "password"},
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


@pytest.mark.parametrize("seq", [1, 3])
def test_a_version_is_in_use_only_where_somebody_with_its_key_said_so(seq) -> None:
    row = sealed()
    key = asyncio.run(key_of(row, kek=KEK))
    credential = row.credential
    proof = prove_use(key, credential, seq=2, random=secrets.token_bytes)
    check_use(key, credential, seq=2, proof=proof)
    stranger = secrets.token_bytes(KEY_BYTES)
    for name, place, said in (
        ("another place", (key, seq), proof),
        ("another key", (stranger, 2), proof),
        ("nothing", (key, 2), b""),
        ("the secret", (key, 2), row.sealed),
    ):
        with pytest.raises(VaultError):
            check_use(place[0], credential, seq=place[1], proof=said)
        assert name
    moved = replace(credential, base_url="https://evil.test")
    with pytest.raises(VaultError):
        check_use(key, moved, seq=2, proof=proof)


def test_a_refresh_token_opens_only_in_its_place() -> None:
    credential = sealed().credential
    key = secrets.token_bytes(KEY_BYTES)
    token = seal_rotated(
        key, credential, b"rotated-token-2", seq=2, random=secrets.token_bytes
    )
    assert open_rotated(key, credential, token, seq=2) == b"rotated-token-2"
    with pytest.raises(VaultError):
        open_rotated(key, credential, token, seq=3)
    with pytest.raises(VaultError):
        open_rotated(key, replace(credential, connector="x"), token, seq=2)
    with pytest.raises(VaultError):
        # Nor does it pass for a proof that a version is in use.
        check_use(key, credential, seq=2, proof=token)

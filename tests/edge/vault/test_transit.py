"""A wrapping key that stays in a transit engine: asked for each opening, never held."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.edge.identity import read_secret
from broker.edge.settings import SettingsError, from_environment
from broker.edge.vault.assemble import key_provider
from broker.edge.vault.credential import Credential
from broker.edge.vault.kinds import VaultError
from broker.edge.vault.sealing import seal, unseal
from broker.sealing import Transit
from broker.sealing.transit import TRANSIT_S_MAX, WRAPPED_BYTES_MAX, TransitKek
from tests.edge.vault.fake_transit import TOKEN, FakeTransit

SECRET = b"a-secret-of-the-transit-tests"
CREDENTIAL = Credential(
    tenant="demo",
    environment="dev",
    connector="retail",
    version=1,
    kind="bearer",
    base_url="https://crm.test",
    allow_private=False,
)


def own_kek(place: Transit) -> TransitKek:
    return TransitKek(place, read=read_secret)


@pytest.fixture
def transit() -> Iterator[FakeTransit]:
    with FakeTransit() as running:
        yield running


@pytest.fixture
def place(transit, tmp_path: Path) -> Transit:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    return Transit(
        url=transit.url, key="edge-dev", token_file=token,
        mount="transit", namespace="", ca_file="",
    )  # fmt: skip


async def test_what_was_sealed_opens_and_neither_side_saw_the_other_half(
    transit, place
) -> None:
    kek = own_kek(place)
    row = await seal(CREDENTIAL, SECRET, kek=kek, random=secrets.token_bytes)
    assert row.wrapped_key.startswith(b"vault:v1:")
    assert await unseal(row, kek=kek) == SECRET
    assert [path for path, _, _ in transit.asked] == [
        "/v1/transit/encrypt/edge-dev",
        "/v1/transit/decrypt/edge-dev",
    ]
    assert SECRET.decode() not in json.dumps(transit.asked)
    # Nothing is remembered: a second opening asks again.
    await unseal(row, kek=kek)
    assert len(transit.asked) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"connector": "payments"},
        {"environment": "prod"},
        {"base_url": "https://e.test"},
    ],
)
async def test_a_row_that_was_moved_is_refused_by_the_transit_engine(
    place, changes
) -> None:
    kek = own_kek(place)
    row = await seal(CREDENTIAL, SECRET, kek=kek, random=secrets.token_bytes)
    moved = replace(row, credential=replace(CREDENTIAL, **changes))
    with pytest.raises(VaultError, match="not as it was sealed"):
        await unseal(moved, kek=kek)
    # The engine itself refuses, before the secret's own seal is even looked at.
    with pytest.raises(VaultError, match="refused"):
        await kek.unwrap(row.wrapped_key, bound=b"key " + moved.credential.bound)


@pytest.mark.control("7.4")
async def test_a_dev_key_opens_nothing_that_a_prod_key_sealed(transit, place) -> None:
    transit.keys["edge-prod"] = secrets.token_bytes(32)
    prod = own_kek(replace(place, key="edge-prod"))
    row = await seal(CREDENTIAL, SECRET, kek=prod, random=secrets.token_bytes)
    dev = own_kek(place)
    with pytest.raises(VaultError, match="does not have"):
        await unseal(row, kek=dev)
    with pytest.raises(VaultError, match="not as it was sealed"):
        await unseal(replace(row, kek_id=dev.kek_id), kek=dev)
    assert dev.kek_id != prod.kek_id
    elsewhere = own_kek(replace(place, url="https://other.test"))
    assert elsewhere.kek_id != dev.kek_id


async def test_a_token_that_was_revoked_ends_access_at_once(transit, place) -> None:
    kek = own_kek(place)
    row = await seal(CREDENTIAL, SECRET, kek=kek, random=secrets.token_bytes)
    transit.token = "hvs.another"
    with pytest.raises(VaultError, match="Forbidden"):
        await unseal(row, kek=kek)
    # A new token in the file is taken without a restart.
    place.token_file.write_text("hvs.another")
    assert await unseal(row, kek=kek) == SECRET
    place.token_file.chmod(0o644)
    with pytest.raises(VaultError, match="0600"):
        await unseal(row, kek=kek)


async def test_a_transit_engine_that_is_away_or_slow_is_an_error_in_time(
    transit, place
) -> None:
    kek = own_kek(place)
    transit.slow_s = TRANSIT_S_MAX + 0.5
    with pytest.raises(VaultError, match="Timeout"):
        await kek.wrap(b"k" * 32, bound=b"x")
    transit.slow_s = 0
    nobody = own_kek(replace(place, url="http://127.0.0.1:9"))
    with pytest.raises(VaultError, match="ConnectionError"):
        await nobody.wrap(b"k" * 32, bound=b"x")


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"ciphertext": "vault:v1:" + "A" * WRAPPED_BYTES_MAX}},
        {"data": {"ciphertext": "x"}},
        {"data": {}},
        {"data": None},
        {"data": {"plaintext": "no base64!"}},
        {"data": {"plaintext": "QUJD"}},
    ],
)
async def test_an_answer_that_makes_no_sense_is_an_error(
    transit, place, answer
) -> None:
    kek = own_kek(place)
    row = await seal(CREDENTIAL, SECRET, kek=kek, random=secrets.token_bytes)
    transit.answer = answer
    reads = "plaintext" in (answer["data"] or {})
    asking = unseal(row, kek=kek) if reads else kek.wrap(b"k" * 32, bound=b"x")
    with pytest.raises(VaultError):
        await asking


async def test_a_wrapped_key_of_another_form_is_not_sent(transit, place) -> None:
    kek = own_kek(place)
    longest = b"vault:v1:" + b"A" * (WRAPPED_BYTES_MAX - 9)
    for wrapped in (b"", b"x", b"vault:v1:a b", longest + b"A"):
        with pytest.raises(VaultError):
            await kek.unwrap(wrapped, bound=b"x")
    assert transit.asked == []


def test_the_transit_engine_is_named_by_settings(tmp_path, transit) -> None:
    told = {
        "COUNTERFOIL_STATE": str(tmp_path),
        "COUNTERFOIL_STAMP": "production",
        "COUNTERFOIL_EDGE_TRANSIT_URL": transit.url,
        "COUNTERFOIL_EDGE_TRANSIT_KEY": "edge-prod",
        "COUNTERFOIL_EDGE_TRANSIT_TOKEN_FILE": str(tmp_path / "token"),
    }
    # With it, production needs no key file anywhere.
    settings = from_environment(told)
    assert key_provider(settings).kek_id.startswith("transit:")
    assert not settings.kek_file.exists()
    for changes, said in (
        ({"COUNTERFOIL_EDGE_TRANSIT_URL": "http://vault.test"}, "https"),
        ({"COUNTERFOIL_EDGE_TRANSIT_KEY": ""}, "TRANSIT_KEY"),
        ({"COUNTERFOIL_EDGE_TRANSIT_URL": ""}, "TRANSIT_URL"),
    ):
        with pytest.raises(SettingsError, match=said):
            from_environment(told | changes)
    with pytest.raises(VaultError, match="plain names"):
        key_provider(from_environment(told | {"COUNTERFOIL_EDGE_TRANSIT_KEY": "../x"}))

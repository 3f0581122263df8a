"""Other issuers' keys: one bounded fetch per cooldown, never where it must not go."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from broker.core.identity.workload import WORKLOAD_KEYS_MAX
from broker.effects.federation import fetch as fetching
from broker.effects.federation.fetch import (
    FETCH_S_MAX,
    JWKS_BYTES_MAX,
    FetchError,
    fetch,
)
from broker.effects.federation.keys import (
    CONFIRMED_S_MAX,
    COOLDOWN_S,
    FRESH_S,
    JWKS_DEPTH_MAX,
    SETS_MAX,
    IssuerKeys,
)
from tests.support.certificates import Authority
from tests.support.identity.issuers import (
    KeyServer,
    cluster,
    ec_jwk,
    key_server,
    rsa,
    rsa_jwk,
    trust_domain,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.identity.workload import Federation

LOOPBACK = ("127.0.0.0/8",)


class World:
    """An issuer that answers what a test says, and a clock."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.asked = 0
        self.keys: list[dict] = [ec_jwk()]
        self.down = False
        self.held = IssuerKeys(get=self.get, monotonic=lambda: self.now_s)

    async def get(self, federation: Federation) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            msg = "nobody answers"
            raise FetchError(msg)
        return json.dumps({"keys": self.keys}).encode()

    async def has(self, kid: str) -> bool:
        return await self.held.key(fetched(), kid) is not None


def fetched(**changes) -> Federation:
    fields = {"keys": (), "jwks_url": "https://issuer.example/keys"} | changes
    return trust_domain(**fields)


async def test_pinned_keys_are_asked_of_nobody() -> None:
    world = World()
    assert await world.held.key(trust_domain(), "ec-1")
    assert await world.held.key(trust_domain(), "ec-2") is None
    assert world.asked == 0


async def test_a_flood_of_unknown_kids_causes_one_fetch_per_cooldown() -> None:
    world = World()
    assert await world.has("ec-1")
    flood = [world.has(f"unknown-{number}") for number in range(200)]
    assert not any(await asyncio.gather(*flood))
    assert world.asked == 1
    world.now_s += COOLDOWN_S
    flood = [world.has(f"unknown-{number}") for number in range(200)]
    assert not any(await asyncio.gather(*flood))
    assert world.asked == 2
    # And nothing that is known is lost by it.
    assert await world.has("ec-1")
    assert world.asked == 2


async def test_a_rotated_key_is_found_after_the_cooldown_and_the_old_one_is_gone() -> (
    None
):
    world = World()
    assert await world.has("ec-1")
    world.keys = [ec_jwk("next", "ec-2")]
    assert not await world.has("ec-2")
    world.now_s += COOLDOWN_S
    assert await world.has("ec-2")
    assert not await world.has("ec-1")


async def test_an_issuer_that_is_down_keeps_its_keys_for_an_hour_and_no_longer() -> (
    None
):
    world = World()
    assert await world.has("ec-1")
    world.down = True
    world.now_s += FRESH_S
    assert await world.has("ec-1")
    world.now_s += CONFIRMED_S_MAX - FRESH_S - 1
    assert await world.has("ec-1")
    world.now_s += 1
    assert not await world.has("ec-1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"keys": 5}',
        b'{"keys": [], "keys": []}',
        b"{" * (JWKS_DEPTH_MAX + 1),
        b'{"keys": [5, null, {}]}',
        b"\xff",
    ],
)
async def test_what_is_no_key_set_changes_nothing(body: bytes) -> None:
    async def get(_: Federation) -> bytes:
        return body

    held = IssuerKeys(get=get)
    assert await held.key(fetched(), "ec-1") is None


async def test_only_so_many_keys_and_sets_are_kept() -> None:
    world = World()
    world.keys = [ec_jwk(kid=f"k{number}") for number in range(WORKLOAD_KEYS_MAX + 1)]
    assert await world.has(f"k{WORKLOAD_KEYS_MAX - 1}")
    assert not await world.has(f"k{WORKLOAD_KEYS_MAX}")
    for number in range(SETS_MAX + 1):
        await world.held.key(fetched(jwks_url=f"https://i.example/{number}"), "k1")
    before = world.asked
    await world.held.key(fetched(jwks_url="https://i.example/0"), "k1")
    assert world.asked == before + 1


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[KeyServer, Federation]]:
    authority = Authority(tmp_path, "issuers")
    pair = authority.issue("issuer", use="server")
    async with key_server(pair, rsa_jwk(rsa()), ec_jwk()) as opened:
        trusted = cluster(
            keys=(),
            jwks_url=opened.url,
            networks=LOOPBACK,
            ca=authority.file.read_text(encoding="ascii"),
        )
        yield opened, trusted


async def test_keys_are_fetched_over_https_from_a_network_that_was_declared(
    server,
) -> None:
    opened, trusted = server
    held = IssuerKeys()
    assert await held.key(trusted, "rsa-1")
    assert await held.key(trusted, "ec-1")
    assert opened.asked == ["GET /keys HTTP/1.1"]


@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",), ("169.254.0.0/16",)])
async def test_a_name_that_leads_where_nothing_was_declared_sees_no_connection(
    server, networks
) -> None:
    opened, trusted = server
    inside = cluster(
        keys=(), jwks_url=trusted.jwks_url, networks=networks, ca=trusted.ca
    )
    with pytest.raises(FetchError):
        await fetch(inside)
    named = cluster(keys=(), jwks_url=f"https://localhost:{opened.port}/keys")
    with pytest.raises(FetchError):
        await fetch(named)
    for host in ("[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::1]", "[::]"):
        url = f"https://{host}:{opened.port}/keys"
        with pytest.raises(FetchError):
            await fetch(cluster(keys=(), jwks_url=url, networks=networks))
    assert opened.asked == []


async def test_metadata_addresses_are_asked_under_no_declaration() -> None:
    for host in ("169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"):
        url, everything = f"https://{host}/keys", ("0.0.0.0/0", "::/0")
        with pytest.raises(FetchError, match="no address"):
            await fetch(cluster(keys=(), jwks_url=url, networks=everything))


async def test_a_certificate_of_somebody_else_is_not_believed(server, tmp_path) -> None:
    opened, trusted = server
    other = Authority(tmp_path, "others").file.read_text(encoding="ascii")
    with pytest.raises(FetchError):
        await fetch(
            cluster(keys=(), jwks_url=trusted.jwks_url, networks=LOOPBACK, ca=other)
        )
    assert opened.asked == []


async def test_a_redirect_an_error_and_too_much_are_no_keys(server) -> None:
    opened, trusted = server
    opened.status, opened.headers = "302 Found", "location: https://127.0.0.1/x\r\n"
    with pytest.raises(FetchError, match="status 302"):
        await fetch(trusted)
    opened.status, opened.headers = "500 Oops", ""
    with pytest.raises(FetchError, match="status 500"):
        await fetch(trusted)
    opened.status, opened.body = "200 OK", b"x" * JWKS_BYTES_MAX
    assert len(await fetch(trusted)) == JWKS_BYTES_MAX
    opened.body += b"x"
    with pytest.raises(FetchError, match="more than"):
        await fetch(trusted)
    assert len(opened.asked) == 4


async def test_an_issuer_that_hangs_is_waited_for_a_bounded_time(
    server, monkeypatch
) -> None:
    opened, trusted = server
    opened.hang = True
    assert FETCH_S_MAX <= 5
    monkeypatch.setattr(fetching, "FETCH_S_MAX", 0.2)
    with pytest.raises(FetchError, match="no answer"):
        await fetch(trusted)

"""Access tokens: got once, kept for a while, and no refresh token is ever lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.core.canonical import canonical
from broker.core.warrants.events import EdgeEventKind
from broker.edge.egress.upstreams import Upstreams
from broker.edge.store import Store
from broker.edge.vault.kinds import VaultError
from broker.edge.vault.rows import REFRESH_WAIT_S_MAX, Rows
from broker.edge.vault.tokens import (
    AGAIN_S,
    LIFE_S_MAX,
    LIFE_S_UNSAID,
    RENEW_BEFORE_S,
    TOKEN_ANSWER_BYTES_MAX,
    TOKEN_BYTES_MAX,
    TOKEN_S_MAX,
)
from tests.edge.fake_upstream import Reply
from tests.edge.vault.conftest import make_safe
from tests.edge.vault.fake_rows import FakeRows
from tests.edge.vault.provider import CLIENT_SECRET, FIRST
from tests.edge.vault.shop import Shop, open_shop


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(make_safe(tmp_path, FakeRows(), None)) as made:
        yield made


PAIR = canonical({"client_secret": CLIENT_SECRET, "refresh_token": FIRST})


@pytest.mark.parametrize("auth", ["basic", "post"])
async def test_client_credentials_get_a_token_that_is_used_until_it_ends(
    shop, auth
) -> None:
    await shop.add("oauth_client", auth, CLIENT_SECRET.encode(), scope="orders:read")
    assert [await shop.get() for _ in range(3)] == [200] * 3
    [form] = shop.provider.forms
    assert (form["grant_type"], form["scope"]) == ("client_credentials", "orders:read")
    assert shop.server.seen[0].target == "/o/token/"
    shop.now += 3600 - RENEW_BEFORE_S - 1
    await shop.get()
    assert len(shop.provider.forms) == 1
    shop.now += 2
    assert await shop.get() == 200
    assert len(shop.provider.forms) == 2


@pytest.mark.control("7.6")
async def test_no_answer_may_hold_what_the_token_was_got_with(shop) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)
    access = await shop.access()
    assert set(access.secrets) == {
        shop.provider.tokens[-1].encode(),
        CLIENT_SECRET.encode(),
        FIRST.encode(),
        shop.provider.current.encode(),
    }


async def test_many_calls_at_once_get_one_token(shop) -> None:
    await shop.add("oauth_refresh", "post", PAIR)
    shop.provider.delay_s = 0.05
    statuses = await asyncio.gather(*(shop.get() for _ in range(20)))
    assert statuses == [200] * 20
    assert len(shop.provider.forms) == 1
    assert not shop.provider.ended


async def test_a_refresh_token_that_was_replaced_is_used_after_a_restart(shop) -> None:
    await shop.add("oauth_refresh", "none", FIRST.encode())
    for count in range(1, 4):
        assert await shop.get() == 200
        # Nothing of it is in clear beside the edge.
        stored = str(shop.safe.rows.rotated) + str(shop.safe.rows.events)
        assert shop.provider.current not in stored
        shop.restart()
        assert len(shop.safe.rows.rotated["shop", 1]) == count
    assert not shop.provider.ended
    kinds = [event.kind for event in await shop.safe.events()]
    assert kinds.count(EdgeEventKind.REFRESHED) == 3


async def test_a_refresh_token_that_stays_is_not_stored_again(shop) -> None:
    shop.provider.rotates = False
    await shop.add("oauth_refresh", "basic", PAIR)
    for _ in range(2):
        assert await shop.get() == 200
        shop.restart()
    assert shop.safe.rows.rotated == {}


async def test_the_token_is_stored_before_it_is_used(shop) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)

    def dies() -> None:
        msg = "died"
        raise RuntimeError(msg)

    shop.safe.rows.before_commit = dies
    with pytest.raises(RuntimeError, match="died"):
        await shop.get()
    # Whoever dies before it is stored has used nothing of it.
    assert [seen.method for seen in shop.server.seen] == ["POST"]


async def test_a_caller_that_gives_up_does_not_lose_the_token_for_others(shop) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)
    shop.provider.delay_s = 0.1
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await shop.get()
    await shop.keyring.tokens.close()
    assert shop.safe.rows.rotated["shop", 1][0][0] == 1
    assert await shop.get() == 200
    assert len(shop.provider.forms) == 1
    assert not shop.provider.ended


async def test_two_edges_never_use_one_refresh_token_twice(
    pg_database, tmp_path
) -> None:
    stores = [Store(pg_database.dsn("cf_edge"), password_file=None) for _ in range(2)]
    for store in stores:
        await store.open()
    safes = [
        make_safe(tmp_path, Rows(store, tenant="demo", environment="dev"), None)
        for store in stores
    ]
    async with open_shop(safes[0]) as one:
        two = Shop(safes[1], one.server, one.provider, one.upstreams)
        await one.add("oauth_refresh", "basic", PAIR)
        one.provider.delay_s = 0.05
        for _ in range(3):
            # Each needs a token of its own, at the same moment.
            one.restart()
            two.restart()
            await asyncio.gather(one.access(), two.access())
    assert not one.provider.ended
    assert len(one.provider.forms) == 6
    assert REFRESH_WAIT_S_MAX > TOKEN_S_MAX
    for store in stores:
        await store.close()


async def test_a_refresh_that_is_refused_is_told_and_not_tried_at_every_call(
    shop,
) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)
    shop.provider.ended = True
    for _ in range(3):
        with pytest.raises(VaultError, match="400 invalid_grant"):
            await shop.get()
    assert len(shop.provider.forms) == 1
    last = (await shop.safe.events())[-1]
    assert last.kind is EdgeEventKind.REFRESH_FAILED
    assert last.detail["problem"] == "the token endpoint answered 400 invalid_grant"
    shop.now += AGAIN_S + 0.1
    shop.provider.ended = False
    assert await shop.get() == 200


async def test_a_token_that_was_taken_back_is_got_anew_and_nothing_is_sent_again(
    shop,
) -> None:
    await shop.add("oauth_client", "basic", CLIENT_SECRET.encode())
    assert await shop.get() == 200
    shop.provider.tokens.append("another-one-is-good-now")
    assert await shop.get() == 401
    assert await shop.get() == 200
    assert [seen.method for seen in shop.server.seen] == [
        "POST", "GET", "GET", "POST", "GET",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"token_type": "DPoP"}, "no bearer"),
        ({"token_type": None}, "no bearer"),
        ({"access_token": "short"}, "visible ASCII"),
        ({"access_token": "x" * (TOKEN_BYTES_MAX + 1)}, "visible ASCII"),
        ({"access_token": "with a\r\nheader in the middle"}, "visible ASCII"),
        ({"access_token": 7}, "visible ASCII"),
        ({"refresh_token": "x"}, "refresh token"),
        ({"padding": "x" * TOKEN_ANSWER_BYTES_MAX}, "oversized"),
    ],
)
async def test_a_token_that_could_not_be_used_safely_is_refused(
    shop, more, said
) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)
    shop.provider.more = more
    with pytest.raises(VaultError, match=said):
        await shop.get()
    assert [seen.method for seen in shop.server.seen] == ["POST"]


async def test_what_was_replaced_is_stored_also_if_the_access_token_is_no_good(
    shop,
) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)
    shop.provider.more = {"token_type": "DPoP"}
    with pytest.raises(VaultError, match="no bearer"):
        await shop.get()
    shop.provider.more = {}
    shop.restart()
    # The one before would end the whole family.
    assert await shop.get() == 200
    assert not shop.provider.ended


async def test_a_token_of_the_largest_size_is_taken(shop) -> None:
    await shop.add("oauth_refresh", "basic", PAIR)
    shop.provider.more = {"access_token": "x" * TOKEN_BYTES_MAX}
    assert len((await shop.access()).secrets[0]) == TOKEN_BYTES_MAX


@pytest.mark.parametrize(
    ("life", "kept_s"),
    [(None, LIFE_S_UNSAID / 2), ("soon", LIFE_S_UNSAID / 2), (10**9, LIFE_S_MAX - 31)],
)
async def test_a_life_that_is_not_said_or_endless_is_bounded(
    shop, life, kept_s
) -> None:
    await shop.add("oauth_client", "basic", CLIENT_SECRET.encode())
    shop.provider.life_s = life
    await shop.get()
    shop.now += kept_s - 1
    await shop.get()
    assert len(shop.provider.forms) == 1
    shop.now += 33
    await shop.get()
    assert len(shop.provider.forms) == 2


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(302, b"", {"location": "https://evil.test"}), "redirect"),
        (Reply(200, b"<html>"), "answered 200"),
        (Reply(500, {"error": "Not A Code; evil"}), "answered 500$"),
        (Reply(drop=True), "upstream_broken"),
    ],
)
async def test_a_token_endpoint_that_answers_oddly_is_told_apart(
    shop, reply, said
) -> None:
    await shop.add("oauth_client", "basic", CLIENT_SECRET.encode())
    shop.server.answer = lambda _: reply
    with pytest.raises(VaultError, match=said):
        await shop.get()


async def test_a_token_endpoint_is_not_dialled_at_an_address_that_is_not_allowed(
    shop,
) -> None:
    async def rebound(_host: str, _port: int) -> list[str]:
        return ["169.254.169.254"]

    shop.upstreams = Upstreams(rebound)
    shop.restart()
    await shop.add("oauth_client", "basic", CLIENT_SECRET.encode())
    with pytest.raises(VaultError, match="address_refused"):
        await shop.get()
    assert shop.server.connections == 0
    await shop.upstreams.close()

"""The servers that tests are lent ask for passwords, and share nothing by accident."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from temporalio.client import Client
from temporalio.service import HttpConnectProxyConfig

from broker.cli.stack.embedded import Access
from broker.cli.stack.servers.valkey import MEMORY_MIB_MAX
from tests.support.servers import (
    ADMIN,
    BROKER,
    EDGE,
    OWNER,
    Database,
    this_host_elsewhere,
)


async def test_a_test_has_a_database_to_itself(pg_database: Database) -> None:
    connection = await asyncpg.connect(pg_database.dsn())
    try:
        await connection.execute("CREATE TABLE mine (id int)")
        assert await connection.fetchval("SELECT current_user") == OWNER
        assert await connection.fetchval("SELECT current_database()") != "counterfoil"
    finally:
        await connection.close()


async def test_nobody_but_the_administrator_is_a_superuser(servers: Access) -> None:
    connection = await asyncpg.connect(servers.dsn(role=ADMIN, database="postgres"))
    try:
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolsuper")
        assert [row["rolname"] for row in rows] == [ADMIN]
    finally:
        await connection.close()


@pytest.mark.parametrize("role", [ADMIN, OWNER, BROKER, EDGE])
async def test_postgres_refuses_a_wrong_password_for_every_role(
    servers: Access, role: str
) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=servers.database_host,
            user=role,
            password="wrong",
            database="counterfoil",
        )


async def test_postgres_refuses_to_go_without_a_password(servers: Access) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=servers.database_host,
            user=ADMIN,
            passfile="/nonexistent",
            database="postgres",
        )


async def test_one_role_cannot_log_in_with_the_password_of_another(
    servers: Access,
) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host=servers.database_host,
            user=EDGE,
            password=servers.passwords[BROKER],
            database="counterfoil",
        )


def test_valkey_refuses_wrong_and_missing_passwords(valkey_url: str) -> None:
    path = valkey_url.partition("@")[2].partition("?")[0]
    once = Retry(NoBackoff(), 0)
    for password in (None, "", "wrong"):
        with (
            redis.Redis(unix_socket_path=path, password=password, retry=once) as client,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            client.get("x")
    with redis.Redis.from_url(valkey_url) as client:
        assert client.get("x") is None


def test_valkey_refuses_to_forget_when_it_is_full(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        settings = client.config_get("maxmemory*")
    assert settings["maxmemory"] == str(MEMORY_MIB_MAX * 2**20)
    assert settings["maxmemory-policy"] == "noeviction"


async def test_temporal_answers_through_its_proxy(temporal_client: Client) -> None:
    assert await temporal_client.service_client.check_health()


@pytest.mark.parametrize("auth", [None, ("broker", "wrong"), ("nobody", "x")])
async def test_temporal_refuses_who_does_not_know_a_password(
    servers: Access, auth: tuple[str, str] | None
) -> None:
    with pytest.raises(RuntimeError, match=r"(?i)connect"):
        await Client.connect(
            servers.temporal_address,
            http_connect_proxy_config=HttpConnectProxyConfig(
                target_host=f"unix:{servers.temporal_proxy}", basic_auth=auth
            ),
        )


async def test_temporal_has_a_port_here_only_where_namespaces_are_refused(
    servers: Access,
) -> None:
    host, _, port = servers.temporal_address.partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        reachable = False
    else:
        reachable = True
        writer.close()
    assert reachable == bool(this_host_elsewhere()["network_namespace_refusal"])

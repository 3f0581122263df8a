"""Each role logs in with its own password, here and on a server of somebody else's."""

from __future__ import annotations

import secrets

import asyncpg
import pytest

from broker.cli.stack.embedded import Access
from broker.cli.stack.servers.accounts import BROKER, DATABASE, EDGE, OWNER, SEQUENCER
from broker.cli.stack.servers.roles import (
    CONNECT_S_MAX,
    Admin,
    ensure,
    require_password,
)
from tests.support.servers import ADMIN

# They change roles that all test processes share; two at once would collide.
pytestmark = pytest.mark.xdist_group("roles")


@pytest.fixture
def superuser(servers: Access) -> Admin:
    return Admin(
        url=servers.dsn(role=ADMIN, database="postgres").replace(
            f":{servers.passwords[ADMIN]}@", "@"
        ),
        password=servers.passwords[ADMIN],
    )


async def ask(servers: Access, question: str, *arguments, role=ADMIN, database=None):
    connection = await asyncpg.connect(
        servers.dsn(role=role, database=database or "postgres"), timeout=CONNECT_S_MAX
    )
    try:
        return await connection.fetchval(question, *arguments)
    finally:
        await connection.close()


async def test_making_the_roles_again_changes_nothing(servers, superuser) -> None:
    passwords = {role: servers.passwords[role] for role in (OWNER, BROKER, EDGE)}
    for _ in range(2):
        await ensure(superuser, passwords=passwords)
    for role in passwords:
        user = await ask(servers, "SELECT current_user", role=role, database=DATABASE)
        assert user == role
        may = await ask(
            servers,
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls"
            " FROM pg_roles WHERE rolname = $1",
            role,
        )
        assert may is False, role


async def test_the_sequencer_cannot_log_in_and_lends_the_owner_no_rights(
    servers,
) -> None:
    login = await ask(
        servers, "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", SEQUENCER
    )
    assert login is False
    inherits = await ask(
        servers, "SELECT pg_has_role($1, $2, 'USAGE')", OWNER, SEQUENCER
    )
    assert inherits is False
    may_set = await ask(servers, "SELECT pg_has_role($1, $2, 'SET')", OWNER, SEQUENCER)
    assert may_set is True


async def test_nobody_gets_into_the_database_but_those_who_are_named(servers) -> None:
    public = await ask(
        servers,
        "SELECT EXISTS (SELECT FROM pg_database, aclexplode(datacl) AS entry"
        " WHERE datname = $1 AND grantee = 0)",
        DATABASE,
    )
    assert public is False


async def test_a_server_of_somebody_elses_needs_only_one_who_may_make_roles(
    servers, superuser
) -> None:
    name, password = f"dba_{secrets.token_hex(4)}", secrets.token_hex(16)
    other = {role: servers.passwords[role] for role in (BROKER, EDGE)}
    connection = await asyncpg.connect(superuser.url, password=superuser.password)
    try:
        await connection.execute(
            f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD '{password}'"
        )
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        for role in (BROKER, EDGE, SEQUENCER):
            # On a server of their own they would not exist; here they do.
            await connection.execute(f"GRANT {role} TO {name} WITH ADMIN OPTION")
        url = f"postgresql://{name}@/{name}?host={servers.database_host}"
        await ensure(Admin(url=url, password=password), passwords=other)
        user = await ask(servers, "SELECT current_user", role=BROKER, database=name)
        assert user == BROKER
        may_set = await ask(
            servers, "SELECT pg_has_role($1, $2, 'SET')", name, SEQUENCER
        )
        assert may_set is True
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"DROP OWNED BY {name} CASCADE")
        await connection.execute(f"DROP ROLE {name}")
        await connection.close()


async def test_a_password_that_could_end_the_statement_is_refused(superuser) -> None:
    with pytest.raises(ValueError, match="characters"):
        await ensure(superuser, passwords={BROKER: "x' SUPERUSER --"})


async def test_a_server_that_asks_for_a_password_is_fit_for_production(
    superuser,
) -> None:
    await require_password(superuser)

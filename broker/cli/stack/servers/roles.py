"""Make the database roles and the database: ``python -P -m ...servers.roles``.

Everybody has a password of their own, read from the file beside the process that uses
it. Run again, it changes nothing but passwords that differ. The owner of the database
is no superuser, as with managed PostgreSQL; what the others may do is granted by the
migrations.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from broker.cli.stack.servers.accounts import (
    ADMIN_PASSWORD_VARIABLE,
    ADMIN_URL_VARIABLE,
    BROKER,
    DATABASE,
    EDGE,
    FILES_VARIABLE,
    OWNER,
    SEQUENCER,
)

CONNECT_S_MAX = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """How to reach the server as one who may make roles.

    Attributes:
        url: Without a password.
        password: Empty where the server is asked without one.
    """

    url: str
    password: str


async def ensure(admin: Admin, *, passwords: Mapping[str, str]) -> None:
    """Make each role log in with its password, and the database belong to the owner.

    Without the owner among the roles, the administrator is the owner, and the database
    is the one that the administrator is connected to.

    Args:
        admin: One who may make roles; with the owner among them, databases too.
        passwords: From role to password; letters, digits, ``-`` and ``_`` only.

    Raises:
        asyncpg.PostgresError: The administrator may not do that.
        ValueError: A password has other characters.
    """
    connection = await asyncpg.connect(
        admin.url, password=admin.password or None, timeout=CONNECT_S_MAX
    )
    try:
        for role, password in passwords.items():
            await _ensure_role(connection, role, password)
        if OWNER in passwords:
            owner, database = OWNER, DATABASE
            await _ensure_database(connection)
        else:
            owner = await connection.fetchval("SELECT quote_ident(current_user)")
            database = await connection.fetchval(
                "SELECT quote_ident(current_database())"
            )
        await connection.execute(
            f"GRANT CONNECT ON DATABASE {database} TO {BROKER}, {EDGE}"
        )
        await _ensure_sequencer(connection, owner)
    finally:
        await connection.close()


async def require_password(admin: Admin) -> None:
    """Return if the server refuses a wrong password.

    Raises:
        ValueError: It lets anybody in.
    """
    try:
        connection = await asyncpg.connect(
            admin.url, password=secrets.token_urlsafe(), timeout=CONNECT_S_MAX
        )
    except asyncpg.InvalidPasswordError:
        return
    await connection.close()
    msg = "the server trusts whoever connects, which production refuses"
    raise ValueError(msg)


async def _ensure_role(
    connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str
) -> None:
    if not password.replace("-", "a").replace("_", "a").isalnum():
        msg = f"the password of {role} has characters that it must not have"
        raise ValueError(msg)
    exists = await connection.fetchval(
        "SELECT true FROM pg_roles WHERE rolname = $1", role
    )
    verb = "ALTER" if exists else "CREATE"
    # Utility statements take no parameters; neither value can hold a quote. A new role
    # may nothing beyond logging in.
    await connection.execute(f"{verb} ROLE {role} LOGIN PASSWORD '{password}'")


async def _ensure_database(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    exists = await connection.fetchval(
        "SELECT true FROM pg_database WHERE datname = $1", DATABASE
    )
    if not exists:
        await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    # Only those whom the migrations name get in.
    await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")


async def _ensure_sequencer(
    connection: "asyncpg.Connection[asyncpg.Record]", owner: str
) -> None:
    """Make the role that nobody logs in as, and that the log's functions run as.

    The owner may hand functions over to it, and gains none of its rights by that.
    """
    exists = await connection.fetchval(
        "SELECT true FROM pg_roles WHERE rolname = $1", SEQUENCER
    )
    if not exists:
        await connection.execute(f"CREATE ROLE {SEQUENCER} NOLOGIN")
    await connection.execute(
        f"GRANT {SEQUENCER} TO {owner} WITH INHERIT FALSE, SET TRUE"
    )


def main() -> None:
    """Read the order from the environment and carry it out."""
    password_file = os.environ.get(ADMIN_PASSWORD_VARIABLE)
    admin = Admin(
        url=os.environ[ADMIN_URL_VARIABLE],
        password=_secret(password_file) if password_file else "",
    )
    pairs = (
        pair.partition("=") for pair in os.environ[FILES_VARIABLE].split(os.pathsep)
    )
    passwords = {role: _secret(path) for role, _, path in pairs}
    try:
        if os.environ.get("COUNTERFOIL_STAMP") == "production":
            asyncio.run(require_password(admin))
        asyncio.run(ensure(admin, passwords=passwords))
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
        sys.exit(f"roles: {error}")


def _secret(path: str) -> str:
    return Path(path).read_text("utf-8").removesuffix("\n")


if __name__ == "__main__":
    main()

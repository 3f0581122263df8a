"""Bring the tables up to what this version needs, as the database's owner."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, make_url

MIGRATIONS = Path(__file__).resolve().parents[2] / "infra" / "migrations"


def upgrade(url: str, *, password: str | None = None) -> None:
    """Run every migration that has not run yet.

    ``env.py`` finds the database as ``config.attributes["url"]``, a SQLAlchemy URL for
    asyncpg with its password.

    Args:
        url: PostgreSQL URL of the owner.
        password: The owner's, where the URL does not say it.

    Raises:
        CommandError: The tables were made by other files than this version's.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = _for_asyncpg(url, password)
    command.upgrade(config, "head")


def _for_asyncpg(url: str, password: str | None) -> URL:
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    return parsed.set(password=password) if password is not None else parsed


def migrate(environment: Mapping[str, str] = os.environ) -> None:
    """Run the migrations on the database that the environment names."""
    file = environment.get("COUNTERFOIL_DATABASE_PASSWORD_FILE")
    password = Path(file).read_text("utf-8").removesuffix("\n") if file else None
    try:
        upgrade(environment["COUNTERFOIL_DATABASE_URL"], password=password)
    except CommandError as error:
        sys.exit(str(error))

"""Put the vault together from the edge's settings."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from broker.edge.identity import load_kek, read_secret
from broker.edge.vault.access import Keyring
from broker.edge.vault.events import Notary
from broker.edge.vault.keeper import Vault
from broker.edge.vault.rows import Rows
from broker.edge.vault.tokens import Tokens
from broker.sealing import FileKek

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from broker.edge.egress.upstreams import Upstreams
    from broker.edge.identity import Identity
    from broker.edge.settings import Settings
    from broker.edge.store import Store
    from broker.sealing import KeyProvider


def key_provider(settings: Settings) -> KeyProvider:
    """Return who wraps keys: a transit engine where one is named, else a file's key.

    Raises:
        VaultError: The transit engine is named wrongly.
        IdentityError: The key file is malformed or open to others.
    """
    if settings.transit is None:
        kek = load_kek(settings.kek_file, make=True)
        return FileKek(kek, random=secrets.token_bytes)
    # Only here: it takes 100 ms and 10 MB that an edge with a key file does not need.
    from broker.sealing.transit import TransitKek  # noqa: PLC0415

    return TransitKek(settings.transit, read=read_secret)


def open_vault(
    settings: Settings,
    store: Store,
    identity: Identity,
    *,
    by: str,
    now: Callable[[], datetime],
) -> Vault:
    """Return the vault of this edge's tenant and environment."""
    notary = Notary(
        identity=identity,
        tenant=settings.tenant,
        environment=settings.environment,
        by=by,
        now=now,
    )
    rows = Rows(store, tenant=settings.tenant, environment=settings.environment)
    return Vault(rows=rows, kek=key_provider(settings), notary=notary)


def keyring_of(vault: Vault, upstreams: Upstreams) -> Keyring:
    """Return what gives access to upstreams."""
    tokens = Tokens(vault.rows, notary=vault.notary, ask=upstreams.ask)
    return Keyring(vault, tokens)

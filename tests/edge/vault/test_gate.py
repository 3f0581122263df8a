"""An order to try a credential is taken once, here, for one version, and soon."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.core.jwk import SEED_BYTES
from broker.core.jws import Algorithm, private_from_seed, sign
from broker.core.warrants.probes import (
    PROBE_TTL_S_MAX,
    PROBE_TYP,
    PROBE_VERSION_MAX,
    probe_claims,
)
from broker.core.words.warrant import WARRANT_TYP
from broker.edge.store import Epochs
from broker.edge.vault.gate import Gate
from broker.edge.vault.kinds import VaultError
from tests.edge.lab import ENVIRONMENT, ISSUER, TENANT, WARRANT_KEY, probe_order
from tests.edge.lab import signed_probe as signed
from tests.edge.manifests import TOOLS

TOOL = TOOLS["orders.get"]
EDGE = "edge-1"
GLOBAL = f"global:{ENVIRONMENT}"


def made(**changes: Any) -> Any:
    plain = probe_order(EDGE, TOOL, {"order": "W1"}, version=2)
    return replace(plain, **changes)


def gate(*, epochs: dict[str, int] | None = None, later_s: int = 0) -> Gate:
    spent: set[str] = set()

    async def spend(order: Any) -> tuple[bool, Epochs]:
        fresh = order.warrant_id not in spent
        spent.add(order.warrant_id)
        return fresh, Epochs(epochs or {}, 0.0)

    return Gate(
        keys=lambda: {WARRANT_KEY.kid: WARRANT_KEY.public()},
        edge=EDGE,
        tenant=TENANT,
        environment=ENVIRONMENT,
        tools={one.digest: one for one in TOOLS.values()},
        spend=spend,
        now=lambda: datetime.now(UTC) + timedelta(seconds=later_s),
    )


async def accept(token: str, at: Gate | None = None, *, version: int = 2) -> Any:
    at = at or gate()
    return await at.accept(token, connector=TOOL.connector, version=version)


async def test_an_order_is_taken_once_with_what_it_was_made_for() -> None:
    at, order = gate(), made()
    assert await accept(signed(order), at) == (
        replace(
            order,
            issued_at=_cut(order.issued_at),
            expires_at=_cut(order.expires_at),
        ),
        TOOL,
    )
    with pytest.raises(VaultError, match="used before"):
        await accept(signed(order), at)


def _cut(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


STRANGER = private_from_seed(b"x" * SEED_BYTES, algorithm=Algorithm.EDDSA)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x.y.z",
        signed(made(), key=STRANGER),
        sign(probe_claims(made(), issuer=ISSUER), key=WARRANT_KEY, typ=WARRANT_TYP),
        sign(
            probe_claims(made(), issuer=ISSUER) | {"more": 1},
            key=WARRANT_KEY,
            typ=PROBE_TYP,
        ),
        sign(
            probe_claims(made(), issuer=ISSUER) | {"version": PROBE_VERSION_MAX + 1},
            key=WARRANT_KEY,
            typ=PROBE_TYP,
        ),
    ],
)
async def test_what_the_broker_did_not_sign_as_such_is_no_order(token) -> None:
    with pytest.raises(VaultError, match="order"):
        await accept(token)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"edge": "edge-2"}, "another edge"),
        ({"environment": "prod"}, "another edge or environment"),
        ({"tenant": "another"}, "another edge"),
        ({"version": 3}, "version 3"),
        ({"connector": "other"}, "for other"),
        ({"manifest": "0" * 64}, "manifest"),
        ({"tool": "orders.refund"}, "manifest"),
        ({"epochs": (("person:carol", 0),)}, "epoch"),
    ],
)
async def test_an_order_for_something_else_is_refused(changes, said) -> None:
    with pytest.raises(VaultError, match=said):
        await accept(signed(made(**changes)))


async def test_an_order_ends_and_is_revoked_with_its_person_or_by_the_kill_switch():
    with pytest.raises(VaultError, match="expired"):
        await accept(signed(made()), gate(later_s=61))
    with pytest.raises(VaultError, match="begins later"):
        await accept(signed(made()), gate(later_s=-10))
    for scope in (GLOBAL, "person:carol"):
        with pytest.raises(VaultError, match="revoked"):
            await accept(signed(made()), gate(epochs={scope: 1}))


def test_an_order_lives_up_to_its_limit_and_no_second_longer() -> None:
    now = datetime.now(UTC)
    longest = now + timedelta(seconds=PROBE_TTL_S_MAX)
    assert made(issued_at=now, expires_at=longest).expires_at == longest
    for life_s in (0, PROBE_TTL_S_MAX + 1):
        with pytest.raises(ValueError, match="lives up to"):
            made(issued_at=now, expires_at=now + timedelta(seconds=life_s))

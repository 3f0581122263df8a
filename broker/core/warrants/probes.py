"""The order to try a credential: one harmless request of one tool, once, soon.

A person of security asks for it, the broker records that and signs it with the warrant
key, and the edge takes it instead of a warrant: no agent, interaction or connector has
a part in it. It names the version to try, and everything that the request is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  (dataclass fields are inspected)
from typing import TYPE_CHECKING, Any, Final

from broker.core.warrants.orders import DIGEST, Claims, OrderError, to_ms
from broker.core.words.effect import Effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.tool import EgressRequest, Tool

PROBE_TYP: Final = "counterfoil-probe+jwt"
PROBE_TTL_S_MAX: Final = 120
"""Longer than a warrant lives: a person carries it from the broker to the edge."""

PROBE_VERSION_MAX: Final = 1_000_000

_CLAIMS = frozenset(
    {
        *("jti", "iss", "aud", "iat_ms", "exp_ms", "tenant", "environment"),
        *("connector", "version", "tool", "manifest", "arguments", "customer"),
        *("by", "epochs"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOrder:
    """What one edge may send once to try one version of a connector's credential.

    ``by`` is the person who asked; their epochs void it, as the kill switch does.
    """

    order_id: str
    tenant: str
    environment: str
    edge: str
    connector: str
    version: int
    tool: str
    manifest: str
    arguments: Mapping[str, Any]
    customer_id: str
    by: str
    epochs: tuple[tuple[str, int], ...]
    issued_at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        """Refuse a life beyond the limit."""
        life_s = (self.expires_at - self.issued_at).total_seconds()
        if not 0 < life_s <= PROBE_TTL_S_MAX:
            msg = f"an order to try lives up to {PROBE_TTL_S_MAX} s, got {life_s}"
            raise ValueError(msg)

    @property
    def warrant_id(self) -> str:
        """Return what is spent: an order is spent where warrants are."""
        return self.order_id

    @property
    def action_id(self) -> str:
        """Return what it is spent for; there is no action behind it."""
        return self.order_id


def harmless(tool: Tool) -> EgressRequest | None:
    """Return the tool's first GET, if the tool reads."""
    if tool.effect is not Effect.READ:
        return None
    gets = (one for one in tool.requests if one.method == "GET" and not one.effectful)
    return next(gets, None)


def probe_claims(order: ProbeOrder, *, issuer: str) -> dict[str, Any]:
    """Return the claims of an order; times are cut to whole milliseconds."""
    return {
        "jti": order.order_id,
        "iss": issuer,
        "aud": order.edge,
        "iat_ms": to_ms(order.issued_at),
        "exp_ms": to_ms(order.expires_at),
        "tenant": order.tenant,
        "environment": order.environment,
        "connector": order.connector,
        "version": order.version,
        "tool": order.tool,
        "manifest": order.manifest,
        "arguments": dict(order.arguments),
        "customer": order.customer_id,
        "by": order.by,
        "epochs": dict(order.epochs),
    }


def parse_probe(claims: Mapping[str, Any]) -> ProbeOrder:
    """Read an order from verified claims.

    Raises:
        OrderError: A claim is missing, unknown or malformed, or the life is too long.
    """
    read = Claims(claims, _CLAIMS)
    read.text("iss")
    try:
        return ProbeOrder(
            order_id=read.id("jti"),
            tenant=read.text("tenant"),
            environment=read.text("environment"),
            edge=read.text("aud"),
            connector=read.text("connector"),
            version=read.integer("version", most=PROBE_VERSION_MAX),
            tool=read.text("tool"),
            manifest=read.form("manifest", DIGEST),
            arguments=read.object("arguments"),
            customer_id=read.text("customer", empty=True),
            by=read.text("by"),
            epochs=read.epochs("epochs"),
            issued_at=read.time("iat_ms"),
            expires_at=read.time("exp_ms"),
        )
    except OrderError:
        raise
    except ValueError as error:
        raise OrderError(str(error)) from None

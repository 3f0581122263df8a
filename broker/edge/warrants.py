"""Check a warrant before it is spent: whose it is, what it orders, and until when.

Pure: the token, the pinned key, this edge, its manifests and the time go in, an order
or a refusal comes out. Spending and epochs need PostgreSQL and follow in `desk`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from broker.core.jws import JwsError, verify
from broker.core.warrants.orders import OrderError, parse_warrant
from broker.core.words.warrant import WARRANT_TYP

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.core.jws import PublicKey
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Warrant

INVALID: Final = "warrant_invalid"
EXPIRED: Final = "warrant_expired"
WRONG_EDGE: Final = "wrong_edge"
UNKNOWN: Final = "manifest_unknown"
SPENT: Final = "warrant_spent"
REVOKED: Final = "revoked"
NO_CREDENTIAL: Final = "no_credential"
NO_EPOCHS: Final = "epochs_unavailable"
DRAINING: Final = "draining"
TOO_BUSY: Final = "too_busy"

SKEW_S_MAX: Final = 2
"""How far the broker's clock may be ahead of the edge's."""


class RefusedError(Exception):
    """A warrant that is not accepted; ``code`` is one of the edge's refusal codes."""

    def __init__(self, code: str, detail: str) -> None:
        """Keep the code apart from a sentence without personal data."""
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Order:
    """A warrant that is valid here and now, with the manifest that it names."""

    warrant: Warrant
    tool: Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What a warrant must name: this edge process, and whom it works for."""

    edge: str
    boot: str
    tenant: str
    environment: str


def examine(
    token: str,
    *,
    keys: Mapping[str, PublicKey],
    here: Here,
    tools: Mapping[str, Tool],
    now: datetime,
) -> Order:
    """Return the order in a token.

    Raises:
        RefusedError: ``warrant_invalid``, ``wrong_edge``, ``warrant_expired`` or
            ``manifest_unknown``.
    """
    warrant = _read(token, keys)
    named = (warrant.edge, warrant.boot, warrant.tenant, warrant.environment)
    if named != (here.edge, here.boot, here.tenant, here.environment):
        raise RefusedError(WRONG_EDGE, "made out to another edge, boot or environment")
    if warrant.expires_at <= now:
        raise RefusedError(EXPIRED, "the warrant has expired")
    if warrant.issued_at > now + timedelta(seconds=SKEW_S_MAX):
        raise RefusedError(INVALID, "the warrant was issued in the future")
    scopes = {scope for scope, _ in warrant.epochs}
    # What a person ordered is void with them; it goes on if the agent was revoked.
    who = f"agent:{warrant.agent_id}"
    who = f"person:{warrant.person_id}" if warrant.person_id else who
    if not {f"global:{warrant.environment}", who} <= scopes:
        raise RefusedError(
            INVALID, "the warrant names no epoch of environment, or of who asked"
        )
    tool = tools.get(warrant.manifest)
    if tool is None:
        raise RefusedError(UNKNOWN, "no manifest here has this digest")
    if (tool.name, tool.connector) != (warrant.tool, warrant.connector):
        raise RefusedError(INVALID, "the manifest belongs to another tool")
    if tool.binding.needs_customer and not warrant.customer_id:
        raise RefusedError(INVALID, "the tool needs a customer and none is named")
    effectful = any(request.effectful for request in tool.requests)
    if effectful and not warrant.idempotency_key:
        raise RefusedError(INVALID, "an effectful tool needs an idempotency key")
    return Order(warrant, tool)


def _read(token: str, keys: Mapping[str, PublicKey]) -> Warrant:
    try:
        return parse_warrant(verify(token, keys=keys, typ=WARRANT_TYP, floats=True))
    except JwsError as error:
        raise RefusedError(INVALID, f"signature: {error.problem}") from None
    except OrderError as error:
        raise RefusedError(INVALID, str(error)) from None

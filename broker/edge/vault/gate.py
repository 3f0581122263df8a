"""Let nobody try a credential without an order that the broker signed for this.

Whoever may run the edge's program still needs a person of security, who is in the log
before anything is sent; the order is spent where warrants are, and expires.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from broker.core.jws import JwsError, verify
from broker.core.warrants.orders import OrderError
from broker.core.warrants.probes import PROBE_TYP, ProbeOrder, parse_probe
from broker.edge.vault.kinds import VaultError
from broker.edge.warrants import SKEW_S_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from broker.core.jws import PublicKey
    from broker.core.words.tool import Tool
    from broker.edge.store import Epochs

ORDER_BYTES_MAX: Final = 65_536
_HOW = "counterfoil edge order makes one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Which orders this edge takes; ``tools`` are known by their digests."""

    keys: Callable[[], Mapping[str, PublicKey]]
    edge: str
    tenant: str
    environment: str
    tools: Mapping[str, Tool]
    spend: Callable[[ProbeOrder], Awaitable[tuple[bool, Epochs]]]
    now: Callable[[], datetime]

    async def accept(
        self, token: str, *, connector: str, version: int
    ) -> tuple[ProbeOrder, Tool]:
        """Spend an order for this version, and return it with its tool.

        Raises:
            VaultError: It is not one, not for this, not for here, expired or spent.
            StoreError: Nobody knows whether it was spent; it counts as spent.
        """
        order = self._read(token)
        here = (self.edge, self.tenant, self.environment)
        if (order.edge, order.tenant, order.environment) != here:
            msg = "the order is made out to another edge or environment"
            raise VaultError(msg)
        if (order.connector, order.version) != (connector, version):
            msg = f"the order is for {order.connector} version {order.version}"
            raise VaultError(msg)
        now = self.now()
        early = order.issued_at > now + timedelta(seconds=SKEW_S_MAX)
        if early or order.expires_at <= now:
            msg = f"the order has expired, or begins later; {_HOW}"
            raise VaultError(msg)
        tool = self.tools.get(order.manifest)
        if tool is None or (tool.name, tool.connector) != (order.tool, connector):
            msg = "the order names a manifest that this edge does not have"
            raise VaultError(msg)
        if f"global:{self.environment}" not in dict(order.epochs):
            msg = "the order names no epoch of this environment"
            raise VaultError(msg)
        fresh, epochs = await self.spend(order)
        if not fresh:
            msg = f"the order was used before; {_HOW}"
            raise VaultError(msg)
        if epochs.revoked(order.epochs):
            msg = "the order was revoked, by the kill switch or with its person"
            raise VaultError(msg)
        return order, tool

    def _read(self, token: str) -> ProbeOrder:
        try:
            claims = verify(token, keys=self.keys(), typ=PROBE_TYP, floats=True)
            return parse_probe(claims)
        except JwsError as error:
            msg = f"this is no order of the broker to try a credential: {error.problem}"
            raise VaultError(msg) from None
        except OrderError as error:
            msg = f"the order is malformed: {error}"
            raise VaultError(msg) from None

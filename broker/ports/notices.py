"""What is needed to tell people: rows of notices, subscriptions, and who carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.jwk import PrivateKey
    from broker.core.notices.schedule import Subscription, Told
    from broker.core.words.entry import AuditEntry
    from broker.core.words.notice import Carried, NoticeOrder


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice on its way to one subscriber; ``tries`` counts this one too."""

    delivery_id: str
    subscription_id: str
    tries: int
    held_back: int
    told: Told


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sealed address lies, and what its ciphertext hashes to."""

    payload_id: str
    sha256: str


class Notices(Protocol):
    """Notices and who gets them."""

    async def subscriptions(self) -> Sequence[Subscription]:
        """Return every subscription whose row verifies, removed ones too, by id."""

    async def epochs(self, subscription_id: str) -> tuple[tuple[str, int], ...]:
        """Return what an order for this subscriber is issued under."""

    async def keep_address(self, person_id: str, address: str) -> Address:
        """Seal an address under its person's key, and keep it."""

    async def address(self, subscription: Subscription) -> str:
        """Return a subscriber's address; empty if it was erased or is not theirs."""

    async def expiring(self) -> None:
        """Make the notices of approvals that end soon."""

    async def fresh(self, *, limit: int) -> Sequence[Told]:
        """Return what nobody was chosen for yet, the oldest first."""

    async def spread(self, told: Told, to: Sequence[Subscription]) -> None:
        """Note who gets it; what is beyond a cap is held back."""

    async def take(self, *, limit: int) -> Sequence[Delivery]:
        """Take deliveries that are due, for a while."""

    async def done(
        self,
        delivery: Delivery,
        carried: Carried,
        *,
        state: str,
        pause_s: float,
        entries: Sequence[AuditEntry],
    ) -> None:
        """Note what became of one, with the entry of its alarm if it raised one."""

    async def digest(self, approval_id: str) -> str:
        """Return the digest that an approval's columns name, empty if there is none."""

    async def purge(self) -> None:
        """Delete what is old."""


class Courier(Protocol):
    """The edge, which alone can send."""

    async def address(self) -> tuple[str, str]:
        """Return edge id and boot id that an order must name."""

    async def carry(self, order: NoticeOrder) -> Carried:
        """Have a notice sent under a single-use order; the receipt is verified.

        Raises:
            ExecutorUnavailableError: it was not sent, or nobody can say.
        """


@dataclass(frozen=True, slots=True)
class Mailroom:
    """Everything that telling people takes.

    ``issuer`` is our base URL, to which links lead; ``link_key`` signs reject links and
    the votes that they lead to. ``alarm`` tells the operators; ``chance`` draws a
    number from 0 to 1.
    """

    rows: Notices
    courier: Courier
    issuer: str
    tenant: str
    environment: str
    link_key: PrivateKey
    alarm: Callable[[str, Mapping[str, object]], None]
    chance: Callable[[], float]

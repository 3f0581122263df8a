"""Say what passes between the parts: an answer, and the change it stands for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

CURRENCY: Final = "USD"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller is told: an HTTP status and a JSON value.

    The value is an object, except for the journal's. ``headers`` holds what only this
    answer carries.
    """

    status: int
    body: Mapping[str, object] | Sequence[Mapping[str, object]]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of a customer's affairs, as the journal tells it.

    ``object_id`` is the order, or for a reply the customer.
    ``amount_minor_units`` is the money that moved back to the customer, in cents.
    """

    kind: str
    object_id: str
    customer_id: str
    amount_minor_units: int | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Occasion:
    """When a request is answered, and the idempotency key that it brought."""

    now: datetime
    idempotency_key: str | None

    def __post_init__(self) -> None:
        """Refuse a naive time: it would be stored in the host's time zone."""
        if self.now.tzinfo is None:
            msg = "now must carry a time zone"
            raise ValueError(msg)

    @property
    def at(self) -> str:
        """The time as RFC 3339 in UTC with microseconds."""
        return self.now.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def refusal(status: int, error: str, /, **more: object) -> Answer:
    """Return a refusal: a stable code in ``error``, and what else helps."""
    return Answer(status, {"error": error, **more})


def canonical(value: object) -> str:
    """Write JSON one way only: sorted keys, no spaces, plain UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

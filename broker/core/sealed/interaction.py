"""The sealed form of an interaction: the row's authoritative content."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from broker.core.words.subject import Interaction, VerificationLevel

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMES = ("ai_disclosed_at", "opened_at", "closed_at")
_TEXTS = (
    "interaction_id",
    "tenant",
    "environment",
    "use_case",
    "agent_id",
    "channel_id",
    "channel",
    "customer_id",
    "customer_ref",
    "locale",
    "purpose",
    "consent_version",
    "release",
)


def to_payload(interaction: Interaction) -> dict[str, Any]:
    """Return an interaction as JSON to be sealed."""
    sealed: dict[str, Any] = {name: getattr(interaction, name) for name in _TEXTS}
    for name in _TIMES:
        at: datetime | None = getattr(interaction, name)
        sealed[name] = at.isoformat() if at else None
    sealed["verification"] = int(interaction.verification)
    sealed["topics"] = list(interaction.topics)
    sealed["customer_flags"] = list(interaction.customer_flags)
    return sealed


def from_payload(sealed: Mapping[str, Any]) -> Interaction:
    """Read an interaction back."""
    closed, disclosed = sealed["closed_at"], sealed["ai_disclosed_at"]
    return Interaction(
        **{name: sealed[name] for name in _TEXTS},
        opened_at=datetime.fromisoformat(sealed["opened_at"]),
        closed_at=datetime.fromisoformat(closed) if closed else None,
        ai_disclosed_at=datetime.fromisoformat(disclosed) if disclosed else None,
        verification=VerificationLevel(sealed["verification"]),
        topics=tuple(sealed["topics"]),
        customer_flags=tuple(sealed["customer_flags"]),
    )

"""Channels and services: parties with a key of their own that are no agent or person.

A channel (chat platform, telephony) opens interactions and reports turns. A service is
one of our own processes, such as the worker, and may speak to the internal endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from broker.core.authenticate import ChannelFacts
from broker.core.words.errors import ConflictError
from broker.core.words.subject import VerificationLevel
from broker.registry.reading import (
    items,
    number,
    only,
    person_name,
    read_keys,
    word,
    write_keys,
)

if TYPE_CHECKING:
    from broker.core.words.identity import RegisteredKey
    from broker.registry.authority import AuthorityRow

USE_CASES_MAX: Final = 50

_CHANNEL_FIELDS = frozenset({"name", "keys", "use_cases", "verification_max", "status"})
_SERVICE_FIELDS = frozenset({"name", "purpose", "keys", "status"})
_STATUS = frozenset({"active", "suspended", "revoked"})


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """What the newest signed row of a channel says.

    ``verification_max`` is the highest level of a customer that its word is enough for.
    """

    channel_id: str
    revision: int
    name: str
    keys: tuple[RegisteredKey, ...]
    use_cases: frozenset[str]
    verification_max: int
    status: str

    @property
    def active(self) -> bool:
        """Return whether this channel may say anything."""
        return self.status == "active"

    def facts(self) -> ChannelFacts:
        """Return what stage 1 needs; a channel that is not active has no keys."""
        return ChannelFacts(
            channel_id=self.channel_id,
            keys=self.keys if self.active else (),
            use_cases=self.use_cases,
            verification_max=self.verification_max,
        )


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """What the newest signed row of a service says."""

    service_id: str
    revision: int
    name: str
    purpose: str
    keys: tuple[RegisteredKey, ...]
    status: str

    @property
    def active(self) -> bool:
        """Return whether this service may authenticate."""
        return self.status == "active"


def parse_channel(row: AuthorityRow) -> ChannelRow:
    """Read a channel out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _CHANNEL_FIELDS)
    return ChannelRow(
        channel_id=row.row_id,
        revision=row.revision,
        name=person_name(body),
        keys=read_keys(body),
        use_cases=frozenset(items(body, "use_cases", count_max=USE_CASES_MAX)),
        verification_max=number(
            body, "verification_max", low=0, high=max(VerificationLevel)
        ),
        status=word(body, "status", _STATUS),
    )


def channel_body(channel: ChannelRow) -> dict[str, Any]:
    """Return the body that `parse_channel` reads."""
    return {
        "name": channel.name,
        "keys": write_keys(channel.keys),
        "use_cases": sorted(channel.use_cases),
        "verification_max": channel.verification_max,
        "status": channel.status,
    }


def suspended(channel: ChannelRow) -> ChannelRow:
    """Return the channel with nothing more to say, until it gets a new key.

    Raises:
        ConflictError: It is not active.
    """
    if not channel.active:
        msg = f"the channel is {channel.status} already"
        raise ConflictError(msg)
    return replace(channel, status="suspended")


def with_key(channel: ChannelRow, key: RegisteredKey) -> ChannelRow:
    """Return the channel with this key alone, and active.

    There is no overlap: a channel's key is replaced because somebody else may have it.

    Raises:
        ConflictError: It was revoked, or has this key.
    """
    if channel.status == "revoked":
        msg = "the channel is revoked"
        raise ConflictError(msg)
    if any(slot.key.kid == key.key.kid for slot in channel.keys):
        msg = "the channel has this key"
        raise ConflictError(msg, hint="make a new one")
    return replace(channel, keys=(key,), status="active")


def parse_service(row: AuthorityRow) -> ServiceRow:
    """Read a service out of a verified row.

    Raises:
        RowError: A field is missing, unknown or out of range.
    """
    body = row.body
    only(body, _SERVICE_FIELDS)
    return ServiceRow(
        service_id=row.row_id,
        revision=row.revision,
        name=person_name(body),
        purpose=word(body, "purpose", {"worker"}),
        keys=read_keys(body),
        status=word(body, "status", _STATUS),
    )


def service_body(service: ServiceRow) -> dict[str, Any]:
    """Return the body that `parse_service` reads."""
    return {
        "name": service.name,
        "purpose": service.purpose,
        "keys": write_keys(service.keys),
        "status": service.status,
    }

"""Read of a warrant what is needed to route it.

The runner holds no key and verifies nothing: the edge does, before the connection that
it is asked for carries anything.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from tools import frames, limits

_TYPE: Final = "counterfoil-warrant+jwt"
_PARTS: Final = 3


class WarrantError(ValueError):
    """What was given is no warrant, or one that the runner cannot read."""


@dataclass(frozen=True, slots=True)
class Warrant:
    """A warrant's claims, unverified, and its signed form."""

    jws: str
    warrant_id: str
    action: str
    tool: str
    connector: str
    manifest: str
    customer: str
    arguments: dict[str, Any]


def read_warrant(jws: str) -> Warrant:
    """Return the claims of a compact JWS.

    Raises:
        WarrantError: It is no compact JWS of a warrant, or lacks a claim.

    Source: RFC 7515, section 3.1.
    """
    parts = jws.split(".")
    if len(parts) != _PARTS:
        msg = "a warrant is a compact JWS"
        raise WarrantError(msg)
    header, claims = _object(parts[0]), _object(parts[1])
    if header.get("typ") != _TYPE:
        msg = f"a warrant has the type {_TYPE}"
        raise WarrantError(msg)
    match claims:
        case {
            "jti": str() as warrant_id,
            "action": str() as action,
            "tool": str() as tool,
            "connector": str() as connector,
            "manifest": str() as manifest,
            "customer": str() as customer,
            "arguments": dict() as arguments,
        }:
            return Warrant(
                jws=jws,
                warrant_id=warrant_id,
                action=action,
                tool=tool,
                connector=connector,
                manifest=manifest,
                customer=customer,
                arguments=arguments,
            )
        case _:
            msg = "a warrant lacks a claim"
            raise WarrantError(msg)


def _object(part: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(
            part + "=" * (-len(part) % 4), altchars="-_", validate=True
        )
        return frames.decode(raw, depth_max=limits.FRAME_DEPTH_MAX)
    except (binascii.Error, ValueError):
        msg = "a part of the warrant is no JSON object"
        raise WarrantError(msg) from None

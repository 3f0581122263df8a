"""Open what Temporal keeps, for an operator who looks at a run: its remote codec.

Its keys lie in files of the hosts, where somebody rotates them: who, and when, is said
here first, and stands in the log before the new key seals anything.

Temporal's own tools send payloads and show what comes back; keys stay in the broker.
Only people who may look into the registry are answered, and each answer is recorded
before it is given. No other origin may call it, unless one is configured.

Source: Temporal's remote codec protocol (POST /decode, payloads as JSON).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from broker.api.admin.registry import REASON_CHARS_MAX
from broker.api.bodies import Body, documented, read
from broker.api.security import person, person_row
from broker.core.approvals.codec import CodecError, unseal_alone
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import ConflictError, InvalidError
from broker.core.words.subject import Caller
from broker.registry.people import check_may_narrow, check_may_see

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.api.identity.desk import Desk
    from broker.core.approvals.codec import KeySource
    from broker.ports import Ports

PAYLOADS_MAX: Final = 64
"""Most payloads in one request."""

DECODE_BYTES_MAX: Final = 262_144
"""Longest request."""

PATH: Final = "/v1/admin/codec"
_RUN_CHARS = _KID_CHARS = 64

router = APIRouter(prefix=PATH, tags=["approvals"])
Someone = Annotated[Caller, Depends(person)]


class Payload(Body):
    """One payload as Temporal writes it: metadata and data in base64."""

    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)
    data: str = ""


class DecodeBody(Body):
    """Payloads as Temporal's tools send them."""

    payloads: list[Payload] = Field(max_length=PAYLOADS_MAX)


@router.post(
    "/decode",
    summary="Open what Temporal keeps",
    openapi_extra=documented(DecodeBody),
)
async def decode(request: Request, who: Someone) -> Response:
    """Return the payloads in clear; one that is not ours is refused, and so are all."""
    desk: Desk = request.app.state.desk
    actor = await person_row(desk, who)
    check_may_see(actor)
    body = await read(request, DecodeBody, bytes_max=DECODE_BYTES_MAX)
    keys: KeySource = request.app.state.codec
    opened, runs = [], set()
    for number, one in enumerate(body.payloads):
        metadata, data = _bytes(one, f"/payloads/{number}")
        try:
            opened.append(json.loads(_clear(unseal_alone(keys(), metadata, data))))
        except (CodecError, ValueError) as error:
            msg = f"/payloads/{number}: {error}"
            raise InvalidError(msg, pointer=f"/payloads/{number}") from None
        runs.add(metadata["run"].decode()[:_RUN_CHARS])
    ports: Ports = request.app.state.ports
    # If we die between the two, the log says more than was shown, never less.
    by = f"person:{who.subject_id}"
    detail = {"by": by, "runs": sorted(runs), "payloads": len(opened)}
    await ports.journal.record(_entry(ports, who, EntryKind.DECODED, detail))
    return JSONResponse({"payloads": opened}, headers=_cors(request))


class RotationBody(Body):
    """Which key seals from now on: its name, as the files give it."""

    key: str = Field(min_length=1, max_length=_KID_CHARS)
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


@router.post(
    "/rotations",
    summary="Say that another key seals what goes to Temporal",
    openapi_extra=documented(RotationBody),
    responses={409: {"description": "This broker does not know it, or it seals now."}},
)
async def rotated(request: Request, who: Someone) -> dict[str, str]:
    """Record who has another key seal from now on; the files do it afterwards."""
    actor = await person_row(request.app.state.desk, who)
    check_may_narrow(actor)
    body = await read(request, RotationBody)
    keys: KeySource = request.app.state.codec
    known = [one.kid for one in keys().keys]
    if body.key not in known:
        msg = "this broker does not know that key"
        raise ConflictError(msg, hint="copy codec.key to every host first")
    if body.key == known[0]:
        msg = "this key seals already"
        raise ConflictError(msg, hint="there is nothing left to do")
    ports: Ports = request.app.state.ports
    detail = {
        "what": "codec_key.rotate",
        "by": f"person:{actor.person_id}",
        "reason": body.reason or None,
        "seals": body.key,
        "sealed_before": known[0],
    }
    # If they die between the two, the log says more than was done, never less.
    await ports.journal.record(_entry(ports, who, EntryKind.AUTHORITY, detail))
    return {"seals": body.key, "sealed_before": known[0]}


@router.options("/decode", include_in_schema=False)
async def preflight(request: Request) -> Response:
    """Tell a browser whether its page may call: only one of a configured origin."""
    headers = _cors(request)
    if not headers:
        return Response(status_code=403)
    more = {
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "authorization, dpop, content-type, "
        "x-namespace",
        "access-control-max-age": "600",
    }
    return Response(status_code=204, headers=headers | more)


def _cors(request: Request) -> dict[str, str]:
    origin = request.headers.get("origin", "")
    allowed: tuple[str, ...] = request.app.state.codec_origins
    if not origin or origin not in allowed:
        return {}
    return {"access-control-allow-origin": origin, "vary": "Origin"}


def _bytes(one: Payload, where: str) -> tuple[dict[str, bytes], bytes]:
    try:
        metadata = {
            name: b64decode(value, validate=True)
            for name, value in one.metadata.items()
        }
        return metadata, b64decode(one.data, validate=True)
    except (Base64Error, ValueError):
        msg = f"{where} is not in base64"
        raise InvalidError(msg, pointer=where) from None


def _clear(payload: bytes) -> str:
    """Return a serialized payload as Temporal's tools read it: JSON of base64.

    A payload is metadata (field 1, a map) and data (field 2) in protobuf's encoding.
    """
    metadata, data = {}, b""
    for number, value in _fields(payload):
        if number == 1:
            entry = dict(_fields(value))
            metadata[entry.get(1, b"").decode()] = b64encode(entry.get(2, b"")).decode()
        elif number == 2:  # noqa: PLR2004  (its number in the message)
            data = value
    return json.dumps({"metadata": metadata, "data": b64encode(data).decode()})


def _fields(message: bytes) -> list[tuple[int, bytes]]:
    """Return the length-delimited fields of a protobuf message.

    Raises:
        ValueError: It has fields of another kind, or is cut short.
    """
    found, at = [], 0
    while at < len(message):
        tag, at = _varint(message, at)
        length, at = _varint(message, at)
        if tag & 7 != 2 or at + length > len(message):  # noqa: PLR2004  (the wire type)
            msg = "it holds no payload"
            raise ValueError(msg)
        found.append((tag >> 3, message[at : at + length]))
        at += length
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift <= 63:  # noqa: PLR2004  (the longest varint)
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:  # noqa: PLR2004  (no continuation bit)
            return value, at
    msg = "it holds no payload"
    raise ValueError(msg)


def _entry(
    ports: Ports, who: Caller, kind: EntryKind, detail: Mapping[str, Any]
) -> AuditEntry:
    return AuditEntry(
        entry_id=ports.ids.new(),
        kind=kind,
        at=ports.clock.now(),
        tenant=who.tenant,
        environment=who.environment,
        detail=detail,
        replica=ports.replica,
    )

"""Bodies: read with a limit, parsed strictly, then checked field by field."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect

from broker.api.problems import malformed
from broker.core.canonical import CanonicalError, parse_json
from broker.core.words.errors import InvalidError, MalformedError, TooLargeError

if TYPE_CHECKING:
    from fastapi import Request

BODY_BYTES_MAX = 65_536
BODY_DEPTH_MAX = 16
BODY_S_MAX = 10.0
"""How long a body may take to arrive: until then its connection is one of few."""


class Body(BaseModel):
    """A request body: unknown fields are refused, types are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Model = TypeVar("Model", bound=Body)


async def read(
    request: Request, model: type[Model], *, bytes_max: int = BODY_BYTES_MAX
) -> Model:
    """Return the parsed body, of up to ``bytes_max`` bytes.

    Raises:
        TooLargeError: longer than BODY_BYTES_MAX, or deeper than BODY_DEPTH_MAX.
        MalformedError: not JSON in UTF-8, duplicate keys, or another media type.
        InvalidError: a field is missing, unknown or of the wrong type.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if media_type.lower() != "application/json":
        msg = "the body must be application/json"
        raise MalformedError(msg, hint="Set Content-Type: application/json.")
    data = await read_bytes(request, bytes_max=bytes_max)
    try:
        document = parse_json(
            data, bytes_max=bytes_max, depth_max=BODY_DEPTH_MAX, floats=True
        )
    except CanonicalError as error:
        raise malformed(error) from error
    if not isinstance(document, dict):
        msg = "the body must be one JSON object"
        raise MalformedError(msg)
    return checked(document, model)


def checked(document: dict[str, Any], model: type[Model]) -> Model:
    """Check a parsed document against a model.

    Raises:
        InvalidError: naming the first field at fault by its JSON pointer; values are
            not repeated, because they may be personal data.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        msg = f"{pointer}: {first['msg']}"
        raise InvalidError(msg, pointer=pointer) from None


async def read_bytes(
    request: Request, *, bytes_max: int = BODY_BYTES_MAX, within_s: float = BODY_S_MAX
) -> bytes:
    """Return the raw body, and stop reading at the limit.

    Raises:
        TooLargeError: it is longer.
        MalformedError: it has not arrived in time, or never will.
    """
    data = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.stream():
                data += chunk
                if len(data) > bytes_max:
                    msg = f"the body is longer than {bytes_max} bytes"
                    raise TooLargeError(msg, hint="Send less at once.")
    except (TimeoutError, ClientDisconnect):
        msg = f"the body did not arrive within {within_s:g} s"
        hint = "Send as many bytes as Content-Length says."
        raise MalformedError(msg, hint=hint) from None
    return bytes(data)


def documented(model: type[Body]) -> dict[str, Any]:
    """Return what the OpenAPI document says about a body that we parse ourselves."""
    schema = model.model_json_schema()
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    }

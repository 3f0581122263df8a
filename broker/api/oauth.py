"""The OAuth endpoints: token, revocation, introspection, metadata and keys.

Whatever is wrong with a request is answered with an OAuth error, never with a 5xx; and
no answer that holds a token, or says why there is none, may be kept by anybody.

Source: RFC 6749 section 5; RFC 7009; RFC 7662; RFC 8414; RFC 9728.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from broker.api.bodies import read_bytes
from broker.api.identity.forms import FORM_BYTES_MAX, FormError, parse_form
from broker.api.identity.issue import (
    Answer,
    answer_introspection,
    answer_revocation,
    answer_token,
)
from broker.api.identity.metadata import (
    AUTHORIZE_PATH,
    INTROSPECT_PATH,
    JWKS_PATH,
    METADATA_AGE_S,
    REVOKE_PATH,
    resource_metadata,
    server_metadata,
)
from broker.core.words.errors import MalformedError, NotFoundError, TooLargeError

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk

router = APIRouter(tags=["identity"])

_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_CACHED: Final = {"Cache-Control": f"public, max-age={METADATA_AGE_S}"}
_JWK_SET: Final = "application/jwk-set+json"
_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {"schema": {"type": "object"}}
        },
    }
}


@router.post("/oauth/token", summary="Get an access token", openapi_extra=_FORM)
async def token(request: Request) -> Response:
    """Issue a token for ``client_credentials`` with ``private_key_jwt`` and DPoP."""
    form = await _form(request)
    if isinstance(form, Answer):
        return _response(form)
    proofs = request.headers.getlist("dpop")
    return _response(await answer_token(_desk(request), form, proofs=proofs))


@router.post(REVOKE_PATH, summary="Revoke one's own token", openapi_extra=_FORM)
async def revoke(request: Request) -> Response:
    """End a token and everything that was issued under its grant. RFC 7009."""
    form = await _form(request)
    if isinstance(form, Answer):
        return _response(form)
    return _response(await answer_revocation(_desk(request), form))


@router.post(INTROSPECT_PATH, summary="Ask about a token", openapi_extra=_FORM)
async def introspect(request: Request) -> Response:
    """Say whether a token is active, to its holder and to our services. RFC 7662."""
    form = await _form(request)
    if isinstance(form, Answer):
        return _response(form)
    return _response(await answer_introspection(_desk(request), form))


@router.get(AUTHORIZE_PATH, include_in_schema=False)
async def authorize() -> Response:
    """Refuse: no grant here goes through a browser."""
    return _response(_invalid("there is no grant that uses this endpoint"))


@router.get("/.well-known/oauth-authorization-server", summary="Server metadata")
@router.get("/.well-known/openid-configuration", include_in_schema=False)
async def about_server(request: Request) -> Response:
    """Return the metadata of the authorization server. RFC 8414."""
    return JSONResponse(server_metadata(_desk(request)), headers=_CACHED)


@router.get("/.well-known/oauth-protected-resource", summary="Resource metadata")
@router.get(
    "/.well-known/oauth-protected-resource/{path:path}", include_in_schema=False
)
async def about_resource(request: Request, path: str = "") -> Response:
    """Return the metadata of a resource: its address, and who issues tokens for it."""
    found = resource_metadata(_desk(request), f"/{path}" if path else "")
    if found is None:
        msg = "there is no such resource"
        raise NotFoundError(msg)
    return JSONResponse(found, headers=_CACHED)


@router.get(
    JWKS_PATH,
    summary="Keys that access tokens are signed with",
    response_class=Response,
    responses={200: {"content": {_JWK_SET: {"schema": {"type": "object"}}}}},
)
async def jwks(request: Request) -> Response:
    """Return the public keys. RFC 7517."""
    return JSONResponse(
        _desk(request).keys.jwks(),
        headers=_CACHED,
        media_type=_JWK_SET,
    )


async def _form(request: Request) -> dict[str, str] | Answer:
    if request.url.query:
        return _invalid("parameters belong into the body")
    if "authorization" in request.headers:
        return _invalid("clients authenticate with private_key_jwt in the body")
    try:
        data = await read_bytes(request, bytes_max=FORM_BYTES_MAX)
        content_types = request.headers.getlist("content-type")
        return parse_form(data, content_type=",".join(content_types))
    except FormError as error:
        # RFC 8707 has an error of its own for a resource that cannot be served.
        code = "invalid_target" if error.field == "resource" else "invalid_request"
        return _invalid(error.detail, code=code)
    except (TooLargeError, MalformedError) as error:
        return _invalid(error.detail)


def _invalid(description: str, *, code: str = "invalid_request") -> Answer:
    return Answer(400, {"error": code, "error_description": description})


def _response(answer: Answer) -> Response:
    headers = _NO_STORE | dict(answer.headers)
    return JSONResponse(dict(answer.body), answer.status, headers)


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk

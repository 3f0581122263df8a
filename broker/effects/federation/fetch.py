"""Fetch an issuer's JWK set: one https GET, bounded, to an address that was checked.

The URL stands in a signed row, and still the name in it belongs to somebody else: it is
looked up once, the address is checked, and that very address is dialled. There are no
redirects, no proxies, and no more bytes or seconds than named here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx

from broker.core.identity.addresses import refused

if TYPE_CHECKING:
    from broker.core.identity.workload import Federation

FETCH_S_MAX: Final = 5.0
JWKS_BYTES_MAX: Final = 65_536


class FetchError(Exception):
    """The set could not be fetched; the text says why, without what was received."""


async def fetch(federation: Federation) -> bytes:
    """Return the bytes of the JWK set.

    Raises:
        FetchError: Nobody may be asked there, nobody answered, or with too much.
    """
    try:
        async with asyncio.timeout(FETCH_S_MAX):
            return await _fetched(federation)
    except TimeoutError as error:
        msg = f"no answer within {FETCH_S_MAX:g} s"
        raise FetchError(msg) from error
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise FetchError(type(error).__name__) from error


async def _fetched(federation: Federation) -> bytes:
    parts = urlsplit(federation.jwks_url)
    host, port = parts.hostname or "", parts.port or 443
    address = await _address(host, port, federation.networks)
    literal = f"[{address}]" if ":" in address else address
    url = parts._replace(netloc=f"{literal}:{port}", fragment="").geturl()
    context = ssl.create_default_context(cadata=federation.ca or None)
    async with httpx.AsyncClient(
        verify=context, trust_env=False, follow_redirects=False
    ) as http:
        request = http.build_request(
            "GET",
            url,
            headers={"host": parts.netloc, "accept-encoding": "identity"},
            # The certificate must be for the name, whatever address was dialled.
            extensions={"sni_hostname": host},
        )
        answer = await http.send(request, stream=True)
        try:
            return await _body(answer)
        finally:
            await answer.aclose()


async def _body(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        msg = f"status {answer.status_code}"
        raise FetchError(msg)
    data = b""
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > JWKS_BYTES_MAX:
            msg = f"more than {JWKS_BYTES_MAX} bytes"
            raise FetchError(msg)
    return data


async def _address(host: str, port: int, networks: tuple[str, ...]) -> str:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for entry in found:
        address = str(entry[4][0])
        if not refused(address, allow_private=_declared(address, networks)):
            return address
    msg = "its name leads to no address that may be asked"
    raise FetchError(msg)


def _declared(address: str, networks: tuple[str, ...]) -> bool:
    found = ip_address(address)
    return any(found in ip_network(network) for network in networks)

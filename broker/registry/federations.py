"""Federations in an agent's row: whose word counts for it, beside its own keys."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from broker.core.identity.workload import (
    SUBJECT_CHARS_MAX,
    WORKLOAD_KEYS_MAX,
    WORKLOAD_LIFE_S_MAX,
    Federation,
    read_issuer_key,
)
from broker.registry.reading import RowError, natural_id, number, only

if TYPE_CHECKING:
    from collections.abc import Mapping

FEDERATIONS_MAX: Final = 4
"""Issuers and subjects that one agent may trust."""

NETWORKS_MAX: Final = 8
URL_CHARS_MAX: Final = 500
CA_CHARS_MAX: Final = 16_384

_FIELDS = frozenset(
    {
        "name", "issuer", "subject", "audience", "life_s_max", "reusable",
        "keys", "jwks_url", "networks", "ca",
    }
)  # fmt: skip
_PEM = "-----BEGIN CERTIFICATE-----"


def parse_federations(body: Mapping[str, Any]) -> tuple[Federation, ...]:
    """Read ``federations`` of an agent's body; a row without the field has none.

    Raises:
        RowError: One of them cannot be read, or two have one name.
    """
    raw = body.get("federations", [])
    if not isinstance(raw, list) or len(raw) > FEDERATIONS_MAX:
        msg = f"federations is no list of up to {FEDERATIONS_MAX}"
        raise RowError(msg)
    found = tuple(parse_federation(one) for one in raw)
    if len({one.name for one in found}) != len(found):
        msg = "two federations have one name"
        raise RowError(msg)
    return found


def parse_federation(raw: object) -> Federation:
    """Read one federation.

    Raises:
        RowError: A field is missing, unknown or out of range; both or neither of keys
            and jwks_url are there; the address is not https.
    """
    if not isinstance(raw, dict):
        msg = "a federation is an object"
        raise RowError(msg)
    only(raw, _FIELDS)
    keys, url = _keys(raw), _url(raw)
    if bool(keys) is bool(url):
        msg = "a federation has either keys or jwks_url"
        raise RowError(msg)
    reusable = raw.get("reusable", False)
    if not isinstance(reusable, bool):
        msg = "reusable is neither true nor false"
        raise RowError(msg)
    return Federation(
        name=natural_id(raw, "name"),
        issuer=_exact(raw, "issuer"),
        subject=_exact(raw, "subject"),
        audience=_exact(raw, "audience"),
        life_s_max=number(raw, "life_s_max", low=1, high=WORKLOAD_LIFE_S_MAX),
        reusable=reusable,
        keys=keys,
        jwks_url=url,
        networks=_networks(raw),
        ca=_ca(raw),
    )


def write_federation(federation: Federation) -> dict[str, Any]:
    """Return the object that `parse_federation` reads."""
    written: dict[str, Any] = {
        "name": federation.name,
        "issuer": federation.issuer,
        "subject": federation.subject,
        "audience": federation.audience,
        "life_s_max": federation.life_s_max,
        "reusable": federation.reusable,
    }
    if federation.keys:
        return written | {"keys": [dict(key) for key in federation.keys]}
    written |= {"jwks_url": federation.jwks_url}
    if federation.networks:
        written |= {"networks": list(federation.networks)}
    return written | ({"ca": federation.ca} if federation.ca else {})


def _exact(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    # Compared exactly: there are no patterns that could match more than was meant.
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= SUBJECT_CHARS_MAX
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        msg = f"{name} is no text of 1 to {SUBJECT_CHARS_MAX} characters"
        raise RowError(msg)
    return value


def _keys(raw: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    keys = raw.get("keys", [])
    if not isinstance(keys, list) or len(keys) > WORKLOAD_KEYS_MAX:
        msg = f"keys is no list of up to {WORKLOAD_KEYS_MAX} public keys"
        raise RowError(msg)
    for key in keys:
        if not isinstance(key, dict) or read_issuer_key(key) is None:
            msg = "keys holds something that is no public key for RS256, ES256 or EdDSA"
            raise RowError(msg)
    return tuple(keys)


def _url(raw: Mapping[str, Any]) -> str:
    url = raw.get("jwks_url", "")
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    plain = parts.scheme == "https" and parts.hostname and not parts.fragment
    if "jwks_url" in raw and (
        not plain or "@" in parts.netloc or len(url) > URL_CHARS_MAX
    ):
        msg = "jwks_url is an https address without user and fragment"
        raise RowError(msg)
    return str(url)


def _networks(raw: Mapping[str, Any]) -> tuple[str, ...]:
    networks = raw.get("networks", [])
    if not isinstance(networks, list) or len(networks) > NETWORKS_MAX:
        msg = f"networks is no list of up to {NETWORKS_MAX}"
        raise RowError(msg)
    try:
        return tuple(str(ip_network(str(network))) for network in networks)
    except ValueError:
        msg = "networks holds something that is no network, like 10.96.0.0/12"
        raise RowError(msg) from None


def _ca(raw: Mapping[str, Any]) -> str:
    ca = raw.get("ca", "")
    if not isinstance(ca, str) or len(ca) > CA_CHARS_MAX or (ca and _PEM not in ca):
        msg = "ca is a certificate in PEM"
        raise RowError(msg)
    return ca

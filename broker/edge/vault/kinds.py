"""What kinds of credential there are, what each is told, and its secret's form.

A kind says how the secret reaches the upstream. What it is told beside the secret is no
secret, and is bound to the ciphertext like the base URL: a header name, a user, the
address of a token endpoint, certificates and pins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.canonical import CanonicalError, parse_json
from broker.core.jws import JwsError, private_from_jwk
from broker.edge.egress.mail import ADDRESS
from broker.sealing import SealError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.jws import PrivateKey

SECRET_BYTES_MIN: Final = 16
"""A shorter secret could be found in a response by accident, or by guessing."""

SECRET_BYTES_MAX: Final = 8_192
SETTING_CHARS_MAX: Final = 500
PEM_CHARS_MAX: Final = 16_384
PINS_MAX: Final = 4

BEARER: Final = "bearer"
BASIC: Final = "basic"
HEADER: Final = "header"
QUERY: Final = "query"
PATH: Final = "path"
MTLS: Final = "mtls"
SIGNATURE: Final = "signature"
WEBHOOK: Final = "webhook"
OAUTH_CLIENT: Final = "oauth_client"
OAUTH_REFRESH: Final = "oauth_refresh"

# Names of headers that say how a message is read, or that the edge sends itself.
_TAKEN = re.compile(
    r"host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect|accept.*"
    r"|cookie|user-agent|proxy-.*|forwarded|x-forwarded-.*|.*idempotency-key",
    re.IGNORECASE,
)
_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_SEGMENTS = re.compile(rb"[A-Za-z0-9._~:-]+(/[A-Za-z0-9._~:-]+){0,15}")
_WEBHOOK = re.compile(
    rb"whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
)
_PASSWORD = re.compile(rb"[\x20-\x7e]+")
_PEM_KEY = re.compile(
    rb"-----BEGIN (EC |RSA )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+"
    rb"-----END (EC |RSA )?PRIVATE KEY-----\n?"
)
_PEMS_FORM = r"(-----[A-Z ]+-----\n[A-Za-z0-9+/=\n]+-----[A-Z ]+-----\n?)+"
_PIN = r"sha256/[A-Za-z0-9+/]{43}="
_FORMS: Final = {
    "user": re.compile(r"[\x21-\x39\x3b-\x7e]{1,200}"),  # RFC 7617: no colon
    "sender": ADDRESS,
    "header": re.compile(r"[A-Za-z][A-Za-z0-9-]{0,59}"),
    "parameter": re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}"),
    "token_url": re.compile(r"https?://[\x21-\x7e]{1,480}"),
    "client_id": re.compile(r"[\x21-\x7e]{1,400}"),
    "client_auth": re.compile(r"none|basic|post|private_key_jwt"),
    "assertion_audience": re.compile(r"[\x21-\x7e]{1,400}"),
    "scope": re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*"),
    "resource": re.compile(r"[\x21-\x7e]{1,400}"),
    "authorization_details": re.compile(r"\[[\x20-\x7e]*\]"),
    "certificate": re.compile(_PEMS_FORM),
    "ca": re.compile(_PEMS_FORM),
    "pins": re.compile(rf"{_PIN}(,{_PIN}){{0,{PINS_MAX - 1}}}"),
}  # fmt: skip
_PEMS = frozenset({"certificate", "ca"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which settings a kind needs, and which it may have."""

    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    auths: frozenset[str] = frozenset()


# Any kind may trust another authority than the system's, and pin the server's key.
_TLS = frozenset({"ca", "pins"})
_OAUTH = frozenset({"token_url", "client_id", "client_auth"})
_OAUTH_MAY = frozenset(
    {"scope", "resource", "authorization_details", "assertion_audience"}
)
_KINDS: Final = {
    BEARER: _Kind(),
    BASIC: _Kind(needs=frozenset({"user"}), may=frozenset({"sender"})),
    HEADER: _Kind(needs=frozenset({"header"})),
    QUERY: _Kind(needs=frozenset({"parameter"})),
    PATH: _Kind(),
    MTLS: _Kind(needs=frozenset({"certificate"})),
    SIGNATURE: _Kind(needs=frozenset({"header"})),
    WEBHOOK: _Kind(),
    OAUTH_CLIENT: _Kind(
        needs=_OAUTH,
        may=_OAUTH_MAY,
        auths=frozenset({"basic", "post", "private_key_jwt"}),
    ),
    OAUTH_REFRESH: _Kind(
        needs=_OAUTH, may=_OAUTH_MAY, auths=frozenset({"none", "basic", "post"})
    ),
}
KINDS: Final = tuple(_KINDS)
SETTINGS: Final = tuple(_FORMS)


VaultError = SealError
"""A credential that cannot be sealed or opened; the text never holds it."""


def check_settings(kind: str, settings: Mapping[str, str]) -> None:
    """Refuse a kind that there is not, or that was told too little, too much or wrong.

    Raises:
        VaultError: It names the setting, never its value.
    """
    known = _KINDS.get(kind)
    if known is None:
        msg = f"a credential's kind is one of {', '.join(KINDS)}"
        raise VaultError(msg)
    missing = known.needs - settings.keys()
    unknown = settings.keys() - known.needs - known.may - _TLS
    if missing or unknown:
        what = f"needs {min(missing)}" if missing else f"has no {min(unknown)}"
        msg = f"a credential of kind {kind} {what}"
        raise VaultError(msg)
    for name, value in settings.items():
        longest = PEM_CHARS_MAX if name in _PEMS else SETTING_CHARS_MAX
        if len(value) > longest or not _FORMS[name].fullmatch(value):
            msg = f"the credential's {name} is malformed or too long"
            raise VaultError(msg)
    if _TAKEN.fullmatch(settings.get("header", "")):
        msg = "a key cannot travel in a header that says how a message is read"
        raise VaultError(msg)
    if known.auths and settings["client_auth"] not in known.auths:
        msg = f"kind {kind} has client_auth {', '.join(sorted(known.auths))}"
        raise VaultError(msg)


def check_secret(kind: str, settings: Mapping[str, str], secret: bytes) -> None:
    """Refuse a secret of a length or form that this kind cannot have.

    Raises:
        VaultError: It says what was expected.
    """
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        msg = f"a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        raise VaultError(msg)
    form, said = _VISIBLE, "visible ASCII without spaces"
    if kind == MTLS:
        form, said = _PEM_KEY, "a private key in PEM without a passphrase"
    elif kind == BASIC:
        form, said = _PASSWORD, "printable ASCII"
    elif kind == WEBHOOK:
        form, said = _WEBHOOK, "whsec_ and base64 of 24 to 64 bytes"
    elif kind == PATH:
        form, said = _SEGMENTS, "plain path segments without a slash at either end"
    if not form.fullmatch(secret) or (kind == PATH and _has_dots(secret)):
        msg = f"a secret of kind {kind} is {said}"
        raise VaultError(msg)
    auth = settings.get("client_auth")
    if kind == OAUTH_REFRESH and auth in {"basic", "post"}:
        pair(secret)
    elif auth == "private_key_jwt":
        signing_key(secret)


def _has_dots(path: bytes) -> bool:
    return bool({b".", b".."} & set(path.split(b"/")))


def signing_key(secret: bytes) -> PrivateKey:
    """Return the private key in a secret of ``private_key_jwt``.

    Raises:
        VaultError: It is no private JWK for EdDSA or ES256.
    """
    try:
        jwk = parse_json(secret, bytes_max=SECRET_BYTES_MAX, depth_max=2)
        if isinstance(jwk, dict):
            return private_from_jwk(jwk)
    except (CanonicalError, JwsError):
        pass
    msg = "the secret of private_key_jwt is a private JWK, Ed25519 or P-256"
    raise VaultError(msg)


def pair(secret: bytes) -> tuple[bytes, bytes]:
    """Return client secret and refresh token of what was sealed as one.

    Raises:
        VaultError: It is not such a pair.
    """
    try:
        found = parse_json(secret, bytes_max=SECRET_BYTES_MAX, depth_max=2)
    except CanonicalError:
        found = None
    if isinstance(found, dict) and found.keys() == {"client_secret", "refresh_token"}:
        one, other = found["client_secret"], found["refresh_token"]
        if isinstance(one, str) and isinstance(other, str):
            parts = (one.encode("utf-8"), other.encode("utf-8"))
            if all(
                len(part) >= SECRET_BYTES_MIN and _VISIBLE.fullmatch(part)
                for part in parts
            ):
                return parts
    msg = (
        "this kind's secret is JSON: client_secret and refresh_token, "
        f"each of at least {SECRET_BYTES_MIN} characters"
    )
    raise VaultError(msg)

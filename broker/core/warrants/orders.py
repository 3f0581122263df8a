"""Write and read what warrants, receipts and hellos say, as claims of a JWS.

The signature is `jws`'s business; here a claim set becomes a value or is refused whole.
Unknown claims are refused too: a field that one side sends and the other ignores is how
two parties come to hold different orders for the same warrant.

Source: DESIGN, chapter 4; docs/adr/0006.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.warrant import Receipt, SentState, Warrant

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT_CHARS_MAX: Final = 200
"""Longest issuer, edge, boot, tenant, agent, customer and alarm."""

EPOCHS_MAX: Final = 16
"""Most scopes in one warrant."""

EPOCH_MAX: Final = 2**53 - 1

NONCE_CHARS_MAX: Final = 128

IDEMPOTENCY_KEY_CHARS_MAX: Final = 200

VALUES_MAX: Final = 32
"""Most values that a receipt names."""

VALUE_CHARS_MAX: Final = 1_024
"""Longest text among them."""

REQUESTS_MAX: Final = 64
"""Most upstream requests in one receipt."""

ALARMS_MAX: Final = 32

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
DIGEST = re.compile(r"[0-9a-f]{64}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")
# It travels as a header's value, so it is made of what no reader splits or folds.
_KEY = re.compile(rf"[\x21-\x7e]{{0,{IDEMPOTENCY_KEY_CHARS_MAX}}}")
_NONCE = re.compile(rf"[\x21-\x7e]{{0,{NONCE_CHARS_MAX}}}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

_WARRANT_CLAIMS = frozenset(
    {
        "jti",
        "iss",
        "aud",
        "boot",
        "iat_ms",
        "exp_ms",
        "action",
        "tenant",
        "environment",
        "connector",
        "tool",
        "manifest",
        "arguments",
        "customer",
        "agent",
        "person",
        "epochs",
        "key",
    }
)
_RECEIPT_CLAIMS = frozenset(
    {
        "iss",
        "boot",
        "warrant",
        "action",
        "nonce",
        "iat_ms",
        "state",
        "upstream_status",
        "values",
        "requests",
        "alarms",
    }
)
_HELLO_CLAIMS = frozenset({"iss", "boot", "nonce", "iat_ms"})


class OrderError(ValueError):
    """Claims that are no warrant, receipt or hello; the text names the claim only."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Which edge process is there now; ``nonce`` is what it was asked with."""

    edge: str
    boot: str
    nonce: str
    issued_at: datetime


def is_id(text: object) -> bool:
    """Return whether this is a UUID in its one lower-case form."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_nonce(text: object) -> bool:
    """Return whether this may be sent as a nonce; an empty one means none."""
    return isinstance(text, str) and _NONCE.fullmatch(text) is not None


def id_time(text: str) -> datetime | None:
    """Return when a UUIDv7 was made, to the millisecond; None for any other UUID.

    Source: RFC 9562, section 5.7.
    """
    if not is_id(text) or text[14] != "7":
        return None
    return _EPOCH + int(text[:8] + text[9:13], 16) * _MS


def warrant_claims(warrant: Warrant, *, issuer: str) -> dict[str, Any]:
    """Return the claims of a warrant; times are cut to whole milliseconds."""
    return {
        "jti": warrant.warrant_id,
        "iss": issuer,
        "aud": warrant.edge,
        "boot": warrant.boot,
        "iat_ms": to_ms(warrant.issued_at),
        "exp_ms": to_ms(warrant.expires_at),
        "action": warrant.action_id,
        "tenant": warrant.tenant,
        "environment": warrant.environment,
        "connector": warrant.connector,
        "tool": warrant.tool,
        "manifest": warrant.manifest,
        "arguments": dict(warrant.arguments),
        "customer": warrant.customer_id,
        "agent": warrant.agent_id,
        "person": warrant.person_id,
        "epochs": dict(warrant.epochs),
        "key": warrant.idempotency_key,
    }


def parse_warrant(claims: Mapping[str, Any]) -> Warrant:
    """Read a warrant from verified claims.

    Raises:
        OrderError: A claim is missing, unknown or malformed, or the life is too long.
    """
    read = Claims(claims, _WARRANT_CLAIMS)
    read.text("iss")
    try:
        return Warrant(
            warrant_id=read.id("jti"),
            action_id=read.id("action"),
            tenant=read.text("tenant"),
            environment=read.text("environment"),
            connector=read.text("connector"),
            tool=read.text("tool"),
            manifest=read.form("manifest", DIGEST),
            arguments=read.object("arguments"),
            customer_id=read.text("customer", empty=True),
            agent_id=read.text("agent"),
            person_id=read.text("person", empty=True),
            edge=read.text("aud"),
            boot=read.text("boot"),
            epochs=read.epochs("epochs"),
            idempotency_key=read.form("key", _KEY),
            issued_at=read.time("iat_ms"),
            expires_at=read.time("exp_ms"),
        )
    except OrderError:
        raise
    except ValueError as error:
        raise OrderError(str(error)) from None


def receipt_claims(receipt: Receipt) -> dict[str, Any]:
    """Return the claims of a receipt."""
    return {
        "iss": receipt.edge,
        "boot": receipt.boot,
        "warrant": receipt.warrant_id,
        "action": receipt.action_id,
        "nonce": receipt.nonce,
        "iat_ms": to_ms(receipt.issued_at),
        "state": receipt.state.value,
        "upstream_status": receipt.upstream_status,
        "values": dict(receipt.values),
        "requests": [dict(request) for request in receipt.requests],
        "alarms": list(receipt.alarms),
    }


def parse_receipt(claims: Mapping[str, Any]) -> Receipt:
    """Read a receipt from verified claims.

    Raises:
        OrderError: A claim is missing, unknown or malformed.
    """
    read = Claims(claims, _RECEIPT_CLAIMS)
    try:
        state = SentState(read.text("state"))
    except ValueError:
        msg = "claim 'state' is malformed"
        raise OrderError(msg) from None
    return Receipt(
        warrant_id=read.id("warrant"),
        action_id=read.id("action"),
        edge=read.text("iss"),
        boot=read.text("boot"),
        nonce=read.form("nonce", _NONCE),
        state=state,
        upstream_status=read.integer("upstream_status", most=999),
        values=read.values("values"),
        requests=read.objects("requests", count_max=REQUESTS_MAX),
        alarms=read.texts("alarms", count_max=ALARMS_MAX),
        issued_at=read.time("iat_ms"),
    )


def is_receipt_value(value: object) -> bool:
    """Return whether a value may stand in a receipt: a scalar with one meaning.

    Numbers are integers: a fraction of a cent is no amount, and two readers may round
    it differently.
    """
    if isinstance(value, str):
        return len(value) <= VALUE_CHARS_MAX
    if value is None or isinstance(value, bool):
        return True
    return type(value) is int and abs(value) <= EPOCH_MAX


def hello_claims(hello: Hello) -> dict[str, Any]:
    """Return the claims of a hello."""
    return {
        "iss": hello.edge,
        "boot": hello.boot,
        "nonce": hello.nonce,
        "iat_ms": to_ms(hello.issued_at),
    }


def parse_hello(claims: Mapping[str, Any]) -> Hello:
    """Read a hello from verified claims.

    Raises:
        OrderError: A claim is missing, unknown or malformed.
    """
    read = Claims(claims, _HELLO_CLAIMS)
    return Hello(
        edge=read.text("iss"),
        boot=read.text("boot"),
        nonce=read.form("nonce", _NONCE),
        issued_at=read.time("iat_ms"),
    )


def to_ms(moment: datetime) -> int:
    """Return a time in whole milliseconds."""
    return (moment - _EPOCH) // _MS


class Claims:
    """Take claims by name, each in its one form; the set of names is exact."""

    def __init__(self, claims: Mapping[str, Any], names: frozenset[str]) -> None:
        """Refuse any other set of names."""
        found = frozenset(claims)
        if found != names:
            wrong = sorted(found ^ names)
            msg = f"claim {wrong[0][:TEXT_CHARS_MAX]!r} is missing or not known"
            raise OrderError(msg)
        self._claims = claims

    def _refuse(self, name: str) -> OrderError:
        return OrderError(f"claim {name!r} is malformed")

    def text(self, name: str, *, empty: bool = False) -> str:
        """Return a short text."""
        value = self._claims[name]
        if not _is_text(value) or not (value or empty):
            raise self._refuse(name)
        return str(value)

    def form(self, name: str, form: re.Pattern[str]) -> str:
        """Return a text of this form."""
        value = self._claims[name]
        if not isinstance(value, str) or not form.fullmatch(value):
            raise self._refuse(name)
        return value

    def id(self, name: str) -> str:
        """Return an id."""
        return self.form(name, _ID)

    def integer(self, name: str, *, most: int) -> int:
        """Return an integer from 0 to ``most``."""
        value = self._claims[name]
        if type(value) is not int or not 0 <= value <= most:
            raise self._refuse(name)
        return value

    def time(self, name: str) -> datetime:
        """Return a time that was sent in milliseconds."""
        try:
            return _EPOCH + self.integer(name, most=EPOCH_MAX) * _MS
        except OverflowError:
            raise self._refuse(name) from None

    def object(self, name: str) -> dict[str, Any]:
        """Return an object."""
        value = self._claims[name]
        if not isinstance(value, dict):
            raise self._refuse(name)
        return value

    def objects(self, name: str, *, count_max: int) -> tuple[dict[str, Any], ...]:
        """Return a list of objects."""
        value = self._claims[name]
        if not isinstance(value, list) or len(value) > count_max:
            raise self._refuse(name)
        if not all(isinstance(item, dict) for item in value):
            raise self._refuse(name)
        return tuple(value)

    def texts(self, name: str, *, count_max: int) -> tuple[str, ...]:
        """Return a list of short texts."""
        value = self._claims[name]
        if not isinstance(value, list) or len(value) > count_max:
            raise self._refuse(name)
        if not all(_is_text(item) for item in value):
            raise self._refuse(name)
        return tuple(value)

    def values(self, name: str) -> dict[str, Any]:
        """Return values as a receipt may name them."""
        value = self.object(name)
        if len(value) > VALUES_MAX or not all(
            _is_text(key) and is_receipt_value(item) for key, item in value.items()
        ):
            raise self._refuse(name)
        return value

    def epochs(self, name: str) -> tuple[tuple[str, int], ...]:
        """Return scopes with their epochs."""
        value = self.object(name)
        if len(value) > EPOCHS_MAX or not all(
            _is_text(scope) and type(epoch) is int and 0 <= epoch <= EPOCH_MAX
            for scope, epoch in value.items()
        ):
            raise self._refuse(name)
        return tuple(sorted(value.items()))


def _is_text(value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= TEXT_CHARS_MAX
        and _TEXT.fullmatch(value) is not None
    )

"""Speak to a payment provider over Stripe's API, with its own library, unmodified.

The library gets the call's way out as its HTTP client. What it would send beside the
request, such as its own idempotency key, its telemetry and the stand-in for an API key,
stays here: key and credential are the edge's to add.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import stripe

from tools.sdk import Call, ConnectorError, Http, segment

_BASE = "https://api.stripe.com"
_LISTED = 20
_FOUND = 100

stripe.enable_telemetry = False


class _ThroughTheEdge(stripe.HTTPClient):  # type: ignore[misc]
    """Carry the library's requests over the call's connection."""

    name = "counterfoil"

    def __init__(self, http: Http) -> None:
        """Send over ``http``."""
        super().__init__()
        self._http = http

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: str | None = None,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Send a request; its headers are left behind."""
        del headers
        form = None if post_data is None else post_data.encode("ascii")
        target = url.removeprefix(_BASE)
        answer = self._http.request(method.upper(), target, form=form)
        return answer.body.decode(), answer.status, answer.headers

    def close(self) -> None:
        """Leave the connection to the call that it belongs to."""


def _told(
    function: Callable[[Call], dict[str, object]],
) -> Callable[[Call], dict[str, object]]:
    """Declare the library's errors as a connector does."""

    @wraps(function)
    def tool(call: Call) -> dict[str, object]:
        try:
            return function(call)
        except stripe.StripeError as error:
            raise ConnectorError(
                code="upstream_refused", message=f"answered {error.http_status}"
            ) from None

    return tool


@_told
def customers_get(call: Call) -> dict[str, object]:
    """Read the payer."""
    payer = _ask(call).customers.retrieve(segment(call.customer))
    return _some(payer, "id", "name", "email")


@_told
def charges_list(call: Call) -> dict[str, object]:
    """List the payer's last charges."""
    asked = {"customer": call.customer, "limit": _LISTED}
    return {"charges": [_charge(one) for one in _ask(call).charges.list(asked).data]}


@_told
def charges_get(call: Call) -> dict[str, object]:
    """Read a charge."""
    return _charge(_ask(call).charges.retrieve(segment(call.arguments["charge_id"])))


@_told
def intents_get(call: Call) -> dict[str, object]:
    """Read a payment intent."""
    intent_id = segment(call.arguments["payment_intent_id"])
    intent = _ask(call).payment_intents.retrieve(intent_id)
    latest = getattr(intent, "latest_charge", None)
    # The charge itself, or its id: that depends on the API's version.
    charge = latest if latest is None or isinstance(latest, str) else latest.id
    kept = _some(intent, "id", "status", "amount", "currency")
    return {**kept, "charge_id": charge}


@_told
def refunds_create(call: Call) -> dict[str, object]:
    """Refund an amount on a charge."""
    refund = _ask(call).refunds.create(
        {
            "amount": call.arguments["amount_minor_units"],
            "charge": call.arguments["charge_id"],
            "expand": ["charge"],
            "metadata": {"action": call.action},
        }
    )
    return _some(refund, "id", "status", "amount", "currency")


@_told
def refunds_find(call: Call) -> dict[str, object]:
    """Read a charge's refunds; what they say stands in the edge's receipt alone."""
    asked = {
        "charge": call.arguments["charge_id"],
        "expand": ["data.charge"],
        "limit": _FOUND,
    }
    _ask(call).refunds.list(asked)
    return {}


def _charge(charge: Any) -> dict[str, object]:  # noqa: ANN401 - the library's object
    kept = _some(charge, "id", "status", "amount", "amount_refunded", "currency")
    return {**kept, "description": getattr(charge, "description", None)}


def _some(found: Any, *names: str) -> dict[str, object]:  # noqa: ANN401
    return {name: getattr(found, name, None) for name in names}


def _ask(call: Call) -> Any:  # noqa: ANN401 - the library's client
    """Return the library's client over the call's connection, without a second try."""
    client = stripe.StripeClient(
        "the-edge-holds-it",
        http_client=_ThroughTheEdge(call.http),
        max_network_retries=0,
    )
    return client.v1

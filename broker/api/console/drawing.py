"""Draw pages: templates, how amounts and times read, and the headers that go with them.

Everything that somebody else wrote is escaped by the templates, and loses what could
turn writing around. The policy of the page lets no other script run than ours.
"""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import HTMLResponse

from broker.api.console.assets import asset_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment

NONCE_BYTES: Final = 16
_TEMPLATES = Path(__file__).parent / "templates"
_WINDOWS = {"ever": "in all", "pending": "at once"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def page(
    template: str,
    values: Mapping[str, Any] | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Return a page or a part of one, with a script nonce of its own."""
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    text = _environment().get_template(template).render(values or {}, nonce=nonce)
    return HTMLResponse(text, status, {**security_headers(nonce), **(headers or {})})


def security_headers(nonce: str = "") -> dict[str, str]:
    """Return the headers of every answer; the one script with the nonce may run."""
    script = f"'nonce-{nonce}'" if nonce else "'none'"
    policy = (
        "default-src 'none'",
        f"script-src {script}",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types htmx",
    )
    return {**_HEADERS, "Content-Security-Policy": "; ".join(policy)}


def plain(text: object) -> str:
    """Return a text in which nothing turns writing around; line breaks stay."""
    return "".join(
        one if one.isprintable() or one == "\n" else "\ufffd" for one in str(text)
    )


def sentence(text: object) -> str:
    """Return what a problem says as a sentence of a page: its code marks left out."""
    said = plain(text).replace("`", "").strip()
    return f"{said[:1].upper()}{said[1:]}{'' if said[-1:] in '.?!' else '.'}"


def units(number: int, unit: str) -> str:
    """Return an amount of a budget for people."""
    return str(number) if unit == "count" else f"{number / 100:,.2f} {unit}"


def lasting(seconds: float) -> str:
    """Return what is left of some time, for people."""
    left = max(0, int(seconds))
    hours, minutes = left // 3_600, left % 3_600 // 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min" if minutes else f"{left} s"


def hour(moment: str) -> str:
    """Return the hour of a moment as the wire has it, for people."""
    return f"{moment[11:16]} UTC"


def field_text(name: str, value: object, currency: str) -> str:
    """Return a field of a record for people: amounts as amounts."""
    if name.endswith("_minor_units") and type(value) is int:
        return units(value, currency)
    return plain(value)


def field_name(name: str) -> str:
    """Return a field's name for people."""
    return name.removesuffix("_minor_units").replace("_", " ")


def bar(budget: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a budget's bar, in hundredths of its width.

    It is as wide as the limit, or as what would be used if that is more: then ``limit``
    says where the limit lies, and what is beyond it is ``over``.
    """
    used: int = budget["posted"] + budget["held_by_others"]
    after: int = used + budget["this"]
    limit: int = budget["limit"]
    whole = max(after, limit, 1)

    def part(number: int) -> float:
        return round(100.0 * number / whole, 2)

    within = max(0, min(after, limit) - min(used, limit))
    return {
        "posted": part(min(budget["posted"], limit)),
        "held": part(max(0, min(used, limit) - min(budget["posted"], limit))),
        "this": part(within),
        "over": part(max(0, after - limit)),
        "limit": part(limit),
        "used_text": units(used, budget["unit"]),
        "after_text": units(after, budget["unit"]),
        "limit_text": units(limit, budget["unit"]),
        "window_text": _WINDOWS.get(budget["window"], f"per {budget['window']}"),
    }


def fullest(budgets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return budgets with the one that this fills most first; what is over leads."""

    def share(budget: Mapping[str, Any]) -> tuple[bool, float]:
        after = budget["posted"] + budget["held_by_others"] + budget["this"]
        return bool(budget["over"]), after / max(1, budget["limit"])

    return sorted(budgets, key=share, reverse=True)


@cache
def _environment() -> Environment:
    # Loaded when the first page is drawn: a replica without a console pays nothing.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": plain,
        "lasting": lasting,
        "sentence": sentence,
        "hour": hour,
        "field_name": field_name,
    }
    environment.globals |= {
        "asset": asset_path,
        "bar": bar,
        "field_text": field_text,
        "fullest": fullest,
    }
    return environment

"""Try a credential with a request that changes nothing and that a manifest declares.

An order that the broker signed stands behind it (`gate`). It is a GET of a tool with
effect read, for the arguments in the order; its answer is looked at and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.core.warrants.probes import harmless
from broker.core.warrants.template import (
    Filling,
    TemplateError,
    fill_path,
    fill_query,
)
from broker.edge.egress.echo import echoes
from broker.edge.egress.upstream import Outgoing, UpstreamError
from broker.edge.vault.kinds import VaultError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from broker.core.words.tool import EgressRequest, Tool
    from broker.edge.egress.route import Route
    from broker.edge.egress.upstream import Answer
    from broker.edge.vault.access import Access

PROBE_S_MAX: Final = 10.0
REFUSES: Final = frozenset({401, 403, 407})
"""Answers that say that the credential was not taken, whatever the manifest lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The request to try: of which tool, for which arguments and customer."""

    tool: Tool
    arguments: Mapping[str, Any]
    customer: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it; ``problem`` is empty if the upstream took the credential."""

    status: int
    problem: str


async def probe(
    asked: Probe,
    access: Access,
    *,
    ask: Callable[[Route, Outgoing], Awaitable[Answer]],
) -> Probed:
    """Send the request once, and say whether the credential was taken.

    Raises:
        VaultError: The tool has no harmless request, or it cannot be filled.
    """
    request = harmless(asked.tool)
    if request is None:
        msg = f"{asked.tool.name} has no harmless request: a tool that reads with a GET"
        raise VaultError(msg)
    outgoing = Outgoing(
        method=request.method,
        target=access.target(_target(asked, request)),
        body=None,
        headers=access.headers,
        key_header="",
        key="",
        fresh=True,
        timeout_s=PROBE_S_MAX,
        response_bytes_max=asked.tool.response_bytes_max,
    )
    try:
        answer = await ask(access.route, outgoing)
    except UpstreamError as error:
        return Probed(error.status, error.code)
    heard = answer.body + b"\n" + answer.content_type.encode()
    if any(echoes(heard, secret) for secret in access.secrets):
        return Probed(answer.status, "credential_echo")
    if answer.status in REFUSES:
        return Probed(answer.status, "credential_refused")
    if answer.status not in request.done | request.refused:
        return Probed(answer.status, "unexpected_status")
    return Probed(answer.status, "")


def _target(asked: Probe, request: EgressRequest) -> str:
    filling = Filling(asked.arguments, customer=asked.customer, action="")
    try:
        path = fill_path(request.path, filling)
        query = fill_query(request.query, filling)
    except TemplateError as error:
        msg = f"the request of {asked.tool.name} cannot be filled: {error}"
        raise VaultError(msg) from None
    return path + ("?" + "&".join(query) if query else "")

"""Resources: what a token can be for, and which of them a path belongs to.

Agents use ``/v1`` (REST and MCP) or ``/mcp`` (MCP alone); ``/mcp/<interaction>`` is MCP
within one interaction, which binds the token to it, so that a client that knows nothing
but a URL gets exactly the token that it may have. People use ``/console``, our own
services ``/internal``. A person's token for ``/delegation/<agent>`` opens nothing: that
agent exchanges it, and then acts on this person's behalf.

Source: RFC 8707; RFC 9728 section 3.
"""

from __future__ import annotations

import re
from typing import Final

from broker.core.words.subject import Grant, SubjectKind

API: Final = "/v1"
MCP: Final = "/mcp"
CONSOLE: Final = "/console"
INTERNAL: Final = "/internal"

_DELEGATION = re.compile(r"/delegation/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_MCP_BOUND = re.compile(r"/mcp/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_FIXED = {
    SubjectKind.AGENT: frozenset({API, MCP}),
    SubjectKind.PERSON: frozenset({CONSOLE}),
    SubjectKind.SERVICE: frozenset({INTERNAL}),
    SubjectKind.CHANNEL: frozenset[str](),
}


def resource_path(path: str) -> str:
    """Return the resource that a path of ours belongs to."""
    bound = _MCP_BOUND.match(path)
    if bound is not None:
        return bound[0]
    return MCP if path == MCP or path.startswith(f"{MCP}/") else API


def is_resource(path: str) -> bool:
    """Return whether there is such a resource, for its metadata."""
    known = set[str]().union(*_FIXED.values())
    return path in known or _MCP_BOUND.fullmatch(path) is not None


def accepted(kind: SubjectKind, path: str, *, issuer: str) -> frozenset[str]:
    """Return the audiences of which a token shown at this path must name one."""
    if kind is not SubjectKind.AGENT:
        return frozenset(issuer + fixed for fixed in _FIXED[kind])
    here = resource_path(path)
    return frozenset(issuer + one for one in {API, MCP if here != API else API, here})


def grant_of(kind: SubjectKind, resource: str, *, issuer: str) -> Grant | None:
    """Return what naming a resource narrows a token to; None if it is not for this.

    The comparison is exact: no case, slash, query or fragment is forgiven.
    """
    path = resource.removeprefix(issuer)
    if path == resource:
        return None
    if path in _FIXED[kind]:
        return Grant()
    bound = _MCP_BOUND.fullmatch(path)
    if bound is not None and kind is SubjectKind.AGENT:
        return Grant(interaction_id=bound[1])
    if kind is SubjectKind.PERSON and _DELEGATION.fullmatch(path):
        return Grant()
    return None


def delegate_of(resource: str, *, issuer: str) -> str:
    """Return the agent that a token for this resource is lent to, or nothing."""
    match = _DELEGATION.fullmatch(resource.removeprefix(issuer))
    return f"agent:{match[1]}" if match else ""

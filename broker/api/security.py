"""Who calls: dependencies that turn a request into a Caller, or refuse.

``Depends(agent)``, ``Depends(person)`` and ``Depends(service)`` admit one kind each, at
the resource that the path belongs to. A token for another resource is refused even if
everything else about it is right.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.api.identity.front import establish
from broker.core.authenticate import Target
from broker.core.jwk import JwsError
from broker.core.jws import claims_of, unpack
from broker.core.words.errors import ForbiddenError
from broker.core.words.subject import Caller, SubjectKind

from fastapi import Request  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.api.identity.desk import Desk
    from broker.registry.people import PersonRow


def caller(kind: SubjectKind) -> Callable[[Request], Awaitable[Caller]]:
    """Return the dependency that admits callers of one kind."""

    async def admitted(request: Request) -> Caller:
        desk: Desk = request.app.state.desk
        request.state.began_s = asyncio.get_running_loop().time()
        return await establish(
            desk,
            kind=kind,
            target=_target(request, desk),
            authorization=request.headers.getlist("authorization"),
            proofs=request.headers.getlist("dpop"),
        )

    return admitted


agent = caller(SubjectKind.AGENT)
person = caller(SubjectKind.PERSON)
service = caller(SubjectKind.SERVICE)


async def agent_or_person(request: Request) -> Caller:
    """Admit an agent or a person, at a path that answers each in its own way.

    What the token says of itself only picks whom it is checked as: a token that lies
    about it does not verify.
    """
    admitted = person if _says_person(request) else agent
    return await admitted(request)


def _says_person(request: Request) -> bool:
    token = request.headers.get("authorization", "").rpartition(" ")[2]
    try:
        subject = claims_of(unpack(token)).get("sub")
    except JwsError:
        return False
    prefix = f"{SubjectKind.PERSON.value}:"
    return isinstance(subject, str) and subject.startswith(prefix)


def spent_s(request: Request) -> float:
    """Return how long an admitted request has been under way, in seconds."""
    began_s: float = request.state.began_s
    return asyncio.get_running_loop().time() - began_s


async def person_row(desk: Desk, who: Caller) -> PersonRow:
    """Return the signed row of a person who was admitted.

    Raises:
        ForbiddenError: It is gone meanwhile.
    """
    row = await desk.identities.person(who.subject_id)
    if row is None or not row.active:
        msg = "this person is no longer active"
        raise ForbiddenError(msg)
    return row


def _target(request: Request, desk: Desk) -> Target:
    """Return what was called, by the request line alone: nobody's Host header."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.partition(b"?")[0].decode("ascii", errors="replace")
    return Target(request.method, desk.origins, path)

"""Rehearsing a policy over HTTP, for people: replay by the page, and the shadow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker import rehearsal
from broker.api.bodies import Body, documented, read
from broker.api.identity.evidence import entry_of
from broker.api.policy import BODY_BYTES_MAX, MAIN, REASON_CHARS_MAX
from broker.api.security import person, person_row
from broker.core.words.entry import EntryKind
from broker.core.words.errors import InvalidError
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller
from broker.registry.people import check_may_see
from broker.registry.policy.cedar_text import PolicyError
from broker.registry.policy.versions import check_may_propose, content_digest
from broker.registry.records import Change
from broker.watch.replay import to_json

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.ports import Ports
    from broker.registry.people import PersonRow
    from broker.watch.replay import Candidate

router = APIRouter(prefix="/v1/policy", tags=["policy"])
Someone = Annotated[Caller, Depends(person)]

SHADOW: Final = "shadow"
REPLAY_DAYS_MAX: Final = 400
_ID = r"^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?$"


class ReplayBody(Body):
    """A candidate, and how far back; ``after`` and ``until`` are of the page before."""

    policy: dict[str, Any]
    days: int = Field(ge=1, le=REPLAY_DAYS_MAX)
    after: str = Field(default="", pattern=_ID)
    until: str = Field(default="", pattern=_ID)


class ShadowBody(Body):
    """The policy that runs beside the live one; null ends it."""

    policy: dict[str, Any] | None
    reason: str = Field(default="", max_length=REASON_CHARS_MAX)


@router.post(
    "/replays",
    summary="Replay a page of recorded requests",
    openapi_extra=documented(ReplayBody),
)
async def replay(request: Request, who: Someone) -> dict[str, Any]:
    """Return what a candidate decides otherwise than the policy in force would."""
    desk, ports = _desk(request), _ports(request)
    actor = await person_row(desk, who)
    check_may_see(actor)
    body = await read(request, ReplayBody, bytes_max=BODY_BYTES_MAX)
    digest = content_digest(body.policy)
    candidate = _candidate(body.policy, ports)
    now = desk.clock.now()
    after = body.after or rehearsal.first_id(now - timedelta(days=body.days))
    until = body.until or rehearsal.first_id(now)
    if not body.after:
        note = _Note("policy.replay", actor, more={"digest": digest, "days": body.days})
        await desk.journal.record(entry_of(desk, EntryKind.AUTHORITY, note.detail()))
    found = await rehearsal.replayed(ports, candidate, after=after, until=until)
    return {
        "tally": to_json(found.tally),
        "after": found.after,
        "until": until,
        "more": found.more,
    }


@router.get("/shadow", summary="See what the shadow would have decided otherwise")
async def show_shadow(request: Request, who: Someone) -> dict[str, Any]:
    """Return what runs beside the live policy, and its flips so far."""
    desk, ports = _desk(request), _ports(request)
    check_may_see(await person_row(desk, who))
    row = await desk.registry.get("policy", SHADOW)
    if row is None or row.body.get("status") != "on":
        return {"state": "off"}
    shadow = await ports.authority.shadow()
    count = await ports.policies.shadows.count(row.revision)
    return {
        # Tools may have changed since: then it cannot be evaluated, and counts nothing.
        "state": "on" if shadow is not None else "unusable",
        "digest": row.body.get("digest"),
        "by": row.body["author"],
        "reason": row.body.get("reason") or None,
        "since": write_moment(row.at),
        "counted_at": write_moment(count.at) if count else None,
        "tally": to_json(count.tally) if count else None,
    }


@router.post(
    "/shadow",
    summary="Run a policy beside the live one, or end it",
    openapi_extra=documented(ShadowBody),
)
async def set_shadow(request: Request, who: Someone) -> dict[str, Any]:
    """Put a shadow there; it decides nothing, so one person is enough."""
    desk, ports = _desk(request), _ports(request)
    actor = await person_row(desk, who)
    check_may_propose(actor)
    body = await read(request, ShadowBody, bytes_max=BODY_BYTES_MAX)
    content, digest = body.policy or {}, ""
    if body.policy is not None:
        digest = content_digest(content)
        _candidate(content, ports)
    state = "on" if body.policy is not None else "off"
    last = await desk.registry.get("policy", SHADOW)
    row = {
        **content,
        "version": 0,
        "author": actor.person_id,
        "reason": body.reason,
        "status": state,
        "digest": digest,
    }
    change = Change(
        kind="policy",
        row_id=SHADOW,
        body=row,
        by=(f"person:{actor.person_id}",),
        at=desk.clock.now(),
        after=last.revision if last else 0,
    )
    more = {"state": state, "digest": digest or None, "reason": body.reason or None}
    note = _Note("policy.shadow", actor, more=more)
    await desk.registry.put(change, entry_of(desk, EntryKind.AUTHORITY, note.detail()))
    return {"state": state, "digest": digest or None}


@dataclass(frozen=True, slots=True)
class _Note:
    what: str
    actor: PersonRow
    more: dict[str, Any]

    def detail(self) -> dict[str, Any]:
        by = f"person:{self.actor.person_id}"
        return {"what": self.what, "kind": "policy", "id": MAIN, "by": by, **self.more}


def _candidate(content: dict[str, Any], ports: Ports) -> Candidate:
    try:
        return rehearsal.candidate_of(content, ports)
    except PolicyError as error:
        text = str(error)
    except (AttributeError, KeyError, TypeError) as error:
        text = f"the policy lacks something: {error}"
    raise InvalidError(text, hint="see `counterfoil policy check`", pointer="/policy")


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _ports(request: Request) -> Ports:
    ports: Ports = request.app.state.ports
    return ports

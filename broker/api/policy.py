"""The policy over HTTP, for people: versions, proposals, approvals, rollback.

A version comes into force when a second person signs what the first one signed; a
change that provably only narrows may be put in force by its author at once. Everything
is validated when it is proposed and again when it is approved, because tools may have
changed meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from broker.api.bodies import Body, documented, read
from broker.api.identity.evidence import entry_of
from broker.api.security import person, person_row
from broker.core.words.entry import EntryKind
from broker.core.words.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from broker.core.words.moment import write_moment
from broker.core.words.subject import Caller
from broker.registry.appetite.checks import check_sources
from broker.registry.people import check_may_see
from broker.registry.policy.cedar_text import PolicyError
from broker.registry.policy.versions import (
    CONTENT_BYTES_MAX,
    VERSIONS_SHOWN_MAX,
    Proposal,
    Version,
    changes,
    check_may_approve,
    check_may_propose,
    check_signed,
    content_digest,
    narrows,
    parse_proposal,
    parse_version,
    policy_claims,
    version_body,
)
from broker.registry.reading import RowError
from broker.registry.records import Change

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.registry.people import PersonRow

router = APIRouter(prefix="/v1/policy", tags=["policy"])
Someone = Annotated[Caller, Depends(person)]

MAIN: Final = "main"
BODY_BYTES_MAX: Final = 2 * CONTENT_BYTES_MAX
REASON_CHARS_MAX: Final = 200
_Signature = Annotated[str, Field(min_length=1, max_length=2_048)]
_Reason = Annotated[str, Field(default="", max_length=REASON_CHARS_MAX)]


class ProposalBody(Body):
    """What is proposed as ``version``, signed by who proposes it.

    ``now`` puts a change in force at once, if it provably only narrows.
    """

    policy: dict[str, Any]
    version: int = Field(ge=1)
    signature: _Signature
    reason: _Reason
    rollback_of: int = Field(default=0, ge=0)
    now: bool = False


class ApprovalBody(Body):
    """A signature over what is proposed."""

    version: int = Field(ge=1)
    signature: _Signature


class WhyBody(Body):
    """Why; without personal data, because it stands in the log for good."""

    reason: _Reason


@router.get("/versions", summary="List the versions of the policy")
async def list_versions(request: Request, who: Someone) -> dict[str, Any]:
    """Return every version, newest first, and the one that is proposed."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    proposal = await _open_proposal(desk)
    return {
        "versions": [_json(one) for one in await _versions(desk)],
        "proposal": _json(proposal) if proposal else None,
    }


@router.get("/versions/{number}", summary="Show a version")
async def show_version(request: Request, who: Someone, number: int) -> dict[str, Any]:
    """Return a version with its whole content."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    return _json(await _version(desk, number), content=True)


@router.get("/proposal", summary="Show what is proposed")
async def show_proposal(request: Request, who: Someone) -> dict[str, Any]:
    """Return what waits for a second person, and what it would change."""
    desk = _desk(request)
    check_may_see(await person_row(desk, who))
    found = await _the_proposal(desk)
    current = await _current(desk)
    return _json(found, content=True) | {
        "changes": changes(current.content, found.content),
        "narrows": narrows(current.content, found.content),
    }


@router.post(
    "/proposal",
    status_code=201,
    summary="Propose a version",
    openapi_extra=documented(ProposalBody),
)
async def propose(request: Request, who: Someone) -> dict[str, Any]:
    """Let a signed proposal wait for a second person, or publish what only narrows."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_propose(actor)
    body = await read(request, ProposalBody, bytes_max=BODY_BYTES_MAX)
    current = await _current(desk)
    proposed = await _proposed(desk, body, actor=actor, current=current)
    if body.now:
        if not narrows(current.content, proposed.content):
            msg = "it does not provably narrow, so a second person must approve it"
            raise ForbiddenError(msg, hint="propose it without --now")
        return await _publish(desk, proposed, current=current)
    if await _open_proposal(desk) is not None:
        msg = f"version {proposed.number} is proposed already"
        hint = "approve it or withdraw it first"
        raise ConflictError(msg, hint=hint)
    last = await desk.registry.get("policy_proposal", MAIN)
    change = Change(
        kind="policy_proposal",
        row_id=MAIN,
        body=version_body(proposed) | {"status": "open"},
        by=(f"person:{actor.person_id}",),
        at=desk.clock.now(),
        after=last.revision if last else 0,
    )
    detail = _detail("policy.propose", proposed, changes_from=current)
    await desk.registry.put(change, entry_of(desk, EntryKind.AUTHORITY, detail))
    return _json(proposed) | {"state": "proposed"}


@router.post(
    "/proposal/approval",
    summary="Approve what is proposed",
    openapi_extra=documented(ApprovalBody),
)
async def approve(request: Request, who: Someone) -> dict[str, Any]:
    """Sign what somebody else proposed, and put it in force."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_propose(actor)
    body = await read(request, ApprovalBody)
    found, current = await _the_proposal(desk), await _current(desk)
    if body.version != found.number:
        msg = f"version {found.number} is proposed, not {body.version}"
        raise ConflictError(msg, hint="look at it with `counterfoil policy show`")
    author = await desk.identities.person(found.author)
    check_may_approve(actor, author=author)
    assert author is not None  # noqa: S101  (check_may_approve saw them)
    # What the author signed is verified again: a row is no evidence of their will.
    for word, signer, signature in (
        ("propose", author, found.signatures[0]),
        ("approve", actor, body.signature),
    ):
        wanted = policy_claims(
            signer.person_id, word=word, version=found.number, digest=found.digest
        )
        check_signed(signature, person=signer, claims=wanted)
    _check_valid(desk, found)
    approved = replace(
        found,
        approver=actor.person_id,
        signatures=(found.signatures[0], body.signature),
    )
    return await _publish(desk, approved, current=current)


@router.post(
    "/proposal/withdrawal",
    summary="Withdraw what is proposed",
    openapi_extra=documented(WhyBody),
)
async def withdraw(request: Request, who: Someone) -> dict[str, Any]:
    """Take a proposal back; whoever may propose may do that."""
    desk = _desk(request)
    actor = await person_row(desk, who)
    check_may_propose(actor)
    body = await read(request, WhyBody)
    found = await _the_proposal(desk)
    row = await desk.registry.get("policy_proposal", MAIN)
    assert row is not None  # noqa: S101  (the proposal was read from it)
    change = Change(
        kind="policy_proposal",
        row_id=MAIN,
        body=dict(row.body) | {"status": "withdrawn"},
        by=(f"person:{actor.person_id}",),
        at=desk.clock.now(),
        after=row.revision,
    )
    detail = _detail("policy.withdraw", found) | {
        "by": f"person:{actor.person_id}",
        "reason": body.reason or None,
    }
    await desk.registry.put(change, entry_of(desk, EntryKind.AUTHORITY, detail))
    return _json(found) | {"state": "withdrawn"}


# -------------------------------------------------------------------------- the parts


async def _proposed(
    desk: Desk, body: ProposalBody, *, actor: PersonRow, current: Version
) -> Version:
    """Return what is proposed, once content, number and signature are right."""
    wanted = current.number + 1
    if body.version != wanted:
        msg = f"the next version is {wanted}, not {body.version}"
        raise ConflictError(msg, hint="the policy changed meanwhile; look at it again")
    proposed = Version(
        number=wanted,
        revision=0,
        at=desk.clock.now(),
        content=body.policy,
        digest=content_digest(body.policy),
        author=actor.person_id,
        approver="",
        reason=body.reason,
        rollback_of=body.rollback_of,
        signatures=(body.signature,),
    )
    claims = policy_claims(
        actor.person_id, word="propose", version=wanted, digest=proposed.digest
    )
    check_signed(body.signature, person=actor, claims=claims)
    if body.rollback_of:
        earlier = await _version(desk, body.rollback_of)
        if earlier.digest != proposed.digest:
            msg = f"this is not the content of version {body.rollback_of}"
            raise InvalidError(msg, pointer="/policy")
    elif proposed.digest == current.digest:
        msg = f"this is the content of version {current.number}, which is in force"
        raise ConflictError(msg, hint="there is nothing to publish")
    _check_valid(desk, proposed)
    return proposed


async def _publish(desk: Desk, version: Version, *, current: Version) -> dict[str, Any]:
    """Put a version in force; waiting actions are decided again by the sweepers."""
    signers = (version.author, version.approver)
    change = Change(
        kind="policy",
        row_id=MAIN,
        body=version_body(version),
        by=tuple(f"person:{one}" for one in signers if one),
        at=desk.clock.now(),
        after=current.revision,
    )
    detail = _detail("policy.publish", version, changes_from=current)
    row = await desk.registry.put(change, entry_of(desk, EntryKind.AUTHORITY, detail))
    return _json(parse_version(row)) | {"state": "published"}


def _check_valid(desk: Desk, version: Version) -> None:
    """Refuse a policy that could not be used, with the line and the reason.

    It is compiled again from its sources: what people read is what decides.
    """
    hint = "see `counterfoil policy check`"
    sources = version.content.get("sources")
    if not isinstance(sources, dict) or not all(
        isinstance(text, str) for text in sources.values()
    ):
        msg = "the policy does not say what it was made from"
        raise InvalidError(msg, pointer="/policy/sources")
    try:
        found = check_sources(sources, desk.tools)
    except PolicyError as error:
        raise InvalidError(str(error), hint=hint, pointer="/policy") from None
    if found.folder.body() != version.content:
        msg = "its sources do not compile to this policy"
        raise InvalidError(msg, hint=hint, pointer="/policy")
    failed = [result for result in found.results if result.problem]
    if failed:
        msg = f"its own test fails: {failed[0].name}: {failed[0].problem}"
        raise InvalidError(msg, hint=hint, pointer="/policy")


async def _versions(desk: Desk) -> list[Version]:
    found = []
    for row in await desk.registry.history("policy", MAIN, limit=VERSIONS_SHOWN_MAX):
        try:
            found.append(parse_version(row))
        except RowError:
            continue
    return found


async def _version(desk: Desk, number: int) -> Version:
    for one in await _versions(desk):
        if one.number == number:
            return one
    msg = f"there is no version {number}"
    raise NotFoundError(msg, hint="`counterfoil policy log` lists them")


async def _current(desk: Desk) -> Version:
    row = await desk.registry.get("policy", MAIN)
    if row is None:
        msg = "there is no policy that verifies"
        raise NotFoundError(msg)
    return parse_version(row)


async def _open_proposal(desk: Desk) -> Version | None:
    """Return what waits: a proposal is over once its number is in force."""
    row = await desk.registry.get("policy_proposal", MAIN)
    if row is None:
        return None
    found: Proposal = parse_proposal(row)
    current = await _current(desk)
    is_next = found.version.number == current.number + 1
    return found.version if found.open and is_next else None


async def _the_proposal(desk: Desk) -> Version:
    found = await _open_proposal(desk)
    if found is None:
        msg = "nothing is proposed"
        raise NotFoundError(msg)
    return found


def _detail(
    what: str, version: Version, *, changes_from: Version | None = None
) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "what": what,
        "kind": "policy",
        "id": MAIN,
        "version": version.number,
        "digest": version.digest,
        "author": f"person:{version.author}",
        "approver": f"person:{version.approver}" if version.approver else None,
        "rollback_of": version.rollback_of or None,
        "reason": version.reason or None,
    }
    if changes_from is not None:
        detail["changed"] = changes(changes_from.content, version.content)
        detail["version_before"] = changes_from.number
    return detail


def _json(version: Version, *, content: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "version": version.number,
        "at": write_moment(version.at),
        "digest": version.digest,
        "author": version.author,
        "approver": version.approver or None,
        "signatures": len(version.signatures),
        "reason": version.reason or None,
        "rollback_of": version.rollback_of or None,
    }
    return shown | {"policy": dict(version.content)} if content else shown


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk

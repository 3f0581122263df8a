"""A person says what became of an action that the edge cannot tell.

What was signed is verified by the person's own key and stored in one transaction: the
money is posted or given back, the signature is sealed with the outcome, and an entry
names person and reason. Whoever is second finds an action that is not unknown any more.

Source: DESIGN, chapter 3 (invariants 5 and 6).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from broker import case as cases
from broker import evidence
from broker.core.approvals.resolutions import (
    check_recent,
    may_resolve,
    open_digest,
    role_of,
    verify_resolution,
)
from broker.core.sealed import action as stored
from broker.core.sealed import decided
from broker.core.words.action import ActionState, Outcome, OutcomeWord
from broker.core.words.approval import RESOLUTION_TYP
from broker.core.words.decision import Reason
from broker.core.words.entry import EntryKind
from broker.core.words.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from broker.core.words.money import Money
from broker.ports import Claim, Finish
from broker.unknown.reconcile import RECONCILED_MAX, all_of

if TYPE_CHECKING:
    from broker.case import Case
    from broker.core.approvals.resolutions import Resolution
    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import Approver
    from broker.core.words.subject import Caller
    from broker.ports import OpenOutcome, Ports
    from broker.unknown.reconcile import Round

UNKNOWN_SHOWN_MAX: Final = 100

_SEE_ALL = frozenset({"security", "admin", "compliance"})
_GONE = Reason("unreadable", "its tool is gone, or takes other arguments now")


@dataclass(frozen=True, slots=True)
class Listed:
    """An unknown action as a person sees it; ``refusal`` says why not they."""

    open: OpenOutcome
    record: ActionRecord
    role: str
    amount: Money | None
    digest: str
    refusal: Reason | None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a resolution led to; ``repeated`` if it had been given before."""

    action_id: str
    state: ActionState
    repeated: bool = False


async def listed(ports: Ports, caller: Caller) -> list[Listed]:
    """Return the unknown actions that this person may look at, the oldest first.

    Raises:
        ForbiddenError: The caller is no active person.
    """
    person = await _person(ports, caller)
    found = []
    for one in await ports.unknown.listed(limit=UNKNOWN_SHOWN_MAX):
        record = await _record(ports, one.action_id)
        open_still = record is not None and record.state is ActionState.UNKNOWN
        if record is not None and open_still and _sees(person, record):
            found.append(await _listed(ports, person, one, record))
    return found


async def reconciled(ports: Ports, caller: Caller) -> tuple[list[Round], int]:
    """Reconcile now what this person sees; return each, and how many were left out.

    Raises:
        ForbiddenError: The caller is no active person.
    """
    person = await _person(ports, caller)
    seen = []
    for one in await ports.unknown.listed(limit=UNKNOWN_SHOWN_MAX):
        record = await _record(ports, one.action_id)
        if record is not None and _sees(person, record):
            seen.append(one.action_id)
    asked = seen[:RECONCILED_MAX]
    return await all_of(ports, asked), len(seen) - len(asked)


async def resolve(
    ports: Ports, caller: Caller, action_id: str, signed: str
) -> Resolved:
    """End an unknown action by what this person found out; the same again is the same.

    Raises:
        NotFoundError: There is no such action for this person's roles.
        ForbiddenError: It is not signed by this person, or not theirs to resolve.
        InvalidError: It is malformed or old, or an amount makes no sense.
        ConflictError: It is not unknown any more, or is not what was looked at.
    """
    await ports.journal.ready()
    person = await _person(ports, caller)
    record = await _record(ports, action_id)
    if record is None or not _sees(person, record):
        msg = "there is no such action for you"
        raise NotFoundError(msg, hint="`counterfoil approvals unknown` lists yours")
    voter = await ports.desk.voter(person.person_id)
    said = verify_resolution(signed, person_id=person.person_id, keys=voter.own)
    if said.action_id != action_id:
        msg = "it was signed for another action"
        raise ForbiddenError(msg, pointer="/signature")
    if record.state is not ActionState.UNKNOWN:
        return await _ended(ports, said)
    case = await _case(ports, record)
    if case is None:
        msg = f"it cannot be resolved now: {_GONE.text}"
        raise ConflictError(msg, hint="load the tool's manifest again")
    _check(person, record, case, said)
    check_recent(said, now=ports.clock.now())
    finish = await _finish(ports, record, case, said=said, signed=signed)
    if not await ports.store.finish(finish):
        return await _ended(ports, said)
    return Resolved(action_id, finish.state)


def _check(
    person: Approver, record: ActionRecord, case: Case, said: Resolution
) -> None:
    """Require that this person may say this of exactly this action."""
    if said.digest != open_digest(record, case.bound):
        msg = "it was signed for something else than what was sent"
        raise ConflictError(msg, hint="look at it again, and sign anew")
    amount = case.bound.amount
    if said.amount_minor_units is not None:
        if amount is None:
            msg = "this action moves no money"
            raise InvalidError(msg, pointer="/amount_minor_units")
        most = max(amount.minor_units, said.amount_minor_units)
        amount = Money(most, amount.currency)
    refusal = may_resolve(
        person,
        role=role_of(record),
        barred=_barred(record, case, person),
        amount=amount,
    )
    if refusal is not None:
        raise ForbiddenError(refusal.text, hint="somebody else must resolve this")


def _barred(record: ActionRecord, case: Case, person: Approver) -> frozenset[str]:
    """Return who had a part in it: the requester, and the agent's owner then and now.

    An agent that was revoked since has no owner now; its decision names the one then.
    Where nobody can say whose agent it was, this person may have been.
    """
    owners = set()
    if case.view.agent is not None:
        owners.add(case.view.agent.owner)
    if record.decided is not None:
        with contextlib.suppress(ValueError):
            owners.add(decided.from_json(record.decided).question.agent.owner)
    asked = {record.requester.agent_id, *record.requester.barred}
    return frozenset({*asked, *(owners or {person.person_id})})


async def _finish(
    ports: Ports, record: ActionRecord, case: Case, *, said: Resolution, signed: str
) -> Finish:
    """Build what is stored: outcome with the signature, money, entry."""
    amount, posted = case.bound.amount, None
    word = OutcomeWord.DONE if said.happened else OutcomeWord.FAILED
    alarms: tuple[str, ...] = ()
    if said.happened and amount is not None:
        posted = said.amount_minor_units or amount.minor_units
        alarms = ("more_than_decided",) if posted > amount.minor_units else ()
    what = "happened" if said.happened else "did not happen"
    outcome = Outcome(word, "resolved", f"a person found that it {what}", sent=True)
    content = stored.outcome_payload(outcome, "") | {"resolution": signed}
    payload = await evidence.seal(ports, case, content, "outcome")
    detail: dict[str, Any] = {
        "outcome": word.value,
        "code": outcome.code,
        "sent": True,
        "posted_minor_units": posted,
        "warrant": record.warrant_id,
        "by": f"person:{said.person_id}",
        "person_kid": said.kid,
        "reason": said.reason,
        "resolution": said.resolution_id,
        "typ": RESOLUTION_TYP,
        "digest": said.digest,
        "resolution_sha256": sha256(signed.encode()).hexdigest(),
        "alarms": list(alarms),
    }
    entry = await evidence.entry_of(ports, case, EntryKind.RESOLVED, detail, (payload,))
    return Finish(
        claim=Claim(record, ports.replica, record.warrant_id, ports.clock.now()),
        state=ActionState(word.value),
        code=outcome.code,
        money="post" if said.happened else "void",
        post_minor_units=posted,
        currency=amount.currency if amount else "",
        payload=payload,
        values=(),
        ceilings=(),
        entries=(entry,),
        alarms=alarms,
        resolution=said.fingerprint,
    )


async def _ended(ports: Ports, said: Resolution) -> Resolved:
    """Answer for an action that is not unknown: the same word again is no conflict."""
    record = await ports.store.action(said.action_id)
    state = record.state if record else ActionState.UNKNOWN
    if await ports.unknown.resolution(said.action_id) == said.fingerprint:
        return Resolved(said.action_id, state, repeated=True)
    msg = f"this action is not unknown any more: {state.value}"
    raise ConflictError(msg, hint="there is nothing left to resolve")


async def _listed(
    ports: Ports, person: Approver, one: OpenOutcome, record: ActionRecord
) -> Listed:
    case, role = await _case(ports, record), role_of(record)
    if case is None:
        return Listed(one, record, role, None, "", _GONE)
    amount = case.bound.amount
    refusal = may_resolve(
        person, role=role, barred=_barred(record, case, person), amount=amount
    )
    digest = open_digest(record, case.bound)
    return Listed(one, record, role, amount, digest, refusal)


def _sees(person: Approver, record: ActionRecord) -> bool:
    return role_of(record) in person.roles or bool(person.roles & _SEE_ALL)


async def _record(ports: Ports, action_id: str) -> ActionRecord | None:
    """Return an action, None if there is none, or if what it said was erased."""
    try:
        return await ports.store.action(action_id)
    except LookupError:
        return None


async def _case(ports: Ports, record: ActionRecord) -> Case | None:
    """Return what was sent, None if the tools of now cannot say what that was."""
    case = await cases.reopened(ports, record, to_record=True)
    return None if isinstance(case, Reason) else case


async def _person(ports: Ports, caller: Caller) -> Approver:
    person = (await ports.authority.approvers()).get(caller.subject_id)
    if person is None or not person.active:
        msg = "only people who are registered here look at unknown outcomes"
        raise ForbiddenError(msg)
    return person

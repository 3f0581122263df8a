"""One action's case: everything its stages look at, gathered from the ports.

flow.py reads as the path; this module fetches what a stage needs, asks core, and puts
the answers into the shape that is stored. It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from broker import ordered
from broker.core import admission, approve, authorize, guard, limit
from broker.core.canonical import CanonicalError, canonical, digest
from broker.core.identity import chain
from broker.core.words.action import (
    CITATIONS_MAX,
    IDEMPOTENCY_KEY_LENGTH_MAX,
    REASON_LENGTH_MAX,
    ActionKind,
    ActionRequest,
    Bound,
    Requester,
)
from broker.core.words.budget import BudgetRule, Scope, Window
from broker.core.words.decision import Reason
from broker.core.words.effect import Tier, is_consequential
from broker.core.words.errors import ForbiddenError, InvalidError
from broker.counted import above, charged, facts_of
from broker.registry.limits import release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import StandingApproval
    from broker.core.words.budget import LimitFacts, Line
    from broker.core.words.subject import Caller, Interaction
    from broker.core.words.tool import Tool
    from broker.ordered import Undoing
    from broker.ports import AuthorityView, Ports

STANDING_RULE = "standing"
_STOPPED = Reason("stopped", "the kill switch is on: no agent acts")
_INACTIVE = Reason("agent_inactive", "agent or interaction is not active any more")


@dataclass(frozen=True, slots=True)
class Ask:
    """What an authenticated caller asks for; parsed JSON, nothing of it believed.

    ``action_id`` is the id that we gave it at the door, empty to give one later.
    """

    caller: Caller
    tool: str
    arguments: Mapping[str, Any]
    interaction_id: str
    reason: str = ""
    citations: tuple[str, ...] = ()
    idempotency_key: str = ""
    action_id: str = ""
    undo: Undoing | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What the stages look at. ``facts`` are for budgets and rates.

    ``caller`` is None when an action is decided again; ``put`` is the last question.
    ``spare`` are other standing approvals that cover it, if ``standing`` has no room;
    ``scene`` is what a canary shows.
    """

    request: ActionRequest
    requester: Requester
    tool: Tool
    bound: Bound
    interaction: Interaction
    view: AuthorityView
    facts: LimitFacts
    caller: Caller | None = None
    standing: StandingApproval | None = None
    spare: tuple[StandingApproval, ...] = ()
    lines: tuple[Line, ...] = ()
    totals: Mapping[str, int] | None = None
    put: authorize.Question | None = None
    scene: Mapping[str, Any] | None = None


async def established(ports: Ports, ask: Ask) -> Case | Reason:
    """Gather the case of a new request, or the reason why this caller may not act.

    Raises:
        InvalidError: arguments or other fields are not what the tool takes.
        ForbiddenError: there is no such tool for this agent.
    """
    _check_fields(ask)
    interaction = await ports.store.interaction(ask.interaction_id)
    view = await _view(ports, ask)
    if isinstance(view, Reason):
        return view
    now = ports.clock.now()
    admit = admission.admit_order if ask.undo else admission.admit
    refusal = admit(ask.caller, interaction, epochs=view.epochs, now=now)
    refusal = _STOPPED if view.stopped else refusal
    if refusal is not None or interaction is None:
        return refusal or Reason("no_such_interaction", "no such interaction")
    if view.agent is None:
        return Reason("agent_inactive", "this agent is not active")
    if view.broken:
        return Reason("chain_broken", view.broken)
    tool = _granted(ports, ask, view.agent, *view.chain)
    bound = guard.bind(tool, ask.arguments)
    over_grant = admission.over_grant(ask.caller, tool, bound)
    if over_grant is not None:
        return over_grant
    request = ActionRequest(
        action_id=ask.action_id or ports.ids.new(),
        tool=tool.name,
        arguments=ask.arguments,
        arguments_digest=digest(dict(ask.arguments)),
        interaction_id=interaction.interaction_id,
        reason=ask.reason,
        citations=ask.citations,
        idempotency_key=ask.idempotency_key,
        asked_at=now,
        kind=ActionKind.UNDO if ask.undo else ActionKind.REQUEST,
        reversal_of=ask.undo.action_id if ask.undo else "",
        asked_by=ask.undo.person_id if ask.undo else "",
    )
    owners = [one.owner for one in view.chain]
    requester = admission.requester_of(ask.caller, owners=owners)
    if ask.undo:
        requester = admission.requester_of_order(ask.caller, ask.undo.of.requester)
    case = Case(
        request=request,
        requester=requester,
        tool=tool,
        bound=bound,
        interaction=interaction,
        view=view,
        facts=charged(
            request, await facts_of(ports, tool, bound, interaction, requester)
        ),
        caller=ask.caller,
    )
    return _with_standing(ports, case)


async def reopened(
    ports: Ports, stored: ActionRecord, *, to_record: bool = False
) -> Case | Reason:
    """Gather the case of a stored action again, from signed rows as they stand now.

    ``to_record``: it was sent already, and is recorded whoever was revoked since.
    """
    interaction = await ports.store.interaction(stored.request.interaction_id)
    view = await _view_again(ports, stored, to_record=to_record)
    if isinstance(view, Reason):
        return view
    tool = ports.shelf.tool(stored.request.tool)
    ended = None if to_record else _ended(view)
    if ended is not None or interaction is None:
        return ended or _INACTIVE
    if tool is None or (tool.digest != stored.manifest and not to_record):
        return Reason("manifest_changed", "the tool changed after the decision")
    try:
        bound = guard.bind(tool, stored.request.arguments)
    except InvalidError:
        return Reason("manifest_changed", "its tool takes other arguments now")
    case = Case(
        request=stored.request,
        requester=stored.requester,
        tool=tool,
        bound=bound,
        interaction=interaction,
        view=view,
        facts=charged(
            stored.request,
            await facts_of(ports, tool, bound, interaction, stored.requester),
        ),
    )
    # What one standing approval has paid for, no other one covers.
    only = stored.standing_approval
    return case if stored.approval_id else _with_standing(ports, case, only=only)


def _ended(view: AuthorityView) -> Reason | None:
    """Return why nobody acts on this authority any more, or None."""
    if view.stopped:
        return _STOPPED
    if view.agent is None:
        return _INACTIVE
    return Reason("chain_broken", view.broken) if view.broken else None


async def _view(ports: Ports, ask: Ask) -> AuthorityView | Reason:
    """Return what holds now for who asks: an agent, or a person who gives an order."""
    scopes = [scope for scope, _ in ask.caller.epochs.scopes]
    if ask.undo is not None:
        return await ordered.view_of(ports, ask.undo, scopes, tool=ask.tool)
    chain = above(ask.caller)
    return await ports.authority.view(ask.caller.subject_id, scopes, chain=chain)


async def _view_again(
    ports: Ports, stored: ActionRecord, *, to_record: bool
) -> AuthorityView | Reason:
    scopes = [scope for scope, _ in stored.requester.epochs]
    if ordered.is_order(stored) and not to_record:
        return await ordered.view_again(ports, stored, scopes)
    who = stored.requester
    return await ports.authority.view(who.agent_id, scopes, chain=above(who))


def stands(case: Case, stored: ActionRecord) -> Reason | None:
    """Return why a stored action may not go on, whatever the policy says."""
    moved = any(
        case.view.epochs.get(scope, 0) > seen for scope, seen in stored.requester.epochs
    )
    if moved:
        return Reason("revoked", "this identity was revoked")
    if digest(dict(stored.request.arguments)) != stored.request.arguments_digest:
        return Reason("arguments_changed", "the stored arguments were changed")
    return None


async def with_totals(ports: Ports, case: Case) -> Case:
    """Read what the budgets have taken; leave out standing approvals without room.

    The first with room is used. What this very action holds already does not count.
    """
    now = ports.clock.now()
    rules = budget_rules(case)
    lines = limit.lines_for(rules, case.facts, now=now)
    watched = limit.watched_keys(rules, case.facts, now=now)
    keys = sorted({*watched, *(line.key for line in lines)})
    totals = await ports.store.totals(
        keys, besides=case.request.action_id, member=case.facts.customer_ref
    )
    doubtful = release.in_doubt(totals)
    signed = {one: await ports.authority.released(one) for one in doubtful}
    totals = release.unreleased(totals, signed)
    lines = limit.with_totals(lines, totals, looked_at=case.view.policy.book.reads)
    standing_fits = all(
        limit.fits(line) for line in lines if line.rule_id == STANDING_RULE
    )
    by_rule = limit.totals_by_rule(rules, watched, totals)
    by_rule.pop(STANDING_RULE, None)
    if case.standing is not None and not standing_fits:
        case = _under(case, case.spare)
        if case.standing is not None:
            return await with_totals(ports, case)
        lines = tuple(line for line in lines if line.rule_id != STANDING_RULE)
    return replace(case, lines=lines, totals=by_rule)


def budget_rules(case: Case) -> tuple[BudgetRule, ...]:
    """Return the policy's budgets, and the standing approval's total as one more."""
    rules = case.view.policy.budgets
    if case.standing is None:
        return rules
    total = BudgetRule(
        rule_id=STANDING_RULE,
        per=frozenset({Scope.STANDING_APPROVAL}),
        unit=case.standing.currency,
        window=Window.EVER,
        limit=case.standing.total_minor_units,
    )
    return (*rules, total)


def _granted(ports: Ports, ask: Ask, *agents: authorize.AgentFacts) -> Tool:
    """Return the tool that is asked for, if these agents and the token may use it."""
    tool, granted = ports.shelf.tool(ask.tool), ask.caller.grant.tools
    if (
        tool is None
        or tool.receipt.find is not None  # a reading of the broker's own
        # What undoes an action is asked for by a person, whatever the agents may.
        or not (ask.undo or all(tool.name in one.tools for one in agents))
        or (granted and tool.name not in granted)
    ):
        raise no_such_tool()
    return tool


def dedupe_key(case: Case) -> tuple[str, str]:
    """Return (key, fingerprint) under which a repeated call is the same action.

    Reads run anew and have no key. With an Idempotency-Key, that key is the identity
    and the fingerprint tells a misuse; without one, the call itself is, whichever agent
    of a chain it comes through.
    """
    who = case.requester
    fingerprint = digest(
        [
            chain.root_of(who.agent_id, principal=who.principal, actors=who.actors),
            case.request.interaction_id,
            case.tool.name,
            case.request.arguments_digest,
        ]
    )
    if not is_consequential(case.tool.effect):
        return "", fingerprint
    key = case.request.idempotency_key
    # What a person asks for is never what an agent names with a key of its own.
    whose = "undo" if case.request.kind is ActionKind.UNDO else "key"
    return (
        digest([whose, case.requester.agent_id, key]) if key else fingerprint,
        fingerprint,
    )


def no_such_tool() -> ForbiddenError:
    """Return the one answer for unknown tools and tools that are not granted."""
    return ForbiddenError(
        "this tool is not available to you", hint="GET /v1/tools lists what is."
    )


def epochs_of(case: Case, requester: Requester) -> tuple[tuple[str, int], ...]:
    """Return what a warrant is issued under; whatever moves on makes it void."""
    if case.standing is None:
        return requester.epochs
    scope = f"standing_approval:{case.standing.approval_id}"
    return (*requester.epochs, (scope, case.view.epochs.get(scope, 0)))


def _with_standing(ports: Ports, case: Case, *, only: str = "") -> Case:
    """Add the standing approval that covers it, given proof of possession."""
    consequential = case.tool.tier is Tier.CONSEQUENTIAL
    if not (consequential and case.requester.proof_of_possession):
        return case
    # It was signed for named agents: it covers a chain only if it names them all, and
    # if none of their owners signed it.
    agents = {one.agent_id for one in case.view.chain}
    standing = approve.standing_for(
        case.request,
        case.bound,
        agent_id=case.requester.agent_id,
        standing=[
            one
            for one in case.view.standing
            if only in {"", one.approval_id}
            and agents <= one.agents
            and not {*case.requester.barred} & {*one.signed_by}
        ],
        now=ports.clock.now(),
    )
    return _under(case, standing)


def _under(case: Case, standing: tuple[StandingApproval, ...]) -> Case:
    """Put a case under the first of these, and keep the others in case it is full."""
    first = standing[0] if standing else None
    name = first.approval_id if first else ""
    facts = replace(case.facts, standing_approval=name)
    return replace(case, standing=first, spare=standing[1:], facts=facts)


def _check_fields(ask: Ask) -> None:
    for pointer, value, most in (
        ("/reason", ask.reason, REASON_LENGTH_MAX),
        ("/citations", ask.citations, CITATIONS_MAX),
        ("/idempotency_key", ask.idempotency_key, IDEMPOTENCY_KEY_LENGTH_MAX),
    ):
        if len(value) > most:
            msg = f"{pointer} is longer than {most}"
            raise InvalidError(msg, pointer=pointer)
    try:
        canonical(dict(ask.arguments))
    except CanonicalError as error:
        raise InvalidError(str(error), pointer="/arguments") from error

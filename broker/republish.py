"""A published policy decides again what waits for people.

Unchanged questions are carried: approval and votes stay, and both versions are in the
log. Changed ones are asked again: the old approval ends as stale, a new one takes its
place, and what is held is taken again under the new limits in the same transaction.
What is now denied, or has no room under the new limits, is refused and gives back what
it held. What is now permitted stays asked: people were told that it waits for them, and
a policy that asks for less asks nothing new of them.

Every replica sweeps in batches; publishing itself waits for none of this. Whoever looks
at an action meanwhile (a voter, settle) brings it up to date first.

Source: DESIGN, chapter 3 (invariant 5); docs/policy-rollout.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from broker import case as cases
from broker import deciding, evidence
from broker.core import approve, limit, record
from broker.core.sealed import action as sealed
from broker.core.words.action import ActionKind, ActionState
from broker.core.words.decision import Deny, Escalate, Reason, word_of
from broker.core.words.entry import EntryKind
from broker.ports import RedecidedWord, Redecision

if TYPE_CHECKING:
    from typing import Any

    from broker.case import Case
    from broker.core.words.action import ActionRecord
    from broker.core.words.decision import Decision, Verdict
    from broker.ports import Ports

TRIES_MAX = 3
"""How often a waiting action is decided again at once because totals moved."""

REPUBLISHED_AT_ONCE_MAX = 200
"""How many waiting actions one sweep of one replica decides again."""

_WAITS = frozenset({ActionState.PENDING_APPROVAL, ActionState.READY})


class Again(StrEnum):
    """What became of a waiting action under the policy in force.

    ``CURRENT``: this policy decided it already. ``GONE``: somebody else was faster, or
    it waits no longer. ``LATER``: totals keep moving; the next sweep tries again.
    """

    CURRENT = "current"
    CARRIED = "carried"
    ASKED = "asked"
    REFUSED = "refused"
    GONE = "gone"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class _Decided:
    """A waiting action beside what policy says of it now."""

    before: ActionRecord
    case: Case
    decision: Decision
    verdict: Verdict

    @property
    def version(self) -> int:
        return self.case.view.policy.book.version

    def detail(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
        """Return what the entry says: the decision, and both versions."""
        return record.decision_detail(
            self.decision,
            verdict=self.verdict,
            policy_version=self.version,
            more={
                "policy_version_before": self.before.policy_version,
                "approval": self.before.approval_id,
                **more,
            },
        )


async def again(ports: Ports, before: ActionRecord) -> Again:
    """Decide a waiting action under the policy in force, and store what came of it.

    Raises:
        UnavailableError: a part is down; nothing was done, the next sweep tries again.
    """
    asked = before.asked
    if before.state not in _WAITS or asked is None or not before.approval_id:
        return Again.GONE
    for _ in range(TRIES_MAX):
        now = await _decided(ports, before)
        if isinstance(now, Again):
            return now
        carried = approve.carries(asked, now.decision)
        new = await (_carried(ports, now) if carried else _asked(ports, now))
        answer = await ports.policies.waiting.redecide(new)
        match answer.word:
            case RedecidedWord.OK:
                return Again.CARRIED if carried else Again.ASKED
            case RedecidedWord.GONE:
                return Again.GONE
            case RedecidedWord.OVER:
                reason = limit.over_budget(answer.over)
                return await _refused(ports, before, reason, **now.detail())
            case RedecidedWord.STALE:
                continue
            case _:
                assert_never(answer.word)
    return Again.LATER


async def _decided(ports: Ports, before: ActionRecord) -> _Decided | Again:
    """Ask the policy in force; what cannot go on is refused at once."""
    if before.request.kind is ActionKind.CANARY:
        # It holds nothing and asks nobody anything: it is taken back like any other.
        reason, state = Reason("withdrawn", "taken back"), ActionState.CANCELLED
        ended = await evidence.keep_unexecuted(ports, before, reason, state)
        return Again.REFUSED if ended else Again.GONE
    case = await cases.reopened(ports, before)
    if isinstance(case, Reason):
        return await _refused(ports, before, case)
    over = cases.stands(case, before)
    if over is not None:
        return await _refused(ports, before, over)
    if case.view.policy.book.version == before.policy_version:
        return Again.CURRENT
    case, decision = await deciding.authorized(ports, case)
    decision, verdict = await deciding.guarded(ports, case, decision)
    now = _Decided(before, case, decision, verdict)
    if isinstance(decision, Deny):
        return await _refused(ports, before, decision.reasons[0], **now.detail())
    return now


async def _carried(ports: Ports, now: _Decided) -> Redecision:
    """Leave approval and votes as they are; the log says that they answer this too."""
    detail = now.detail(
        approval_digest=now.before.digest,
        reserved=evidence.reserved(now.case.lines),
    )
    kind = EntryKind.CARRIED
    entry = await evidence.entry_of(ports, now.case, kind, detail, ())
    return Redecision(
        before=now.before,
        policy_version=now.version,
        lines=now.case.lines,
        entry=entry,
    )


async def _asked(ports: Ports, now: _Decided) -> Redecision:
    """Put the question that the policy has now; nobody's old signature answers it."""
    agent, decision = now.case.view.agent, now.decision
    assert agent is not None  # noqa: S101  (reopened saw it)
    assert isinstance(decision, Escalate)  # noqa: S101  (a permit is carried)
    put = replace(
        now.before,
        state=ActionState.PENDING_APPROVAL,
        decision=word_of(decision),
        reasons=decision.reasons,
        findings=tuple((f.code, f.pointer, f.text) for f in now.verdict.findings),
        asked=decision,
        policy_version=now.version,
        approval_id=ports.ids.new(),
        decided=deciding.made_from(now.case, now.verdict),
        asked_again_at=ports.clock.now(),
        policy_author=now.case.view.policy.author,
    )
    request = deciding.asked(now.case, put)
    assert request is not None  # noqa: S101  (it was just asked)
    put = replace(put, digest=request.digest, expires_at=request.expires_at)
    payload = await evidence.seal(ports, now.case, sealed.to_payload(put), "request")
    detail = now.detail(
        approval=request.approval_id,
        approval_digest=request.digest,
        quorum=request.quorum.approvers_min,
        replaces=now.before.approval_id,
        reserved=evidence.reserved(now.case.lines),
    )
    kind = EntryKind.ASKED
    entry = await evidence.entry_of(ports, now.case, kind, detail, (payload,))
    return Redecision(
        before=now.before,
        policy_version=now.version,
        lines=now.case.lines,
        entry=entry,
        approval=request,
        payload=payload,
    )


async def _refused(
    ports: Ports,
    before: ActionRecord,
    reason: Reason,
    **more: Any,  # noqa: ANN401  (JSON)
) -> Again:
    state = ActionState.REFUSED
    ended = await evidence.keep_unexecuted(ports, before, reason, state, more=more)
    return Again.REFUSED if ended else Again.GONE

"""What an upstream's own list says of an action that nobody knows the end of.

The list is read by another tool, under a warrant of its own, and what it says comes
from the edge's signed receipt of that reading. Whether the same request may be sent
once more follows from what the manifest declares of the upstream, and from the time.

Source: DESIGN, chapter 3 (invariant 6); docs/manifests.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Final

from broker.core.execute import Judgement, judge
from broker.core.warrants.orders import id_time
from broker.core.words.action import Outcome, OutcomeWord
from broker.core.words.warrant import RULE_VIOLATION, WARRANT_TTL_S_MAX, SentState

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.execute import RunError
    from broker.core.words.action import ActionRecord, Bound
    from broker.core.words.tool import Tool
    from broker.core.words.warrant import Receipt

AGAIN_MAX: Final = 3
"""How often the same request is sent again, at most."""

PAUSE_S: Final = 20
PAUSE_S_MAX: Final = 600
"""How long what could not be sent is left at first, and at most: it doubles between."""

KEPT_SLACK_S: Final = 120
"""This long before an upstream forgets a key, nothing is sent under it any more."""

CLOCK_S_MAX: Final = 60
"""How far the clocks of broker, edge and upstream are allowed to differ here."""

FOUND_TWICE: Final = "found_twice"
"""The upstream has more than one effect of one action: a person must look."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: with which tool, decided from what, first under which warrant."""

    tool: Tool
    manifest: str
    bound: Bound
    customer_id: str
    first_warrant: str


def from_list(
    receipt: Receipt, *, sent: Sent, reader: Tool, now: datetime
) -> Judgement:
    """Decide from the receipt of a reading what became of what was sent.

    ``now`` is from before the reading began. Done if the list has exactly one element
    with our mark; failed if it has none, is whole, and was read so late that the
    manifest promises one; unknown in every other case.
    """
    done = reader.request(reader.receipt.request_id).done
    found = receipt.values.get("found")
    if (
        receipt.state is not SentState.ANSWERED
        or receipt.upstream_status not in done
        or receipt.alarms
        or type(found) is not int
    ):
        return _unknown("the upstream's list could not be read")
    if found > 1:
        return _unknown("the upstream has it more than once", FOUND_TWICE)
    if found == 1:
        return _happened(receipt, sent)
    if receipt.values.get("more") is not False or not proves_absence(sent, now=now):
        return _unknown("the upstream's list does not have it yet")
    detail = "the upstream's list does not have it"
    outcome = Outcome(OutcomeWord.FAILED, "not_upstream", detail, sent=True)
    return Judgement(outcome, None, "", (), ())


def proves_absence(sent: Sent, *, now: datetime) -> bool:
    """Return whether what a list lacks by now can be said never to have happened."""
    declared, made = sent.tool.reconcile, id_time(sent.first_warrant)
    if declared is None or not declared.absent_after_s or made is None:
        return False
    latest = WARRANT_TTL_S_MAX + sent.tool.timeout_s + CLOCK_S_MAX
    return now >= made + timedelta(seconds=latest + declared.absent_after_s)


def absence_counts(sent: Sent) -> bool:
    """Return whether waiting may lead to a proof that it never happened."""
    return sent.tool.reconcile is not None and sent.tool.reconcile.absent_after_s > 0


def may_send_again(sent: Sent, *, again: int, now: datetime) -> bool:
    """Return whether the upstream surely knows the idempotency key still.

    The key is as old as the first warrant at the most; whoever sends it within its time
    gets the first answer, or has it done for the first time.
    """
    made = id_time(sent.first_warrant)
    kept_s = sent.tool.request(sent.tool.receipt.request_id).idempotency_kept_s
    if not kept_s or made is None or again >= AGAIN_MAX:
        return False
    if sent.tool.digest != sent.manifest:
        return False
    slack = KEPT_SLACK_S + WARRANT_TTL_S_MAX + sent.tool.timeout_s
    return made <= now < made + timedelta(seconds=kept_s - slack)


def tried_again(
    record: ActionRecord,
    receipt: Receipt | None,
    error: RunError | None,
    *,
    now: datetime,
) -> bool:
    """Return whether an action is left as it is, to be tried again after a pause.

    What people signed for is not lost because a part or the upstream was away: nothing
    was sent, and until their approval expires it is executed again, under a warrant of
    its own and decided once more. Anything else fails, and may be asked for again. So
    does what broke the manifest's rules: no part was away, and it would do so again.
    """
    return (
        receipt is not None
        and receipt.state is SentState.NOT_SENT
        and RULE_VIOLATION not in receipt.alarms
        and bool(record.approval_id)
        and (error is None or error.code != "revoked")
        and record.expires_at is not None
        and now < record.expires_at
    )


def pause_s(record: ActionRecord, *, now: datetime) -> int:
    """Return how long an action of which nothing could be sent is left, in seconds.

    A connector that always fails is not run all the time; and when the approval
    expires, the action is looked at, so that it ends and gives back what it holds.
    """
    pause = min(PAUSE_S << record.tries, PAUSE_S_MAX)
    if record.expires_at is None:
        return pause
    left_s = ceil((record.expires_at - now).total_seconds())
    return max(1, min(pause, left_s))


def _happened(receipt: Receipt, sent: Sent) -> Judgement:
    """Judge what the list has as if it were the answer that was lost."""
    done = min(sent.tool.request(sent.tool.receipt.request_id).done)
    said = judge(
        replace(receipt, upstream_status=done),
        manifest=sent.manifest,
        tool=sent.tool,
        bound=sent.bound,
        customer_id=sent.customer_id,
        error=None,
    )
    if said.outcome.word is not OutcomeWord.DONE:
        return said
    detail = "the upstream's list has it"
    return replace(said, outcome=replace(said.outcome, code="found", detail=detail))


def _unknown(detail: str, *alarms: str) -> Judgement:
    outcome = Outcome(OutcomeWord.UNKNOWN, "unclear_answer", detail, sent=True)
    return Judgement(outcome, None, "", (), alarms)

"""What flow.py leaves behind of an execution: its outcome, or that nobody can judge it.

The outcome, what it released, the money and the entry are durable in one transaction.
Nothing here decides.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from broker import evidence
from broker.conversation import with_customer
from broker.core import execute, record
from broker.core.sealed import action as stored
from broker.core.sealed import decided
from broker.core.words.action import ENDED, ActionState, Outcome, OutcomeWord
from broker.core.words.effect import Effect, is_consequential
from broker.core.words.entry import EntryKind
from broker.core.words.warrant import SentState
from broker.ports import Finish, PayloadDraft
from broker.released import (
    ceilings_of,
    readings_of,
    released_of,
    values_of,
)

if TYPE_CHECKING:
    from broker.case import Case
    from broker.core.execute import Judgement
    from broker.core.words.action import ActionRecord
    from broker.core.words.decision import Reason
    from broker.ports import Claim, Ports, Ran, Sealed

SENT_AFTER_END: Final = "sent_after_end"
"""A receipt says that a request left for an action that had ended as not sent."""

_MONEY = {
    OutcomeWord.DONE: "post",
    OutcomeWord.REFUSED: "void",
    OutcomeWord.FAILED: "void",
    OutcomeWord.UNKNOWN: "unknown",
}


async def keep_outcome(  # noqa: PLR0913  (what there is to keep)
    ports: Ports,
    case: Case,
    claim: Claim,
    judgement: Judgement,
    ran: Ran,
    *,
    kind: EntryKind = EntryKind.OUTCOME,
) -> bool:
    """Store what came back: outcome, released values, money, customer and entry."""
    released = released_of(case, judgement, ran.result)
    outcome = judgement.outcome
    if released is not None:
        outcome = replace(outcome, result=released.result)
    records = execute.records_of(released) if released else 0
    readings = readings_of(ports, case, records)
    bind = None
    if case.tool.binding.binds_customer and judgement.owner:
        bind = with_customer(ports, case.interaction, judgement.owner)
    case = case if bind is None else replace(case, interaction=bind)
    payload = await evidence.seal(
        ports, case, stored.outcome_payload(outcome, ran.receipt_jws), "outcome"
    )
    detail = {
        "outcome": outcome.word.value,
        "code": outcome.code,
        "sent": outcome.sent,
        "posted_minor_units": judgement.post_minor_units,
        "warrant": claim.warrant_id,
        "sandbox": ran.posture or None,
        "receipt_sha256": sha256(ran.receipt_jws.encode()).hexdigest(),
        "upstream": record.sent_upstream(ran.receipt),
        "records": records,
        "reserved": evidence.reserved(readings),
        "released": len(released.values) if released else 0,
        "dropped": released.dropped if released else 0,
        "customer_bound": bind is not None,
        "alarms": list(judgement.alarms),
    }
    entry = await evidence.entry_of(ports, case, kind, detail, (payload,))
    return await ports.store.finish(
        Finish(
            claim=claim,
            state=ActionState(outcome.word.value),
            code=outcome.code,
            money=_MONEY[outcome.word],
            post_minor_units=judgement.post_minor_units,
            currency=case.bound.amount.currency if case.bound.amount else "",
            payload=payload,
            values=values_of(ports, case, released) if released else (),
            ceilings=ceilings_of(case, judgement),
            entries=(entry,),
            readings=readings,
            bind=bind,
            bind_payload_id=ports.ids.new() if bind else "",
            forget=outcome.word is OutcomeWord.FAILED and not outcome.sent,
            alarms=judgement.alarms,
        )
    )


async def keep_unjudged(ports: Ports, claim: Claim, ran: Ran, why: Reason) -> bool:
    """Store that something was sent whose answer cannot be judged any more.

    Its tool is gone, say, or takes other arguments now. A change stays unknown with its
    money held and an alarm; a read has failed, and may be asked for again.
    """
    action = claim.record
    changes = _consequential(action)
    outcome = Outcome(
        OutcomeWord.UNKNOWN if changes else OutcomeWord.FAILED,
        why.code,
        why.text,
        sent=changes,
    )
    alarms = (why.code,) if changes else ()
    payload = await _sealed(ports, action, outcome, ran.receipt_jws)
    detail = {
        "outcome": outcome.word.value,
        "code": outcome.code,
        "sent": outcome.sent,
        "warrant": claim.warrant_id,
        "receipt_sha256": sha256(ran.receipt_jws.encode()).hexdigest(),
        "upstream": record.sent_upstream(ran.receipt),
        "alarms": list(alarms),
    }
    kind = EntryKind.OUTCOME
    entry = evidence.entry_about(ports, action, kind, detail, payloads=(payload,))
    return await ports.store.finish(
        Finish(
            claim=claim,
            state=ActionState(outcome.word.value),
            code=outcome.code,
            money=_MONEY[outcome.word],
            post_minor_units=None,
            currency="",
            payload=payload,
            values=(),
            ceilings=(),
            entries=(entry,),
            forget=not changes,
            alarms=alarms,
        )
    )


async def keep_contradiction(ports: Ports, claim: Claim, ran: Ran) -> bool:
    """Raise an alarm if a receipt contradicts what was recorded meanwhile.

    Claims and leases leave no way to it, so whoever sees it looks for a fault of ours,
    or for somebody who writes to the database. Returns whether there was one.
    """
    now = await ports.store.action(claim.record.request.action_id)
    sent = ran.receipt is not None and ran.receipt.state is not SentState.NOT_SENT
    # What ended without an outcome ended because nothing was sent.
    if not sent or now is None or now.state not in ENDED or now.outcome is not None:
        return False
    detail = {
        "alarm": SENT_AFTER_END,
        "state": now.state.value,
        "warrant": claim.warrant_id,
        "receipt_sha256": sha256(ran.receipt_jws.encode()).hexdigest(),
        "upstream": record.sent_upstream(ran.receipt),
    }
    await ports.journal.record(
        evidence.entry_about(ports, now, EntryKind.ALARM, detail)
    )
    return True


def _consequential(action: ActionRecord) -> bool:
    """Return whether it may have changed something; yes, if nobody can say."""
    if action.decided is None:
        return True
    effect = decided.from_json(action.decided).question.effect
    return is_consequential(Effect(effect))


async def _sealed(
    ports: Ports, action: ActionRecord, outcome: Outcome, receipt_jws: str
) -> Sealed:
    draft = PayloadDraft(
        payload_id=ports.ids.new(),
        subject=action.customer_ref or action.request.interaction_id,
        purpose=evidence.PURPOSE_REQUEST,
        retention="action",
        data_class="outcome",
    )
    return await ports.vault.seal(stored.outcome_payload(outcome, receipt_jws), draft)

"""Questions about an approval: a person asks, the agent answers, nothing moves.

Neither changes the digest or the expiry. Both change the card, so that a yes that was
signed before is for an older card and is asked for again; votes that were counted stay,
and can be changed by who gave them until the quorum is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import case as cases
from broker import evidence
from broker.approving.voting import asked_of, person_of
from broker.core import approve
from broker.core.approvals.questions import (
    ANSWER_CHARS_MAX,
    QUESTION_CHARS_MAX,
    QUESTIONS_MAX,
    checked_text,
    for_agent,
)
from broker.core.words.action import ActionState
from broker.core.words.approval import VoteWord
from broker.core.words.decision import Reason
from broker.core.words.entry import EntryKind
from broker.core.words.errors import ConflictError, ForbiddenError, NotFoundError
from broker.ports.queue import SaidWord, Saying

if TYPE_CHECKING:
    from typing import Any

    from broker.core.words.action import ActionRecord
    from broker.core.words.subject import Caller
    from broker.ports import Ports


async def ask(ports: Ports, caller: Caller, approval_id: str, text: str) -> str:
    """Ask the agent for information about what it asked for; return the question's id.

    Raises:
        NotFoundError: there is no such approval for this person's roles.
        ForbiddenError: this person may not even refuse it.
        ConflictError: it has ended, or was asked about often enough.
    """
    text = checked_text(text, chars_max=QUESTION_CHARS_MAX, pointer="/question")
    await ports.journal.ready()
    person = await person_of(ports, caller)
    asked = await asked_of(ports, approval_id, person)
    now = ports.clock.now()
    # Whoever may say no may ask first: that takes no limit.
    refusal = approve.may_sign(person, asked.request, at=now, word=VoteWord.REJECT)
    if refusal is not None:
        raise ForbiddenError(refusal.text, hint="somebody else must sign this")
    if asked.record.request.asked_by:
        msg = "a person ordered this, and no agent answers for it"
        raise ConflictError(msg, hint="the card says who; ask them, or reject it")
    question_id = ports.ids.new()
    payload = await evidence.seal(ports, asked.case, {"text": text}, "question")
    detail = {
        "approval": approval_id,
        "question": question_id,
        "person": person.person_id,
    }
    entry = await evidence.entry_of(
        ports, asked.case, EntryKind.QUESTION, detail, (payload,)
    )
    word = await ports.queue.ask(
        Saying(approval_id, question_id, now, payload, entry, person.person_id)
    )
    if word is SaidWord.FULL:
        msg = f"{QUESTIONS_MAX} questions were asked about this"
        raise ConflictError(
            msg, hint="reject it, and say in the reason what is missing"
        )
    if word is not SaidWord.ASKED:
        msg = "this approval has ended"
        raise ConflictError(msg, hint="there is nothing left to sign")
    return question_id


async def unanswered(ports: Ports, record: ActionRecord) -> list[dict[str, Any]]:
    """Return what people want to know of the agent before they decide, as JSON."""
    if record.state is not ActionState.PENDING_APPROVAL or not record.approval_id:
        return []
    return for_agent(await ports.queue.questions(record.approval_id))


async def answer(
    ports: Ports, record: ActionRecord, *, question_id: str, text: str
) -> None:
    """Store what the agent answers about its own action.

    Raises:
        NotFoundError: there is no such question about this action.
        ConflictError: it was answered, or nobody waits for an answer any more.
    """
    text = checked_text(text, chars_max=ANSWER_CHARS_MAX, pointer="/answer")
    await ports.journal.ready()
    case = await cases.reopened(ports, record)
    if isinstance(case, Reason) or not record.approval_id:
        raise _over()
    payload = await evidence.seal(ports, case, {"text": text}, "answer")
    detail = {
        "approval": record.approval_id,
        "question": question_id,
        "label": "model_authored",
    }
    entry = await evidence.entry_of(ports, case, EntryKind.ANSWER, detail, (payload,))
    now = ports.clock.now()
    word = await ports.queue.answer(
        Saying(record.approval_id, question_id, now, payload, entry)
    )
    match word:
        case SaidWord.ANSWERED:
            return
        case SaidWord.UNKNOWN:
            msg = "there is no such question about this action"
            raise NotFoundError(msg)
        case SaidWord.BEFORE:
            msg = "this question was answered"
            raise ConflictError(msg, hint="wait for the person's decision")
        case _:
            raise _over()


def _over() -> ConflictError:
    msg = "nobody waits for an answer any more"
    return ConflictError(msg, hint="look at the action's state")

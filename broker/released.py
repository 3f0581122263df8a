"""What an outcome brings: released values, ceilings, records, and whose it is.

Core says what may be released; this puts it into the shape that is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core import execute, limit
from broker.core.words.action import OutcomeWord
from broker.core.words.effect import Effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.case import Case
    from broker.core.execute import Judgement, Release
    from broker.core.words.budget import Line
    from broker.ports import Ports

# What a verification tool says when the details match nobody, or somebody else than
# the customer who is bound already: the two must look the same.
_NO_MATCH = {"matched": False}


def readings_of(ports: Ports, case: Case, records: int) -> tuple[Line, ...]:
    """Return where the records of a read are counted, beside the first."""
    if case.tool.effect is not Effect.READ:
        return ()
    rules = case.view.policy.budgets
    return limit.record_lines(rules, case.facts, records=records, now=ports.clock.now())


def released_of(
    case: Case, judgement: Judgement, result: Mapping[str, Any] | None
) -> Release | None:
    """Return what the agent may see of a result, None if nothing."""
    if result is None or judgement.outcome.word is not OutcomeWord.DONE:
        return None
    if "owner_mismatch" in judgement.alarms:
        return None
    if judgement.outcome.code == "no_match":
        result = _NO_MATCH
    return execute.release(case.tool, result)


def values_of(
    ports: Ports, case: Case, released: Release
) -> tuple[Mapping[str, Any], ...]:
    """Return one row per released value, found again by a keyed hash of the value."""
    return tuple(
        {
            "pointer": one.pointer,
            "lookup": ports.vault.reference(
                "value", case.interaction.interaction_id, str(one.value)
            ),
            "kind": one.field.shows,
            "data_class": one.field.data_class,
            "integrity": int(one.field.label.integrity),
            "confidentiality": one.field.label.confidentiality.value,
            "source": f"{case.tool.name}#{one.pointer}",
        }
        for one in released.values
    )


def ceilings_of(
    case: Case, judgement: Judgement
) -> tuple[tuple[str, str, str, int], ...]:
    """Return (connector, kind, id, minor units) for each object a receipt bounded."""
    found = []
    for pointer, units in judgement.ceilings:
        for binding in case.tool.binding.objects:
            if binding.pointer == pointer:
                name = case.request.arguments.get(pointer.removeprefix("/"))
                found.append((case.tool.connector, binding.kind, str(name), units))
    return tuple(found)

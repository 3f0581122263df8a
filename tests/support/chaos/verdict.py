"""Hold what the broker says against the CRM's journal, the budgets and the log."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.cli.bootstrap import STANDING_TOTAL
from tests.support.chaos.acting import ENDED, PATIENCE_S
from tests.support.chaos.schedule import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.chaos.acting import Cast, Wish

_ROOT = Path(__file__).parents[3]
_WIDTH = 46
_INTENTS = {"authorize.decision", "execute.claim"}
_ENDS = {"record.outcome", "record.resolved"}


@dataclass
class Verdict:
    """What must be nothing, in words; and what was counted."""

    actions: int = 0
    executions: int = 0
    entries: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    met_unknown: int = 0
    turned: int = 0
    double: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    overspent: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[str, int, list[str] | None]]:
        """Return name, number and, where it must be nothing, what there is."""
        yield "actions", self.actions, None
        for part, count in sorted(self.kills.items()):
            yield f"killed: {part}", count, None
        for state, count in sorted(self.states.items()):
            yield f"actions {state}", count, None
        yield "executions by the CRM's journal", self.executions, None
        yield "entries in the log, all of them verified", self.entries, None
        yield "outcomes that were unknown meanwhile", self.met_unknown, None
        yield "codec keys rotated with approvals open", self.turned, None
        yield "double executions", len(self.double), self.double
        yield "lost approvals", len(self.lost), self.lost
        yield "executions against a no", len(self.against), self.against
        yield "overspend", len(self.overspent), self.overspent
        yield "unknowns that were not reconciled", len(self.unknown), self.unknown
        yield "entries missing from the log", len(self.missing), self.missing
        yield "actions without an end", len(self.open), self.open

    @property
    def held(self) -> bool:
        """Return whether everything that must be nothing is nothing."""
        return not any(bad for _, _, bad in self.rows())

    def table(self) -> str:
        """Return it as a table, with what is wrong below."""
        lines = [f"{name:<{_WIDTH}} {number:>6}" for name, number, _ in self.rows()]
        for name, _, bad in self.rows():
            lines += [f"  {name}: {one}" for one in (bad or [])[:20]]
        return "\n".join(lines)


async def judge(cast: Cast, wishes: Sequence[Wish], state: Path) -> Verdict:
    """Compare everything, once the stack has come to rest."""
    verdict = Verdict(actions=len({one for wish in wishes for one in wish.actions}))
    made = [one for one in await cast.shop.journal() if one["kind"] == "refund"]
    verdict.executions = len(made)
    _executions(verdict, wishes, made)
    await _budgets(verdict, cast, wishes, made)
    await _log(verdict, made, wishes, state)
    return verdict


def _executions(
    verdict: Verdict, wishes: Sequence[Wish], made: Sequence[dict[str, Any]]
) -> None:
    by_action = Counter(str(one["reference"]) for one in made)
    verdict.double += [f"{one}: {n} times" for one, n in by_action.items() if n > 1]
    wanted = set()
    for wish in wishes:
        wanted |= {*wish.actions}
        times = sum(by_action[one] for one in wish.actions)
        status = str(wish.last.get("status", "never asked"))
        verdict.states[status] += 1
        name = f"{wish.want.key} ({wish.want.kind}, {status}, {times} times)"
        if times > 1:
            verdict.double.append(name)
        if status == "unknown":
            verdict.unknown.append(name)
        elif status not in ENDED:
            verdict.open.append(f"{name} {wish.refused}")
        if (status == "done") != (times == 1) and status != "unknown":
            verdict.open.append(f"{name}: broker and CRM disagree")
        match wish.want.kind:
            case Kind.APPROVED if status != "done":
                verdict.lost.append(f"{name} {wish.counted} {wish.last.get('code')}")
            case Kind.REJECTED | Kind.CANCELLED if times:
                verdict.against.append(name)
            case Kind.SMALL if status != "done":
                verdict.open.append(f"{name} {wish.refused} {wish.last.get('code')}")
            case _:
                pass
    verdict.double += [f"{one}: nobody asked" for one in {*by_action} - wanted]


async def _budgets(
    verdict: Verdict, cast: Cast, wishes: Sequence[Wish], made: Sequence[dict[str, Any]]
) -> None:
    paid = {buyer.order: buyer.paid_minor_units for buyer in cast.people}
    moved: Counter[str] = Counter()
    for one in made:
        moved[str(one["object"])] += int(one["amount_minor_units"])
    for order, total in moved.items():
        if total > paid.get(order, 0):
            verdict.overspent.append(f"{order}: {total} of {paid.get(order)}")
    small = {
        action
        for wish in wishes
        if wish.want.kind is Kind.SMALL
        for action in wish.actions
    }
    standing = sum(
        int(one["amount_minor_units"]) for one in made if one["reference"] in small
    )
    if standing > STANDING_TOTAL:
        verdict.overspent.append(f"standing approval: {standing} of {STANDING_TOTAL}")
    said = await cast.insist(lambda world: world.carol.reconcile())
    verdict.overspent += [json.dumps(one) for one in said["differences"]]


async def _log(
    verdict: Verdict,
    made: Sequence[dict[str, Any]],
    wishes: Sequence[Wish],
    state: Path,
) -> None:
    """Verify an export, and look for the entries that every action must have."""
    with tempfile.TemporaryDirectory(prefix="counterfoil-chaos-") as folder:
        file = Path(folder) / "log.jsonl"
        await _command("audit", "export", str(file), "--state", str(state))
        said = await _command("audit", "verify", str(file))
        verdict.entries = int(said.get("entries") or said.get("size") or 0)
        found: dict[str, set[str]] = {}
        for line in file.read_bytes().splitlines()[1:]:
            entry = _entry(line)
            action = entry.get("action", {}).get("action_id")
            if action:
                found.setdefault(action, set()).add(entry["kind"])
                resolved = entry["detail"].get("outcome") == "unknown"
                verdict.met_unknown += resolved
    signed = {
        action
        for wish in wishes
        if wish.want.kind is Kind.APPROVED
        for action in wish.actions
    }
    for one in made:
        action = str(one["reference"])
        kinds = found.get(action, set())
        wanted = _INTENTS if action in signed else {"authorize.decision"}
        if not wanted <= kinds or not kinds & _ENDS:
            verdict.missing.append(f"{action}: {sorted(kinds)}")
    for wish in wishes:
        for action in wish.actions:
            if "authorize.decision" not in found.get(action, set()):
                verdict.missing.append(f"{action}: no decision")


def _entry(line: bytes) -> dict[str, Any]:
    raw = json.loads(line)
    if "leaf" not in raw:
        return {}
    leaf = json.loads(base64.b64decode(raw["leaf"]))
    payload = leaf["payload"]
    text = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    entry: dict[str, Any] = json.loads(text)
    return entry


async def turn_key(state: Path) -> None:
    """Rotate the codec's key, as often as it takes until a broker has it logged."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            await _command("codec", "rotate", "--as", "carol", "--state", str(state))
        except AssertionError:
            assert time.monotonic() < until, "no broker had it logged"
            await asyncio.sleep(1)
        else:
            return


async def _command(*words: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "broker.cli",
        *words,
        "--json",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )
    out, error = await process.communicate()
    assert process.returncode == 0, (out, error)
    answer: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return answer

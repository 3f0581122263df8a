"""Read what the runner says of its sandbox, and say it in an entry.

The runner holds no key, so nothing here is proved to the broker: the entry says that
the runner said it (*attested*). What a sandbox must not decide, the edge decides.

Source: docs/sandbox.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.core.words.labels import Grade

if TYPE_CHECKING:
    from collections.abc import Mapping

POSTURES: Final = frozenset({"strict", "standard", "external", "off"})

CGROUPS: Final = frozenset({"limited", "none"})
"""Whether the processes of a connector are limited together."""

SWITCHED_OFF: Final = "off"
"""The posture in which connector code runs unconfined, because somebody chose so."""

ZYGOTES_MAX: Final = 256
"""Most zygotes in one report."""

ATTEMPTS_MAX: Final = 64
"""Most attempts of one zygote, and most words of any other list."""

_WORD: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_OUTCOME: Final = re.compile(r"[A-Za-z0-9_ :.-]{1,64}")
LANDLOCK_ABI_MAX: Final = 1_000


class SandboxError(ValueError):
    """What the runner says of its sandbox cannot be read; nothing may run."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How connector code is confined, as the runner says.

    ``attempts`` holds, by zygote, what each attempt to escape gave; ``outside`` what
    each attempt gave that something around the runner refuses; ``cgroup`` is one of
    CGROUPS.
    """

    posture: str
    layers: tuple[str, ...] = ()
    landlock_abi: int = 0
    attempts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    cgroup: str = "none"

    @property
    def switched_off(self) -> bool:
        """Say whether connector code runs unconfined."""
        return self.posture == SWITCHED_OFF


def read_sandbox(value: object) -> Sandbox:
    """Return the report that stands in a runner's greeting.

    Raises:
        SandboxError: It is missing, malformed, over a limit, or names no posture.
    """
    match value:
        case {
            "posture": str() as posture,
            "layers": list() as layers,
            "landlock_abi": int() as version,
            "attempts": dict() as attempts,
            "outside": dict() as outside,
            "cgroup": str() as cgroup,
        } if (
            posture in POSTURES
            and cgroup in CGROUPS
            and 0 <= version <= LANDLOCK_ABI_MAX
        ):
            if len(attempts) > ZYGOTES_MAX or len(layers) > ATTEMPTS_MAX:
                msg = "the runner's report on its sandbox is too long"
                raise SandboxError(msg)
            return Sandbox(
                posture=posture,
                layers=tuple(_word(one) for one in layers),
                landlock_abi=version,
                attempts={_word(name): _outcomes(of) for name, of in attempts.items()},
                outside=_outcomes(outside),
                cgroup=cgroup,
            )
        case _:
            msg = "the runner does not say how it confines connector code"
            raise SandboxError(msg)


def sandbox_detail(sandbox: Sandbox) -> dict[str, Any]:
    """Return what the entry says; zygotes of the same outcomes share a line."""
    together: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for zygote, outcomes in sorted(sandbox.attempts.items()):
        together.setdefault(tuple(sorted(outcomes.items())), []).append(zygote)
    return {
        "posture": sandbox.posture,
        "switched_off": sandbox.switched_off,
        "grade": Grade.ATTESTED.value,
        "layers": list(sandbox.layers),
        "landlock_abi": sandbox.landlock_abi,
        "attempts": [
            {"zygotes": zygotes, "outcomes": dict(outcomes)}
            for outcomes, zygotes in together.items()
        ],
        "outside": dict(sandbox.outside),
        "cgroup": sandbox.cgroup,
    }


def _outcomes(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > ATTEMPTS_MAX:
        msg = "the runner's attempts are no list of outcomes, or too many"
        raise SandboxError(msg)
    for outcome in value.values():
        if not isinstance(outcome, str) or not _OUTCOME.fullmatch(outcome):
            msg = "an attempt's outcome is a short text"
            raise SandboxError(msg)
    return {_word(name): outcome for name, outcome in value.items()}


def _word(value: object) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        msg = "a name in the runner's report is no word"
        raise SandboxError(msg)
    return value

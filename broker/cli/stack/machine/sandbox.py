"""Ask how connector code is confined: of the runner that runs, and of this host.

The runner answers on its socket. What this host can do is tried by a process of the
runner's own code, which is started by its path: nothing of it is imported here.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.cli.stack.machine.doctor import Finding, Health

_ANSWER_S = 2.0
_TRIAL_S = 30.0
_ANSWER_BYTES = 1_048_576
_HEADER_BYTES = 4
REFUSED = "refused"
SWITCHED_OFF = "connector code runs unconfined, and no tool of Tier 3 runs"
HINT_SWITCHED_OFF = "unset COUNTERFOIL_SANDBOX and start the stack again"
_MODULE = "tools.posture.doctor"


@dataclass(frozen=True, slots=True)
class Said:
    """What a runner says of its sandbox, for people to read."""

    posture: str
    layers: tuple[str, ...]
    landlock_abi: int
    attempts: Mapping[str, Mapping[str, str]]
    outside: Mapping[str, str]
    cgroup: str


def of_runner(path: Path) -> Said | None:
    """Return what the runner on a socket says; None if nobody answers properly."""
    question = b'{"op":"sandbox"}'
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(_ANSWER_S)
            peer.connect(str(path))
            peer.sendall(len(question).to_bytes(_HEADER_BYTES, "big") + question)
            with peer.makefile("rb") as answer:
                size = int.from_bytes(answer.read(_HEADER_BYTES), "big")
                body = answer.read(min(size, _ANSWER_BYTES))
        return _read(json.loads(body)["sandbox"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def of_host(environment: Mapping[str, str]) -> tuple[Said | None, str]:
    """Try the sandbox here; return its report and why a runner would not start."""
    command = [sys.executable, "-P", "-B", "-m", _MODULE]
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TRIAL_S,
            check=False,
        )
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return None, f"the trial itself failed ({type(error).__name__})"
    try:
        return _read(said["sandbox"]), str(said["problem"])
    except (LookupError, TypeError):
        return None, str(said["problem"])


def _read(said: Mapping[str, Any]) -> Said | None:
    return None if said["posture"] == "none" else Said(**said)


def examine(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for the posture of this host and for each attempt."""
    found, problem = of_host(environment)
    if found is None or problem:
        yield Finding("sandbox", Health.FAILED, "none", problem)
    if found is None:
        return
    if not problem:
        yield told(found)
    named = {**found.attempts, "outside": found.outside}
    for zygote, outcomes in named.items():
        for name, outcome in outcomes.items():
            well = outcome.startswith(REFUSED)
            where = "from outside" if zygote == "outside" else "from inside"
            yield Finding(
                f"attempt {where}: {name}",
                Health.OK if well else Health.WARNING,
                outcome,
                "" if well else "this posture leaves it open (docs/sandbox.md)",
            )


def told(found: Said) -> Finding:
    """Return the finding that says how connector code is confined."""
    layers = ", ".join(found.layers)
    if found.posture == "off":
        return Finding(
            "sandbox",
            Health.WARNING,
            f"OFF: {SWITCHED_OFF}; cgroup {found.cgroup}",
            HINT_SWITCHED_OFF,
        )
    text = (
        f"{found.posture}: {layers}; Landlock interface {found.landlock_abi}; "
        f"cgroup {found.cgroup}"
    )
    return Finding("sandbox", Health.OK, text)

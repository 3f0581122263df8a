"""Name how far a host can confine, and say early where it cannot.

``strict`` and ``standard`` are proved by attempts from inside a zygote. ``external``
is for a pod that something else confines (gVisor, Kata) and whose kernel has no
Landlock: nobody gets it without asking, and only where attempts show that something
does. ``off`` confines by nothing but limits, and runs no tool of Tier 3.
"""

from collections.abc import Mapping
from typing import Final

from tools.jail import landlock, syscalls
from tools.settings import AUTOMATIC

STANDARD: Final = frozenset({"landlock", "seccomp", "limits"})
STRICT: Final = STANDARD | {"namespaces"}
EXTERNAL: Final = frozenset({"seccomp", "limits"})
OFF: Final = frozenset({"limits"})
POSTURES: Final = {
    "strict": STRICT,
    "standard": STANDARD,
    "external": EXTERNAL,
    "off": OFF,
}
"""Name to layers, the better one first."""

_CHOICES: Final = {AUTOMATIC: ("strict", "standard")}
LEFT_OPEN: Final[Mapping[str, frozenset[str]]] = {
    # Without Landlock a child reads what the pod's files hold: nothing worth reading
    # may be there.
    "external": frozenset({"read_file", "read_accounts"}),
}
"""Attempts that a posture does not stop, and that its promise leaves out."""


class NotConfinedError(Exception):
    """This host cannot confine connector code; the message is one line for people."""


def candidates(wish: str) -> tuple[str, ...]:
    """Return the postures that a wish allows, the better one first."""
    return _CHOICES.get(wish, (wish,))


def check_host(wish: str = AUTOMATIC) -> None:
    """Say early and in one line what a zygote would only fail with.

    Raises:
        NotConfinedError: The machine is not known, its kernel has no Landlock and the
            posture needs it, or has it and the posture would not use it.
    """
    try:
        syscalls.machine()
    except syscalls.UnknownMachineError as error:
        raise NotConfinedError(str(error)) from None
    offered = landlock.abi() >= landlock.ABI_MIN
    needed = all("landlock" in POSTURES[name] for name in candidates(wish))
    if needed and not offered:
        msg = (
            f"this kernel offers no Landlock; interface {landlock.ABI_MIN} is needed "
            "(Linux 5.13, with landlock among its security modules); in a pod under "
            "gVisor or Kata, set COUNTERFOIL_SANDBOX=external"
        )
        raise NotConfinedError(msg)
    if wish == "external" and offered:
        msg = (
            "this kernel offers Landlock, so external would confine less than it can: "
            f"leave COUNTERFOIL_SANDBOX at {AUTOMATIC}"
        )
        raise NotConfinedError(msg)

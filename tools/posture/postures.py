"""Name how far a host can confine, and say early where it cannot."""

from typing import Final

from tools.jail import landlock, syscalls

STANDARD: Final = frozenset({"landlock", "seccomp", "limits"})
STRICT: Final = STANDARD | {"namespaces"}
POSTURES: Final = {"strict": STRICT, "standard": STANDARD}
"""Name to layers, the better one first."""


class NotConfinedError(Exception):
    """This host cannot confine connector code; the message is one line for people."""


def check_host() -> None:
    """Say early and in one line what a zygote would only fail with.

    Raises:
        NotConfinedError: The machine is not known, or its kernel has no Landlock.
    """
    try:
        syscalls.machine()
    except syscalls.UnknownMachineError as error:
        raise NotConfinedError(str(error)) from None
    if landlock.abi() < landlock.ABI_MIN:
        msg = (
            f"this kernel offers no Landlock; interface {landlock.ABI_MIN} is needed "
            "(Linux 5.13, with landlock among its security modules)"
        )
        raise NotConfinedError(msg)

"""Say what a confined part may reach: its own folder, its code, and the system's.

Where all processes share a user, file modes keep nobody apart. The rule is a list of
what is allowed, so a folder that is added to the state later is out of reach until it
is named here.
"""

import sys
from pathlib import Path

from broker.cli.stack.parts import Rule
from broker.cli.stack.state import CHECKOUT, PACKAGES, State

# Of /etc only what programs look up: as root, the rest holds the machine's secrets.
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
    "/run/systemd/resolve",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/timezone",
)
_DEVICES = (
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/shm",  # noqa: S108 semaphores of multiprocessing and of native libraries
)


def confined(state: State, *, name: str, folder: str) -> Rule:
    """Return the rule of one part.

    Args:
        state: The state folder, hidden but for what is named here.
        name: The part, for its private folders.
        folder: The state's folder that replicas of the part share.
    """
    interpreter = {
        Path(one)
        for one in (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path)
        if one and Path(one).is_absolute()
    }
    # The checkout is on the path of this process; only its packages are granted.
    interpreter.discard(CHECKOUT)
    read = (
        *(Path(one) for one in _SYSTEM),
        *sorted(interpreter),
        *(CHECKOUT / package for package in PACKAGES),
        state.path / "import",
        state.path / "public",
        state.path / "state.json",
    )
    write = (
        *(Path(one) for one in _DEVICES),
        state.path / folder,
        state.path / "public" / folder,
        state.path / "tmp" / name,
        state.run / name,
    )
    return Rule(read=read, write=write, hidden=(state.path, state.run))

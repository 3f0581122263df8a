"""Find out what this machine allows, by trying it."""

import os
import platform
from dataclasses import dataclass

from broker.cli.stack.launch import confine, namespaces

MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the kernel lets this user do.

    Attributes:
        root: The user is root.
        user_namespace_refusal: Why not, or empty when it may.
        network_namespace_refusal: Likewise for a network of one's own.
        landlock_abi: Version of Landlock's interface; 0 without.
    """

    root: bool
    user_namespace_refusal: str
    network_namespace_refusal: str
    landlock_abi: int


def this_host() -> Host:
    """Try what is needed; takes a few milliseconds.

    Call it while the process has one thread: it forks.
    """
    return Host(
        root=os.geteuid() == 0,
        user_namespace_refusal=namespaces.refusal(network=False),
        network_namespace_refusal=namespaces.refusal(network=True),
        landlock_abi=confine.abi(),
    )


def platform_refusal() -> str:
    """Return in one line why the stack cannot run here; empty when it can."""
    if platform.system() != "Linux":
        return (
            f"Counterfoil runs on Linux, not on {platform.system()}: its sandbox needs "
            "Landlock and seccomp. Use a Linux machine, virtual machine or container."
        )
    if platform.machine() not in MACHINES:
        return (
            f"Counterfoil runs on x86-64 and arm64, not on {platform.machine()}: its "
            "sandbox is written for their system calls."
        )
    return ""


def refusal(host: Host, *, own_database: bool) -> str:
    """Return why this host cannot carry the stack, and what to do; empty if it can.

    Args:
        host: What the kernel allows.
        own_database: PostgreSQL is to be started here.
    """
    if not host.landlock_abi:
        return (
            "This kernel offers no Landlock, which keeps the parts from each other's "
            "keys: use Linux 5.13 or newer with `landlock` in CONFIG_LSM (or lsm=)."
        )
    if host.root and own_database and host.user_namespace_refusal:
        return (
            "PostgreSQL refuses to run as root, and this kernel or container refuses "
            f"user namespaces ({host.user_namespace_refusal}): run as an ordinary "
            "user, allow user namespaces, or name a server with "
            "COUNTERFOIL_DATABASE_URL."
        )
    return ""

"""Try to read what is not the call's."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from tests.adversarial.sandbox.hostile.kit import LIBC, World, attempt, syscall


@attempt
def read_brokers_environment(world: World) -> str:
    return Path(f"/proc/{world['victim']}/environ").read_text("utf-8")


@attempt
def read_brokers_memory_map(world: World) -> str:
    return Path(f"/proc/{world['victim']}/maps").read_text("utf-8")[:200]


@attempt
def read_canary_file(world: World) -> str:
    return Path(world["canary"]).read_text("utf-8")


@attempt
def read_accounts(_: World) -> str:
    return Path("/etc/passwd").read_text("utf-8")[:200]


@attempt
def list_processes(_: World) -> list[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


@attempt
def list_home(world: World) -> list[str]:
    return [path.name for path in Path(world["canary"]).parent.iterdir()]


@attempt
def read_zygotes_memory(_: World) -> int:
    buffer = ctypes.create_string_buffer(8)
    own = ctypes.addressof(buffer)
    local = (ctypes.c_void_p * 2)(own, 8)
    # The zygote was forked from: the same address is mapped there as well.
    there = ctypes.cast(LIBC.syscall, ctypes.c_void_p).value
    remote = (ctypes.c_void_p * 2)(there, 8)
    return syscall("process_vm_readv", os.getppid(), local, 1, remote, 1, 0)


@attempt
def read_zygote_through_proc(world: World) -> bool:
    with Path(f"/proc/{world['zygote']}/mem").open("rb", buffering=0):
        return True


@attempt
def trace_zygote(_: World) -> bool:
    seize = 0x4206
    return syscall("ptrace", seize, os.getppid(), 0, 0) == 0


@attempt
def take_brokers_descriptor(world: World) -> bool:
    pidfd = syscall("pidfd_open", world["victim"], 0)
    return syscall("pidfd_getfd", pidfd, 0, 0) >= 0

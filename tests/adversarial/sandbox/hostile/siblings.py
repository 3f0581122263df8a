"""Try to harm, read or reach another call that runs at the same time.

``world["held"]`` tells of two: one of this connector, forked by the same zygote, and
one of another connector. Each of them holds the secret and waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.adversarial.sandbox.hostile.kit import EGRESS, World, attempt, syscall
from tools.sdk import Call

HELD_BYTES = 32


def hold(call: Call) -> dict[str, Any]:
    """Be the victim: keep a secret in memory, listen if that is let, say where."""
    kept = ctypes.create_string_buffer(call.arguments["secret"].encode())
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind("\0" + call.arguments["listen"])
        listener.listen()
        stack.pop_all()
    at = ctypes.addressof(kept)
    os.write(EGRESS, f"GET /held/{os.getpid()}/{at} HTTP/1.1\r\n\r\n".encode())
    time.sleep(60)
    return {}


def each(world: World, work: Callable[[int, Any], Any]) -> list[Any]:
    """Do it to both by every number that they may have; return what was got."""
    got = []
    for held in world["held"]:
        for pid in held["pids"]:
            if pid != os.getpid():
                with contextlib.suppress(OSError):
                    got.append([held["who"], work(pid, held)])
    return got


@attempt
def kill_another_call(world: World) -> list[Any]:
    return each(world, lambda pid, _: os.kill(pid, signal.SIGKILL))


@attempt
def kill_another_call_by_its_descriptor(world: World) -> list[Any]:
    def work(pid: int, _: Any) -> int:
        pidfd = syscall("pidfd_open", pid, 0)
        return syscall("pidfd_send_signal", pidfd, int(signal.SIGKILL), 0, 0)

    return each(world, work)


@attempt
def trace_another_call(world: World) -> list[Any]:
    seize = 0x4206
    return each(world, lambda pid, _: syscall("ptrace", seize, pid, 0, 0))


@attempt
def read_another_calls_memory(world: World) -> list[Any]:
    def work(pid: int, held: Any) -> str:
        buffer = ctypes.create_string_buffer(HELD_BYTES)
        own = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), HELD_BYTES)
        there = (ctypes.c_void_p * 2)(held["at"], HELD_BYTES)
        syscall("process_vm_readv", pid, own, 1, there, 1, 0)
        return buffer.raw.decode("latin-1")

    return each(world, work)


@attempt
def read_another_call_through_proc(world: World) -> list[Any]:
    def work(pid: int, held: Any) -> str:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(held["at"])
            return memory.read(HELD_BYTES).decode("latin-1")

    return each(world, work)


@attempt
def take_another_calls_connection(world: World) -> list[Any]:
    def work(pid: int, _: Any) -> int:
        return syscall("pidfd_getfd", syscall("pidfd_open", pid, 0), EGRESS, 0)

    return each(world, work)


@attempt
def connect_to_another_call(world: World) -> list[Any]:
    got = []
    for held in world["held"]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
            peer.connect("\0" + held["name"])
            got.append([held["who"], True])
    return got

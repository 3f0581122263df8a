"""Do not end, flood, lie and crash."""

from __future__ import annotations

import builtins
import ctypes
import os
import signal
import socket
import time
from typing import Any

from tests.adversarial.sandbox.hostile.kit import CHANNEL, EGRESS, KEPT, LIBC
from tools.sdk import Call


def keep_for_the_next_call(call: Call) -> dict[str, Any]:
    """Return what earlier calls left, and leave something for the next one."""
    found = [*KEPT, *getattr(builtins, "kept", []), *getattr(socket, "kept", [])]
    KEPT.append(call.arguments["canary"])
    vars(builtins)["kept"] = vars(socket)["kept"] = KEPT
    os.fork = lambda: 0
    return {"got": found}


def use_another_interface(_: Call) -> dict[str, Any]:
    """Make a system call of the x32 interface, which has numbers of its own."""
    LIBC.syscall(ctypes.c_long(0x40000000 + 39))
    return {"got": True}


def spin(_: Call) -> dict[str, Any]:
    """Never end, and take processor time."""
    while True:
        pass


def ignore_signals_and_sleep(_: Call) -> dict[str, Any]:
    """Never end, deaf to whatever can be heard."""
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    time.sleep(60)
    return {}


def flood_output(_: Call) -> dict[str, Any]:
    """Print without end."""
    while True:
        os.write(1, b"flood " * 10_000)


def drip_result(_: Call) -> dict[str, Any]:
    """Send the result one byte at a time, without end."""
    os.write(CHANNEL, (1_000).to_bytes(4, "big"))
    while True:
        os.write(CHANNEL, b" ")
        time.sleep(0.02)


def flood_result(_: Call) -> dict[str, Any]:
    """Send a result without end."""
    while True:
        os.write(CHANNEL, b"x" * 65_536)


def write_result(call: Call) -> dict[str, Any]:
    """Write bytes of the test's choice where the result belongs, and end."""
    data = memoryview(bytes.fromhex(call.arguments["bytes"]))
    while data:
        data = data[os.write(CHANNEL, data) :]
    os._exit(0)


def write_too_much(call: Call) -> dict[str, Any]:
    """Write a frame that is well-formed and one byte longer than it may be."""
    body = b'{"result":{"a":"' + b"x" * (call.arguments["n"] - 19) + b'"}}'
    data = memoryview(len(body).to_bytes(4, "big") + body)
    while data:
        data = data[os.write(CHANNEL, data) :]
    os._exit(0)


def overwhelm_edge(call: Call) -> dict[str, Any]:
    """Crash while a request is under way."""
    os.write(EGRESS, b"POST /x HTTP/1.1\r\ncontent-length: 999\r\n\r\n")
    ctypes.string_at(0)
    return dict(call.arguments)

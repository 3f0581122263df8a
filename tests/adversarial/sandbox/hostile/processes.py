"""Try to harm or multiply processes, and to start programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

from tests.adversarial.sandbox.hostile.kit import World, attempt, syscall


@attempt
def kill_zygote(_: World) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.2)


@attempt
def signal_broker(world: World) -> None:
    os.kill(world["victim"], signal.SIGUSR1)


@attempt
def signal_everybody(_: World) -> None:
    os.kill(-1, signal.SIGCONT)  # Harmless to whom it reaches; the victim notes it.


@attempt
def bomb_with_forks(_: World) -> int:
    count = 0
    for _number in range(20):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.1)
            os._exit(0)
        count += 1
    return count


@attempt
def bomb_with_threads(_: World) -> int:
    for _number in range(20):
        threading.Thread(target=time.sleep, args=(0.1,), daemon=True).start()
    return threading.active_count()


@attempt
def take_memory(_: World) -> int:
    taken = [b"x" * (8 << 20) for _number in range(48)]
    return sum(len(one) for one in taken)


@attempt
def grow_slowly(_: World) -> int:
    return len([bytearray(1 << 16) for _number in range(6_400)])


@attempt
def start_a_program(world: World) -> None:
    script = f"echo started > {world['loot']}/started"
    os.execv("/bin/sh", ["sh", "-c", script])  # noqa: S606 a start is the point


@attempt
def start_python(_: World) -> str:
    return subprocess.check_output([sys.executable, "-c", "print(1)"]).decode()


@attempt
def start_from_memory(_: World) -> int:
    return syscall("memfd_create", b"x", 0)

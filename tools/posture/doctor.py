"""Try the sandbox on this host, without a stack: python -m tools.posture.doctor.

Starts one zygote as the runner would, has the attempts made, and prints as JSON what
the runner would tell a broker, and the problem if it would refuse to start.
"""

import asyncio
import json
import logging
import os
import socket
import sys
import tempfile
from pathlib import Path

from tools.manifests import CONNECTOR_FILE, Tool
from tools.posture.fleet import Fleet
from tools.posture.postures import NotConfinedError
from tools.settings import Settings, SettingsError, read_cgroup, read_sandbox

_CONNECTOR = "doctor"


async def examine(wish: str) -> dict[str, object]:
    """Return the report of a runner that wishes so, and its problem, if any."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as edge:
        path = Path(folder)
        (path / _CONNECTOR).mkdir()
        (path / _CONNECTOR / CONNECTOR_FILE).touch()
        edge.bind(str(path / "edge"))
        edge.listen()
        tool = Tool(
            name=_CONNECTOR,
            connector=_CONNECTOR,
            entry=_CONNECTOR,
            consequential=True,
            preload=False,
            timeout_s=1,
            digest="",
        )
        settings = Settings(
            runner_socket=path / "runner",
            edge_socket=path / "edge",
            catalog=path,
            sandbox=wish,
            cgroup=read_cgroup(),
        )
        fleet = Fleet(settings, {tool.name: tool})
        problem = ""
        try:
            await fleet.start()
        except NotConfinedError as error:
            problem = str(error)
        finally:
            await fleet.close()
        return {"sandbox": fleet.report.as_json(), "problem": problem}


def main() -> int:
    """Print the findings; return 1 if the runner would refuse to start."""
    logging.disable()
    try:
        found = asyncio.run(examine(read_sandbox()))
    except SettingsError as error:
        found = {"sandbox": None, "problem": str(error)}
    json.dump({**found, "user": os.geteuid()}, sys.stdout)
    return 1 if found["problem"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Make a checkout in which our own processes are stand-ins, and run its command.

The command, the supervisor and the three servers are real; broker, worker, edge,
runner, signer and CRM only do what the supervisor can see of them, and try what they
may not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from broker.cli.stack.launch.guardian import children
from broker.cli.stack.running import descendants, running
from broker.cli.stack.state import CHECKOUT, running_pid
from tests.support.parts import alive, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.cli.stack.events import Row

_COMMAND_FILES = (
    "__init__.py",
    "__main__.py",
    "app.py",
    "exits.py",
    "guard.py",
    "operate.py",
)

# What every stand-in can do: note that it starts and stops, and try to read things.
_COMMON = '''
import json, os, signal, socket, sys, time
part = os.environ["COUNTERFOIL_PART"]
state = os.environ["COUNTERFOIL_STATE"]

def tried():
    """Return for each path what comes of reading it."""
    found = {}
    for name in ("edge/secret", "signer/secret", "postgres/admin.password", "clients",
                 "migrate/database.password", "worker/temporal.password",
                 "broker/database.password", "logs", "stack.json", "state.json"):
        path = os.path.join(state, name)
        try:
            os.listdir(path) if os.path.isdir(path) else open(path).read()
            found[name] = "read"
        except OSError as error:
            found[name] = type(error).__name__
    return found

def until_stopped():
    signal.sigwait([signal.SIGTERM])
    print("stopped", time.monotonic(), flush=True)

def listen(variable):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.environ[variable])
        server.listen()
        until_stopped()

print("environment", json.dumps(dict(os.environ)), flush=True)
print("tried", json.dumps(tried()), flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
'''
_PAGES = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass

def serve():
    host, _, port = os.environ["COUNTERFOIL_LISTEN"].rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    until_stopped()
"""
_MODULES = {
    "broker/wiring/__init__.py": "",
    "broker/wiring/serving.py": f"{_COMMON}{_PAGES}",
    "broker/edge/__main__.py": f'{_COMMON}\nlisten("COUNTERFOIL_EDGE_SOCKET")',
    "broker/signer/__main__.py": (f'{_COMMON}\nlisten("COUNTERFOIL_SIGNER_SOCKET")'),
    "tools/dispatcher.py": (
        f"{_COMMON}\n"
        # A zygote: in a session of its own, and deaf to everything but SIGKILL.
        "import subprocess\n"
        'subprocess.Popen(["/bin/sh", "-c", "trap : TERM INT HUP; sleep 1000"],\n'
        "                 start_new_session=True)\n"
        'listen("COUNTERFOIL_RUNNER_SOCKET")'
    ),
    "workflows/worker.py": (
        f"{_COMMON}\n"
        'open(os.environ["COUNTERFOIL_READY_FILE"], "w").close()\n'
        "until_stopped()"
    ),
    "infra/democrm/__main__.py": f"{_COMMON}{_PAGES}\nserve()",
    "broker/cli/processes.py": (
        "import os\n"
        'COMMANDS = ("serve", "migrate")\n'
        "def run(name):\n"
        '    if name == "serve":\n'
        "        from broker.wiring.serving import serve\n"
        "        return serve()\n"
        '    print("migrated as", os.environ["COUNTERFOIL_DATABASE_URL"])\n'
        '    for name in ("edge", "signer"):\n'
        '        path = os.environ["COUNTERFOIL_STATE"] + f"/{name}/secret"\n'
        "        os.close(os.open(path, os.O_CREAT, 0o600))\n"
        '    if os.path.exists(os.environ["COUNTERFOIL_STATE"] + "/clients/broken"):\n'
        '        raise SystemExit("the tables are broken")\n'
    ),
    "broker/cli/demo.py": (
        "def register(app):\n    pass\n"
        "def first_calls(*, state, base_url, say):\n"
        '    say(f"read an order at {base_url}")\n'
        '    if (state / "clients" / "shy").exists():\n'
        '        raise RuntimeError("the agent would rather not")\n'
    ),
}


def make(folder: Path) -> Path:
    """Make the checkout in a new folder and return it."""
    cli = folder / "broker" / "cli"
    cli.mkdir(parents=True)
    shutil.copy(CHECKOUT / "broker" / "__init__.py", folder / "broker")
    for name in _COMMAND_FILES:
        shutil.copy(CHECKOUT / "broker" / "cli" / name, cli)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        CHECKOUT / "broker" / "cli" / "stack", cli / "stack", ignore=ignored
    )
    for name, text in _MODULES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    (folder / "infra" / "__init__.py").touch()
    return folder


@dataclass
class Stack:
    """The command of a stand-in checkout on one state."""

    checkout: Path
    state: Path
    environment: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    first_events: list[dict] = field(default_factory=list)
    python: str = sys.executable

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `counterfoil ARGUMENTS`."""
        state = () if arguments[0] == "--help" else ("--state", str(self.state))
        start = (*self.prefix, self.python, "-P", "-m", "broker.cli")
        return [*start, *arguments, *state]

    def environ(self) -> dict[str, str]:
        """Return the environment of the command."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.checkout)}
        return kept | {"PYTHONPATH": str(self.checkout)} | self.environment

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environ(),
            cwd=self.checkout,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start the command, and end it if it has not ended after the block."""
        with subprocess.Popen(
            self.command(*arguments),
            env=self.environ(),
            cwd=self.checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            preexec_fn=_hears_ctrl_c,  # noqa: PLW1509  (one call, no lock taken)
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def rows(self) -> dict[str, Row]:
        """Return the parts, as `status` finds them without their memory."""
        found = running(self.state)
        assert found is not None
        return {row.part: row for row in found.rows}

    def pids(self) -> dict[str, int]:
        """Return part to process, of those that run."""
        return {name: row.pid for name, row in self.rows().items() if row.pid}

    def well(self) -> bool:
        """Tell whether every part is ready."""
        return all(row.state in {"ready", "done"} for row in self.rows().values())

    def processes(self) -> list[int]:
        """Return every process of the running stack: guardian, supervisor, parts."""
        supervisor = running_pid(self.state)
        assert supervisor is not None
        stat = Path(f"/proc/{supervisor}/stat").read_text()
        guardian = int(stat.rpartition(")")[2].split()[1])
        assert supervisor in children(guardian)
        return [guardian, *descendants(supervisor)]

    def said(self, part: str, word: str) -> list[str]:
        """Return what a stand-in has written after a word, in each of its lives."""
        log = self.state / "logs" / f"{part}.log"
        lines = log.read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(word)]

    def end(self) -> None:
        """Kill what a test left."""
        pid = running_pid(self.state)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            until(lambda: running_pid(self.state) is None)


def events(text: str) -> list[dict]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def gone(pids: list[int]) -> bool:
    """Wait until none of the processes is left; tell whether that came about."""
    return until(lambda: not any(map(alive, pids)))


def _hears_ctrl_c() -> None:
    """Undo what a shell does to whatever it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

"""`tools test`: run one tool in the real sandbox, under the edge's real rules."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import tomlkit
import typer
from jsonschema import Draft202012Validator

from broker.cli.exits import Exit
from broker.cli.signed_in import Desk, JsonOption
from broker.cli.stack.state import CHECKOUT
from broker.cli.tools.catalogue import CATALOG_DEFAULT, CatalogOption, Entry
from broker.cli.tools.look import find
from broker.core.execute import release
from broker.core.frames import HEADER_BYTES, body_bytes, decode_body, encode_frame
from broker.core.words.tool import Tool
from broker.registry.kit.samples import sample_answer, sample_arguments
from broker.registry.tools import manifest_digest

START_S_MAX: Final = 20.0
ANSWER_S_MAX: Final = 45.0
FRAME_BYTES_MAX: Final = 1_048_576
_ACTION: Final = "00000000-0000-7000-8000-000000000001"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to try: with which arguments, for whom, and what is answered."""

    tool: Tool
    arguments: Mapping[str, Any]
    customer: str
    status: int
    answer: Any
    upstream: str
    credential_file: str


def run(
    tool: Annotated[str, typer.Argument(help="Name of a tool.")],
    *,
    arguments: Annotated[
        str, typer.Option(help="The decided arguments, as a JSON object.")
    ] = "",
    customer: Annotated[
        str, typer.Option(help="The upstream's id of the interaction's customer.")
    ] = "customer-1",
    status: Annotated[
        int | None, typer.Option(min=200, max=599, help="What the stub answers.")
    ] = None,
    answer: Annotated[
        Path | None, typer.Option(help="JSON file with the body that it answers.")
    ] = None,
    upstream: Annotated[
        str, typer.Option(help="Base URL of a real upstream, instead of the stub.")
    ] = "",
    credential_file: Annotated[
        Path | None, typer.Option(help="Bearer credential for that upstream.")
    ] = None,
    catalog: CatalogOption = CATALOG_DEFAULT,
    as_json: JsonOption = False,
) -> None:
    """Run a tool in the real sandbox, and show what would be sent and released.

    Nothing leaves this machine, unless --upstream names where to.
    """
    desk = Desk(as_json=as_json)
    entry = find(desk, catalog, tool)
    loaded = entry.tool
    waits = [one for one in entry.errors if "tools confirm" in one]
    if loaded is None or len(entry.errors) > len(waits):
        desk.fail(next(one for one in entry.errors if one not in waits))
    if upstream and waits:
        desk.fail(
            f"{tool} waits for a person; only a stub is asked before",
            hint=f"counterfoil tools confirm {tool} --by YOU",
        )
    given = _arguments(desk, loaded, arguments)
    wish = Wish(
        tool=loaded,
        arguments=given,
        customer=customer,
        status=status or min(loaded.request(loaded.receipt.request_id).done),
        answer=_json(desk, answer.read_text("utf-8") if answer.is_file() else "")
        if answer
        else sample_answer(loaded, given, customer=customer),
        upstream=upstream.rstrip("/"),
        credential_file=str(credential_file.absolute()) if credential_file else "",
    )
    document = _run(desk, entry, wish)
    desk.show(document, lines=_lines(document))
    if document["error"] or not document["requests"] or document["refused"]:
        raise typer.Exit(Exit.FAILED)


def _arguments(desk: Desk, tool: Tool, text: str) -> Mapping[str, Any]:
    given = _json(desk, text) if text else sample_arguments(tool.arguments)
    if given is None:
        desk.fail(
            "its arguments cannot be made up",
            hint='give them: --arguments \'{"order_id": "W0000001"}\'',
            code=Exit.USAGE,
        )
    for error in Draft202012Validator(dict(tool.arguments)).iter_errors(given):
        desk.fail(f"arguments: {error.message}", code=Exit.USAGE)
    found: Mapping[str, Any] = given
    return found


def _json(desk: Desk, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError as error:
        desk.fail(f"no JSON: {error}", code=Exit.USAGE)


def _run(desk: Desk, entry: Entry, wish: Wish) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="trial-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        manifest, digest = _catalogue(folder / "catalog", entry)
        order = {
            "manifest": str(manifest),
            "arguments": wish.arguments,
            "customer": wish.customer,
            "action": _ACTION,
            "socket": str(folder / "edge.sock"),
            "upstream": wish.upstream,
            "credential_file": wish.credential_file,
            "stub": {"status": wish.status, "body": wish.answer},
        }
        edge = stack.enter_context(_process(folder, "broker.edge.trial"))
        assert edge.stdin is not None  # noqa: S101 (it was asked for)
        edge.stdin.write(json.dumps(order) + "\n")
        edge.stdin.flush()
        runner = stack.enter_context(_process(folder, "tools.dispatcher"))
        _await(edge, folder / "broker.edge.trial.log")
        got = _ask(desk, folder, runner, _order_of(wish, digest))
        edge.stdin.close()
        edge.wait(timeout=START_S_MAX)
        noted = (folder / "broker.edge.trial.log").read_text("utf-8")
    return _document(wish, got, noted)


def _catalogue(folder: Path, entry: Entry) -> tuple[Path, str]:
    """Write a catalogue with this tool alone, without its review."""
    connector = folder / entry.path.parent.name
    shutil.copytree(
        entry.path.parent,
        connector,
        ignore=shutil.ignore_patterns("*.toml", "__pycache__"),
    )
    document = {k: v for k, v in entry.document.items() if k != "review"}
    manifest = connector / entry.path.name
    manifest.write_text(tomlkit.dumps(document), "utf-8")
    return manifest, manifest_digest(document)


@contextmanager
def _process(folder: Path, module: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of our processes with nothing of the caller's; end it at the end."""
    environ = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COUNTERFOIL_RUNNER_SOCKET": str(folder / "runner.sock"),
        "COUNTERFOIL_EDGE_SOCKET": str(folder / "edge.sock"),
        "COUNTERFOIL_CATALOG": str(folder / "catalog"),
    }
    with (
        (folder / f"{module}.log").open("wb") as log,
        (folder / f"{module}.err").open("wb") as err,
    ):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            cwd=CHECKOUT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=err,
            text=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=START_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()


def _await(process: subprocess.Popen[str], log: Path) -> None:
    """Wait until a process has written its first line, or ended."""
    until = time.monotonic() + START_S_MAX
    while not log.stat().st_size and process.poll() is None:
        if time.monotonic() > until:
            return
        time.sleep(0.05)


def _order_of(wish: Wish, digest: str) -> dict[str, Any]:
    """Return the frame that has the runner run it; no edge but the trial's takes it."""
    claims = {
        "jti": _ACTION,
        "action": _ACTION,
        "tool": wish.tool.name,
        "connector": wish.tool.connector,
        "manifest": digest,
        "customer": wish.customer,
        "arguments": wish.arguments,
    }
    header = {"alg": "none", "typ": "counterfoil-warrant+jwt"}
    parts = [json.dumps(one).encode() for one in (header, claims)] + [b"trial"]
    token = ".".join(
        base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts
    )
    deadline_ms = wish.tool.timeout_s * 1_000
    return {"op": "run", "warrant": token, "deadline_ms": deadline_ms}


def _ask(
    desk: Desk,
    folder: Path,
    runner: subprocess.Popen[str],
    frame: Mapping[str, Any],
) -> dict[str, Any]:
    until = time.monotonic() + START_S_MAX
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        while True:
            try:
                link.connect(str(folder / "runner.sock"))
                break
            except OSError:
                if runner.poll() is not None or time.monotonic() > until:
                    _no_sandbox(desk, folder)
                time.sleep(0.05)
        link.settimeout(ANSWER_S_MAX)
        link.sendall(encode_frame(frame, frame_max=FRAME_BYTES_MAX))
        with link.makefile("rb") as stream:
            header = stream.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                _no_sandbox(desk, folder)
            size = body_bytes(header, frame_max=FRAME_BYTES_MAX)
            return decode_body(stream.read(size), frame_max=FRAME_BYTES_MAX)


def _no_sandbox(desk: Desk, folder: Path) -> NoReturn:
    said = "".join(
        (folder / f"tools.dispatcher.{end}").read_text("utf-8", errors="replace")
        for end in ("log", "err")
    ).splitlines()
    last = said[-1] if said else "it said nothing"
    desk.fail(f"the sandbox did not start: {last}", hint="see `counterfoil doctor`")


def _document(wish: Wish, got: Mapping[str, Any], noted: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in noted.splitlines()]
    requests = [one for one in lines if "sent" in one]
    receipts = [one["receipt"] for one in requests if "receipt" in one]
    result = got.get("result")
    released = None if result is None else release(wish.tool, result).result
    return {
        "tool": wish.tool.name,
        "arguments": dict(wish.arguments),
        "requests": [
            {name: one[name] for name in ("sent", "body", "rule", "status")}
            for one in requests
        ],
        "refused": [one for one in lines if "refused" in one],
        "receipt": receipts[-1] if receipts else {},
        "released": released,
        "error": got.get("error"),
        "ms": got.get("ms"),
    }


def _lines(document: Mapping[str, Any]) -> list[str]:
    lines = [f"arguments  {json.dumps(document['arguments'])}"]
    for one in document["requests"]:
        lines.append(f"sent       {one['sent']} (rule {one['rule']})")
        if one["body"] is not None:
            lines.append(f"           {json.dumps(one['body'])}")
        lines.append(f"answered   {one['status']}")
    lines += [f"refused    {one['detail']}" for one in document["refused"]]
    if not document["requests"] and not document["refused"]:
        lines.append("sent       nothing")
    lines += [f"receipt    {name} = {v}" for name, v in document["receipt"].items()]
    if document["error"]:
        error = document["error"]
        lines.append(f"failed     {error['code']}: {error['detail']}")
    else:
        lines.append(f"released   {json.dumps(document['released'])}")
    return lines

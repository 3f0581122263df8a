"""Commands in the name of a person: find the broker, sign in with a key file, report.

Signing in is showing one's key: nothing that opens anything is kept on disk but the key
file itself. `people sign-in` only notes whose key file the next commands take.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.cli.exits import Exit
from broker.cli.stack.running import running
from broker.cli.stack.state import STATE_DEFAULT
from broker.client.answers import RefusedError, UnreachableError
from broker.client.keys import ClientKey, KeyFileError, read_key
from broker.client.person import PersonClient

T = TypeVar("T")

SIGNED_IN = "signed-in"
_ID_LENGTH = 36
_FORBIDDEN = frozenset({401, 403})

StateOption = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="COUNTERFOIL_STATE",
        help="Folder that the stack keeps everything in.",
        show_default=".counterfoil in the checkout",
    ),
]
AsOption = Annotated[
    str, typer.Option("--as", help="Name of a person of this state's clients folder.")
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="Key file of the person who asks.")
]
UrlOption = Annotated[
    str,
    typer.Option(
        "--url", envvar="COUNTERFOIL_URL", help="A broker; else the one that runs here."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; without personal data, it is logged.")
]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command works, in whose name, and how it reports."""

    state: Path = STATE_DEFAULT
    name: str = ""
    key_file: Path | None = None
    url: str = ""
    as_json: bool = False

    def people(self) -> Path:
        """Return the folder of the demo people's key files."""
        return self.state / "clients" / "people"

    def key(self) -> ClientKey:
        """Return the key of whoever asks, or end the command."""
        path = self.key_file
        if path is None and self.name:
            path = self.people() / f"{self.name}.jwk"
        if path is None:
            path = self._remembered()
        if path is None:
            self.fail(
                "nobody is signed in",
                hint="say who asks: --as carol, or `counterfoil people sign-in carol`",
                code=Exit.USAGE,
            )
        try:
            key = read_key(path)
        except KeyFileError as error:
            self.fail(str(error), hint=self._known(), code=Exit.NOT_FOUND)
        if not key.client_id.startswith("person:"):
            self.fail(f"{path} is no person's key", code=Exit.USAGE)
        return key

    def _known(self) -> str:
        """Return whose keys there are, or how to get some."""
        if self.key_file is not None:
            return ""
        names = sorted(path.stem for path in self.people().glob("*.jwk"))
        if not names:
            return "`counterfoil up` makes a demo state with people; else --key FILE"
        return f"there are: {', '.join(names)}"

    def broker(self) -> str:
        """Return the broker's base URL, or end the command."""
        if self.url:
            return self.url
        found = running(self.state)
        if found is None:
            self.fail(
                f"nothing is running on {self.state}",
                hint="start it with `counterfoil up`, or name a broker with --url",
                code=Exit.UNREACHABLE,
            )
        return found.issuer

    def remember(self, path: Path) -> None:
        """Note whose key file the next commands take."""
        note = self.state / "clients" / SIGNED_IN
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.touch(mode=0o600)
        note.write_text(str(path.absolute()), encoding="utf-8")

    def run(self, work: Callable[[PersonClient], Awaitable[T]]) -> T:
        """Sign in, do the work, and return what it returns, or end the command."""
        key, url = self.key(), self.broker()

        async def signed_in() -> T:
            async with PersonClient(
                url, client_id=key.client_id, key=key.key
            ) as person:
                return await work(person)

        try:
            return asyncio.run(signed_in())
        except RefusedError as error:
            if error.status in _FORBIDDEN or error.code == "invalid_client":
                code = Exit.DENIED
            else:
                code = Exit.NOT_FOUND if error.status == 404 else Exit.FAILED  # noqa: PLR2004
            self.fail(error.detail or error.code, hint=error.hint, code=code)
        except UnreachableError as error:
            self.fail(str(error), code=Exit.UNREACHABLE)

    def show(self, value: Mapping[str, Any], *, lines: Iterable[str] = ()) -> None:
        """Print a result: JSON, or the lines for people."""
        if self.as_json:
            typer.echo(json.dumps(value, ensure_ascii=False))
            return
        for line in lines:
            typer.echo(line)

    def table(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Mapping[str, Callable[[Any], str]],
    ) -> None:
        """Print rows: a JSON line each, or a table."""
        if self.as_json:
            for row in rows:
                typer.echo(json.dumps(row, ensure_ascii=False))
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell(row)) for cell in columns.values()))
        width = None if sys.stdout.isatty() else 160
        Console(highlight=False, width=width).print(table)

    def fail(self, error: str, *, hint: str = "", code: Exit = Exit.FAILED) -> NoReturn:
        """Say what went wrong and what to do next, and end the command."""
        if self.as_json:
            typer.echo(json.dumps({"event": "failed", "error": error, "hint": hint}))
        else:
            typer.secho(f"error: {error}", fg="red", err=True)
            if hint:
                typer.echo(hint, err=True)
        raise typer.Exit(code)

    def _remembered(self) -> Path | None:
        try:
            text = (self.state / "clients" / SIGNED_IN).read_text(encoding="utf-8")
        except OSError:
            return None
        return Path(text)


def as_person(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where it works and in whose name.

    The command takes a `Desk` first. On the command line it has in its place --state,
    --as, --key, --url and --json, after its own options.
    """
    (_, *own), shared = (
        inspect.signature(one, eval_str=True).parameters.values()
        for one in (command, _shared)
    )

    def run(**given: Any) -> None:  # noqa: ANN401  (typer has parsed them)
        common = {one.name: given.pop(one.name) for one in shared}
        command(_shared(**common), **given)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__module__ = command.__module__
    # Typer reads a command's options from here.
    parameters = [*own, *shared]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def desk(
    state: Path, name: str, key_file: Path | None, url: str, *, as_json: bool
) -> Desk:
    """Return the desk that the common options describe."""
    return Desk(state.absolute(), name, key_file, url.rstrip("/"), as_json)


def _shared(
    *,
    state: StateOption = STATE_DEFAULT,
    name: AsOption = "",
    key: KeyOption = None,
    url: UrlOption = "",
    as_json: JsonOption = False,
) -> Desk:
    return desk(state, name, key, url, as_json=as_json)


def pick(
    found: Sequence[Mapping[str, Any]], wanted: str, *, desk: Desk, what: str
) -> Mapping[str, Any]:
    """Return the one row with this id or name, or end the command."""
    by_id = len(wanted) == _ID_LENGTH
    rows = [row for row in found if row["id" if by_id else "name"] == wanted]
    if not rows:
        desk.fail(f"there is no {what} {wanted!r}", code=Exit.NOT_FOUND)
    if len(rows) > 1:
        ids = ", ".join(str(row["id"]) for row in rows)
        desk.fail(f"several are called {wanted!r}: name one by its id ({ids})")
    return rows[0]

"""The edge's `credentials` command: add, list, rotate, test, switch, roll back, remove.

It runs as the edge's user with the edge's settings, beside the serving process or
without it: whoever can read the edge's key files may use it, and nobody else. A secret
comes from a prompt, a descriptor or a file, never from argv or the environment.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import canonical
from broker.core.warrants.events import EdgeEventKind
from broker.edge.vault.gate import ORDER_BYTES_MAX
from broker.edge.vault.keeper import Draft, secret_from
from broker.edge.vault.kinds import (
    BEARER,
    KINDS,
    OAUTH_REFRESH,
    SECRET_BYTES_MAX,
    SETTINGS,
    VaultError,
)
from broker.edge.vault.probe import Probe, probe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from broker.edge.egress.upstreams import Upstreams
    from broker.edge.vault.access import Keyring
    from broker.edge.vault.credential import Credential
    from broker.edge.vault.gate import Gate
    from broker.edge.vault.keeper import Vault

_NOT_YET: Final = "not in use yet: test it, then switch"
_NOT_TRIED: Final = "name --order: `counterfoil edge order` has one made and recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What the commands work with."""

    vault: Vault
    keyring: Keyring
    upstreams: Upstreams
    gate: Gate


def add_parser(commands: Any) -> None:  # noqa: ANN401  (argparse names no such type)
    """Add the command and its own to the edge's parser."""
    group = commands.add_parser("credentials", help="upstream credentials")
    verbs = group.add_subparsers(dest="verb", required=True)
    add = verbs.add_parser("add", help="seal the first credential of a connector")
    add.add_argument("--base-url", required=True)
    add.add_argument("--kind", choices=KINDS, default=BEARER)
    add.add_argument("--allow-private", action="store_true")
    rotate = verbs.add_parser("rotate", help="seal a further version, not in use yet")
    for one in (add, rotate):
        one.add_argument("--connector", required=True)
        one.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"what the kind is told: {', '.join(SETTINGS)}",
        )
        one.add_argument(
            "--set-file", action="append", default=[], metavar="NAME=FILE",
            help="the same from a file: certificate, ca",
        )  # fmt: skip
        source = one.add_mutually_exclusive_group()
        source.add_argument("--value-file", type=Path, help="a file of mode 0600")
        source.add_argument("--value-fd", type=int, help="a descriptor that is open")
        one.add_argument(
            "--client-secret-file", type=Path,
            help="kind oauth_refresh: the client's secret beside the refresh token",
        )  # fmt: skip
    listed = verbs.add_parser("list", help="show versions, never a secret")
    listed.add_argument("--connector", default="")
    for name, text in (
        ("test", "try a version with a harmless request"),
        ("switch", "try a version and put it into use"),
    ):
        one = verbs.add_parser(name, help=text)
        one.add_argument("--connector", required=True)
        one.add_argument("--version", type=int, required=True)
        one.add_argument(
            "--order", type=Path, metavar="FILE",
            help="what the broker signed for this test: counterfoil edge order",
        )  # fmt: skip
        if name == "switch":
            one.add_argument(
                "--untested", action="store_true", help="switch without trying"
            )
    back = verbs.add_parser("rollback", help="use the version before again")
    back.add_argument("--connector", required=True)
    remove = verbs.add_parser("remove", help="destroy a version for good")
    remove.add_argument("--connector", required=True)
    remove.add_argument("--version", type=int, required=True)
    remove.add_argument(
        "--in-use", action="store_true", help="also if it is in use: a leak, an end"
    )
    for one in verbs.choices.values():
        one.add_argument("--json", action="store_true", dest="as_json")


async def run(asked: argparse.Namespace, bench: Bench) -> int:
    """Run one of the commands and return its exit status.

    Raises:
        VaultError: It cannot be done; the text says why.
        StoreError: PostgreSQL did not answer.
    """
    verbs: dict[str, Callable[[argparse.Namespace, Bench], Awaitable[int]]] = {
        "add": _add,
        "rotate": _rotate,
        "list": _list,
        "test": _test,
        "switch": _switch,
        "rollback": _rollback,
        "remove": _remove,
    }
    return await verbs[asked.verb](asked, bench)


async def _add(asked: argparse.Namespace, bench: Bench) -> int:
    draft = Draft(
        connector=asked.connector,
        base_url=asked.base_url,
        kind=asked.kind,
        allow_private=asked.allow_private,
        settings=_settings(asked),
    )
    used = await bench.vault.rows.current(asked.connector)
    version = await bench.vault.add(draft, _secret(asked, asked.kind))
    if used is None or used.sealed.removed:
        # Nothing works without it, so nothing can break by it.
        await bench.vault.switch(asked.connector, version)
        state = "in use"
    else:
        state = _NOT_YET
    _say(asked, f"{asked.connector} version {version}, {state}", version=version)
    return 0


async def _rotate(asked: argparse.Namespace, bench: Bench) -> int:
    current = await bench.vault.rows.current(asked.connector)
    if current is None:
        msg = f"connector {asked.connector} has no credential; add one first"
        raise VaultError(msg)
    now: Credential = current.sealed.credential
    draft = Draft(
        connector=now.connector,
        base_url=now.base_url,
        kind=now.kind,
        allow_private=now.allow_private,
        settings={**now.settings, **_settings(asked)},
    )
    version = await bench.vault.add(draft, _secret(asked, now.kind))
    text = f"{now.connector} version {version}, {_NOT_YET}"
    _say(asked, text, version=version)
    return 0


async def _list(asked: argparse.Namespace, bench: Bench) -> int:
    rows = await bench.vault.rows.listed(asked.connector)
    if asked.as_json:
        shown = [
            asdict(row) | {"created_at": row.created_at.isoformat()} for row in rows
        ]
        sys.stdout.write(json.dumps(shown) + "\n")
        return 0
    for row in rows:
        state = "removed" if row.removed else "in use" if row.used else "kept"
        words = (row.connector, row.version, state, row.kind, row.base_url, row.kek_id)
        sys.stdout.write("  ".join(str(word) for word in words) + "\n")
    return 0


async def _test(asked: argparse.Namespace, bench: Bench) -> int:
    return 0 if await _tried(asked, bench) else 1


async def _switch(asked: argparse.Namespace, bench: Bench) -> int:
    if not asked.untested and not await _tried(asked, bench):
        msg = f"version {asked.version} was not taken; the one before stays in use"
        raise VaultError(msg)
    tested = not asked.untested
    await bench.vault.switch(asked.connector, asked.version, tested=tested)
    _say(asked, f"{asked.connector} version {asked.version}, in use", done="switched")
    return 0


async def _rollback(asked: argparse.Namespace, bench: Bench) -> int:
    version = await bench.vault.roll_back(asked.connector)
    _say(asked, f"{asked.connector} version {version}, in use again", version=version)
    return 0


async def _remove(asked: argparse.Namespace, bench: Bench) -> int:
    await bench.vault.remove(asked.connector, asked.version, in_use=asked.in_use)
    _say(asked, f"{asked.connector} version {asked.version}, removed", done="removed")
    return 0


async def _tried(asked: argparse.Namespace, bench: Bench) -> bool:
    """Try a version as ordered, have the record know, and return if it was taken."""
    token = _order(asked.order)
    order, tool = await bench.gate.accept(
        token, connector=asked.connector, version=asked.version
    )
    wish = Probe(tool=tool, arguments=order.arguments, customer=order.customer_id)
    access = await bench.keyring.access_by(asked.connector, asked.version)
    found = await probe(wish, access, ask=bench.upstreams.ask)
    detail = {
        "version": asked.version,
        "tool": tool.name,
        "status": found.status,
        "problem": found.problem,
        "order": order.order_id,
    }
    vault = bench.vault
    event = vault.notary.event(EdgeEventKind.TESTED, asked.connector, detail)
    await vault.rows.note(event)
    said = found.problem or "taken"
    text = f"{asked.connector} version {asked.version}: {said} (status {found.status})"
    _say(asked, text, **detail)
    return not found.problem


def _order(path: Path | None) -> str:
    if path is None:
        raise VaultError(_NOT_TRIED)
    try:
        with path.open("rb") as file:
            token = file.read(ORDER_BYTES_MAX + 1).decode("ascii")
    except (OSError, UnicodeDecodeError):
        msg = f"{path} cannot be read as text"
        raise VaultError(msg) from None
    if len(token) > ORDER_BYTES_MAX:
        msg = f"{path} is longer than {ORDER_BYTES_MAX}: no order is"
        raise VaultError(msg)
    return token.strip()


def _say(asked: argparse.Namespace, text: str, **fields: Any) -> None:  # noqa: ANN401
    if asked.as_json:
        text = json.dumps({"connector": asked.connector, **fields})
    sys.stdout.write(text + "\n")


def _settings(asked: argparse.Namespace) -> dict[str, str]:
    pairs = dict(_pair(text) for text in asked.set)
    for name, where in (_pair(text) for text in asked.set_file):
        try:
            pairs[name] = Path(where).read_text("ascii")
        except (OSError, UnicodeDecodeError):
            msg = f"{where} cannot be read as text"
            raise VaultError(msg) from None
    return pairs


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        msg = f"{name[:40]!r} is not NAME=VALUE"
        raise VaultError(msg)
    return name, value


def _secret(asked: argparse.Namespace, kind: str) -> bytes:
    """Return the value, from where the command line says that it comes."""
    if asked.value_file is not None:
        value = secret_from(asked.value_file)
    elif asked.value_fd is not None:
        value = _from_descriptor(asked.value_fd)
    elif sys.stdin.isatty():
        value = getpass("Value (not shown): ").encode("utf-8")
    else:
        msg = "name --value-file or --value-fd; without them a terminal asks for it"
        raise VaultError(msg)
    if asked.client_secret_file is None:
        return value
    if kind != OAUTH_REFRESH:
        msg = f"--client-secret-file goes with kind {OAUTH_REFRESH}"
        raise VaultError(msg)
    both = {
        "client_secret": secret_from(asked.client_secret_file).decode(
            "ascii", "replace"
        ),
        "refresh_token": value.decode("ascii", "replace"),
    }
    return canonical(both)


def _from_descriptor(number: int) -> bytes:
    parts, size = [], 0
    try:
        while part := os.read(number, SECRET_BYTES_MAX + 2):
            parts.append(part)
            size += len(part)
            if size > SECRET_BYTES_MAX + 1:
                break
    except OSError as error:
        msg = f"descriptor {number}: {error.strerror}"
        raise VaultError(msg) from None
    return b"".join(parts).removesuffix(b"\n")

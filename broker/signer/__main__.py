"""Run the signer, or leave it the order to open a new origin.

``python -P -m broker.signer``
``python -P -m broker.signer recover --reason TEXT``, for `counterfoil audit recover`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.core.transparency.signing import REASON_CHARS_MAX
from broker.signer.files import DamagedError, Files, Order, replace_durably, write_order
from broker.signer.notary import Notary
from broker.signer.server import serve
from broker.signer.settings import Settings, SettingsError, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.transparency.signing import SignerHead


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m broker.signer")
    commands = parser.add_subparsers(dest="command")
    recover = commands.add_parser("recover", help="order a new origin")
    recover.add_argument("--reason", required=True, type=_reason)
    given = parser.parse_args(arguments)
    # Whatever we create is ours alone.
    os.umask(0o077)
    try:
        if given.command == "recover":
            settings = read_settings(listens=False)
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            order = Order(given.reason, at.replace("+00:00", "Z"))
            write_order(settings.folder, order)
            return 0
        _run(read_settings())
    except (SettingsError, DamagedError, OSError) as error:
        sys.stderr.write(f"signer: {error}\n")
        return 1
    return 0


def _run(settings: Settings) -> None:
    files = Files(settings.folder)
    try:
        notary = Notary(
            files, name=settings.name, publish=lambda head: _publish(settings, head)
        )
        asyncio.run(serve(notary, socket=settings.socket))
    finally:
        files.close()


def _publish(settings: Settings, head: SignerHead) -> None:
    """Write the verifier keys, the present one first, where everybody may read them."""
    settings.public.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = "".join(f"{each.vkey}\n" for each in head.verifiers)
    replace_durably(settings.public / "log.vkeys", lines.encode())


def _reason(text: str) -> str:
    if not 0 < len(text) <= REASON_CHARS_MAX or not text.isprintable():
        msg = f"a reason is a line of at most {REASON_CHARS_MAX} characters"
        raise argparse.ArgumentTypeError(msg)
    return text


if __name__ == "__main__":
    sys.exit(main())

"""Run the help desk: ``python -P -m infra.helpdesk``."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from infra.helpdesk.app import build
from infra.helpdesk.books import Books

CONNECTIONS_MAX = 64


def main(environ: Mapping[str, str]) -> int:
    """Serve until a signal; return the exit status."""
    os.umask(0o077)
    try:
        state = Path(environ["COUNTERFOIL_HELPDESK_STATE"])
        credential = _secret(environ["COUNTERFOIL_HELPDESK_CREDENTIAL_FILE"])
        control = environ.get("COUNTERFOIL_HELPDESK_CONTROL_FILE", "")
        control = _secret(control) if control else ""
        host, _, port = environ.get(
            "COUNTERFOIL_HELPDESK_LISTEN", "127.0.0.1:8470"
        ).rpartition(":")
        number = int(port)
    except (KeyError, OSError, ValueError) as error:
        sys.stderr.write(f"helpdesk: {error}\n")
        return 1
    state.mkdir(parents=True, exist_ok=True)
    books = Books(state / "helpdesk.sqlite3", clock=lambda: datetime.now(UTC))
    config = uvicorn.Config(
        build(books, credential=credential, control=control),
        host=host,
        port=number,
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
        log_level="warning",
        limit_concurrency=CONNECTIONS_MAX,
    )
    listener = config.bind_socket()
    listener.listen(CONNECTIONS_MAX)
    sys.stdout.write(f"helpdesk listens on http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        books.close()
    return 0


def _secret(path: str) -> str:
    value = Path(path).read_text("utf-8").strip()
    if not value:
        msg = f"{path} is empty"
        raise ValueError(msg)
    return value


if __name__ == "__main__":
    sys.exit(main(os.environ))

"""Name the variables that each part of the stack is given, and say what they mean.

A part's environment is new: PATH, LANG, LC_ALL, TZ, HOME, SSL_CERT_FILE and
SSL_CERT_DIR are inherited, other variables that begin with COUNTERFOIL_ are passed on
unless they are set below, and nothing else is. No secret stands in it: a variable that
ends in ``_PASSWORD_FILE`` or ``_CREDENTIAL_FILE`` names a file (0600) whose content,
without a final newline, is the secret.

All parts
    COUNTERFOIL_STATE                Absolute path of the state folder.
    COUNTERFOIL_STAMP                demo or production.
    COUNTERFOIL_PART                 The part's name: broker-0, worker-1, edge ...
    COUNTERFOIL_TENANT               demo.
    COUNTERFOIL_ENVIRONMENT          dev.
    COUNTERFOIL_READY_FILE           Where a part says that it is ready, if that is how
                                     it is probed: the worker once it polls its queue.
    TMPDIR                           A private folder; confined parts have no /tmp.
    PYTHONPATH                       A folder of links to our packages.

Parts that serve, a replica each
    COUNTERFOIL_LISTEN               Host and port to bind.
    COUNTERFOIL_REPLICA              0 to n-1.
    COUNTERFOIL_ISSUER               Base URL of the first broker: issuer of tokens.
    COUNTERFOIL_BROKER_URLS          Base URLs of all brokers, with commas.
    COUNTERFOIL_CATALOG              Folder of the tool manifests.
    COUNTERFOIL_RUNNER_SOCKET        Unix sockets; always short enough to be bound.
    COUNTERFOIL_EDGE_SOCKET
    COUNTERFOIL_SIGNER_SOCKET
    COUNTERFOIL_LIBRARIES            Runner only: what connectors bring, a folder each.
    COUNTERFOIL_SANDBOX              Runner only: auto, strict, standard, external or
                                     off (docs/sandbox.md).
    COUNTERFOIL_RUNNER_LISTEN        Runner only, without this stack: tls://HOST:PORT
                                     (docs/operate.md).
    COUNTERFOIL_CGROUP               Runner only: a delegated control group, if it is
                                     not the runner's own.

PostgreSQL, each process as its own role
    COUNTERFOIL_DATABASE_URL             postgresql://ROLE@/counterfoil?host=FOLDER
    COUNTERFOIL_DATABASE_PASSWORD_FILE

Valkey or Redis (brokers only)
    COUNTERFOIL_REDIS_URL            unix://default@SOCKET?db=0, or redis(s)://
    COUNTERFOIL_REDIS_PASSWORD_FILE

Temporal (brokers and workers)
    COUNTERFOIL_TEMPORAL_ADDRESS     Host and port; with a proxy, as the proxy sees it.
    COUNTERFOIL_TEMPORAL_NAMESPACE
    COUNTERFOIL_TEMPORAL_TASK_QUEUE
    COUNTERFOIL_TEMPORAL_PROXY       Unix socket of the CONNECT proxy, if any.
    COUNTERFOIL_TEMPORAL_PROXY_USER
    COUNTERFOIL_TEMPORAL_PASSWORD_FILE

Edge
    COUNTERFOIL_EDGE_KEK_FILE        Wraps the credentials' keys; else one is made.
    COUNTERFOIL_EDGE_TRANSIT_URL     Vault or OpenBao wraps them instead; with _KEY,
                                     _TOKEN_FILE, _MOUNT, _NAMESPACE and _CA_FILE.

democrm and edge
    COUNTERFOIL_CRM_URL              Base URL of the demo CRM.
    COUNTERFOIL_CRM_CREDENTIAL_FILE  The CRM's bearer credential in the clear, as its
                                     owner hands it over; the edge seals it.
    COUNTERFOIL_CRM_CONTROL_FILE     democrm only: opens its journal, faults and reset.

The one who calls `counterfoil up` may set COUNTERFOIL_DATABASE_URL (of a role that may
make roles), _REDIS_URL, _TEMPORAL_ADDRESS, _CRM_URL, _SIGNER_SOCKET, _EDGE_SOCKET or
_RUNNER_SOCKET: what is named there is used, and not started.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from broker.cli.stack.state import CHECKOUT, State

PREFIX = "COUNTERFOIL_"
TENANT = "demo"
ENVIRONMENT = "dev"
TASK_QUEUE = "counterfoil"
_INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
TEMPORAL_PROXY = (
    "COUNTERFOIL_TEMPORAL_PROXY",
    "COUNTERFOIL_TEMPORAL_PROXY_USER",
    "COUNTERFOIL_TEMPORAL_PASSWORD_FILE",
)
_NOT_PASSED_ON = (
    # Each of these goes to the parts that need it, in the form that they need.
    "COUNTERFOIL_DATABASE_URL",
    "COUNTERFOIL_DATABASE_PASSWORD_FILE",
    "COUNTERFOIL_REDIS_URL",
    "COUNTERFOIL_REDIS_PASSWORD_FILE",
    "COUNTERFOIL_TEMPORAL_ADDRESS",
    *TEMPORAL_PROXY,
    "COUNTERFOIL_CRM_URL",
    "COUNTERFOIL_CRM_CREDENTIAL_FILE",
    "COUNTERFOIL_SIGNER_SOCKET",
    "COUNTERFOIL_EDGE_SOCKET",
    "COUNTERFOIL_RUNNER_SOCKET",
    # A runner that this stack starts is reached on its socket.
    "COUNTERFOIL_RUNNER_LISTEN",
)


def base(caller: Mapping[str, str], state: State, *, part: str) -> dict[str, str]:
    """Make a part's private folders and return what every part is given."""
    (state.path / "tmp" / part).mkdir(mode=0o700, exist_ok=True)
    ready_file(state, part).parent.mkdir(mode=0o700, exist_ok=True)
    inherited = {name: caller[name] for name in _INHERITED if name in caller}
    passed_on = {
        name: value for name, value in caller.items() if name.startswith(PREFIX)
    }
    for name in _NOT_PASSED_ON:
        passed_on.pop(name, None)
    return {
        **inherited,
        **passed_on,
        "COUNTERFOIL_STATE": str(state.path),
        "COUNTERFOIL_STAMP": state.stamp.value,
        "COUNTERFOIL_PART": part,
        "COUNTERFOIL_TENANT": TENANT,
        "COUNTERFOIL_ENVIRONMENT": ENVIRONMENT,
        "COUNTERFOIL_READY_FILE": str(ready_file(state, part)),
        "TMPDIR": str(state.path / "tmp" / part),
        "PYTHONPATH": str(state.path / "import"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def socket_database_url(folder: Path, *, role: str, database: str) -> str:
    """Return the URL of a database behind a unix socket."""
    return f"postgresql://{role}@/{database}?host={quote(str(folder), safe='')}"


def ready_file(state: State, part: str) -> Path:
    """Return where a part says that it is ready."""
    return state.run / part / "ready"


def catalog() -> Path:
    """Return the folder of the tool manifests."""
    return CHECKOUT / "tools" / "catalog"


def callers() -> Mapping[str, str]:
    """Return the environment of whoever started this process."""
    return os.environ

"""Read what the caller of `counterfoil up` runs elsewhere, and keep passwords apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the caller runs elsewhere; an empty value means that we start it.

    Attributes:
        database_url: Of a role that may make roles. Without a password, which is kept
            apart so that it reaches no command line or environment.
        database_password: That role's.
        redis_url: Likewise without its password.
        redis_password: For it.
        temporal_address: Host and port.
        crm_url: Base URL.
        signer_socket: Path.
        edge_socket: Path.
        runner_socket: Path.
        sandbox: The posture that is wished for; empty for the best there is.
    """

    database_url: str = ""
    database_password: str = ""
    redis_url: str = ""
    redis_password: str = ""
    temporal_address: str = ""
    crm_url: str = ""
    signer_socket: str = ""
    edge_socket: str = ""
    runner_socket: str = ""
    sandbox: str = ""


def given_by(caller: Mapping[str, str]) -> Given:
    """Read from the caller's environment what is not to be started."""
    database_url, database_password = split_password(
        caller.get("COUNTERFOIL_DATABASE_URL", "")
    )
    redis_url, redis_password = split_password(caller.get("COUNTERFOIL_REDIS_URL", ""))
    return Given(
        database_url=database_url,
        database_password=database_password
        or _secret(caller, "COUNTERFOIL_DATABASE_PASSWORD_FILE"),
        redis_url=redis_url,
        redis_password=redis_password
        or _secret(caller, "COUNTERFOIL_REDIS_PASSWORD_FILE"),
        temporal_address=caller.get("COUNTERFOIL_TEMPORAL_ADDRESS", ""),
        crm_url=caller.get("COUNTERFOIL_CRM_URL", ""),
        signer_socket=caller.get("COUNTERFOIL_SIGNER_SOCKET", ""),
        edge_socket=caller.get("COUNTERFOIL_EDGE_SOCKET", ""),
        runner_socket=caller.get("COUNTERFOIL_RUNNER_SOCKET", ""),
        sandbox=caller.get("COUNTERFOIL_SANDBOX", ""),
    )


def _secret(caller: Mapping[str, str], name: str) -> str:
    path = caller.get(name, "")
    return Path(path).read_text("utf-8").removesuffix("\n") if path else ""


def split_password(url: str) -> tuple[str, str]:
    """Return a URL without its password, and the password."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    in_query = [value for name, value in pairs if name == "password"]
    query = urlencode(
        [pair for pair in pairs if pair[0] != "password"], quote_via=quote
    )
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if not colon and not in_query:
        return url, ""
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{user}@{host}" if "@" in parts.netloc else parts.netloc
    bare = _joined(parts._replace(netloc=netloc, query=query))
    return bare, unquote(password) if colon else in_query[-1]


def as_role(url: str, role: str) -> str:
    """Return a database URL for another role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return _joined(parts._replace(netloc=f"{role}@{host}"))


def _joined(parts: SplitResult) -> str:
    """Return the URL; urlunsplit drops the slashes of an empty host."""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"

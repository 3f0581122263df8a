"""Refuse what production may not stand on, as far as the stack can see it.

The processes themselves refuse what only they can see: each is told the stamp.
"""

from broker.cli.stack.planning.given import Given
from broker.cli.stack.state import Stamp, State, StateError

# Keys that unlock the data beside which they would lie.
_KEYS_BESIDE_DATA = ("broker/payload.kek", "broker/signing.kek", "edge/vault.kek")


def require_fit(state: State, given: Given, *, wanted: Stamp) -> None:
    """Return if the state may be run like this.

    Args:
        state: The state.
        given: What runs elsewhere.
        wanted: What the caller wants to run.

    Raises:
        StateError: It may not; the text names everything that is wrong.
    """
    if wanted is Stamp.PRODUCTION and state.stamp is not Stamp.PRODUCTION:
        msg = f"{state.path} is stamped demo, and production refuses demo state"
        raise StateError(msg, hint="name a new folder with --state")
    problems = refusals(state, given) if state.stamp is Stamp.PRODUCTION else []
    if problems:
        msg = f"{state.path} is stamped production, which refuses " + "; ".join(
            problems
        )
        raise StateError(msg, hint="see docs/operate.md, or use a demo state")


def require_demo(state: State) -> None:
    """Return if the state may take a simulated history.

    Raises:
        StateError: It is stamped production.
    """
    if state.stamp is not Stamp.DEMO:
        msg = f"{state.path} is stamped production, and takes no simulated history"
        raise StateError(msg, hint="leave out --history, or use a demo state")


def refusals(state: State, given: Given) -> list[str]:
    """Return what production refuses about this stack, each as a phrase."""
    problems: list[str] = []
    if not given.temporal_address:
        problems.append(
            "Temporal's development server (set COUNTERFOIL_TEMPORAL_ADDRESS)"
        )
    for name, url, password in (
        ("database", given.database_url, given.database_password),
        ("redis", given.redis_url, given.redis_password),
    ):
        if url and not password:
            variable = f"COUNTERFOIL_{name.upper()}_PASSWORD_FILE"
            problems.append(f"a {name} that asks for no password (set {variable})")
    if not given.crm_url:
        problems.append("the demo CRM (set COUNTERFOIL_CRM_URL)")
    if given.sandbox == "off":
        problems.append("connectors without a sandbox (unset COUNTERFOIL_SANDBOX)")
    problems += [
        f"a file key beside its data ({name})"
        for name in _KEYS_BESIDE_DATA
        if (state.path / name).exists()
    ]
    if any((state.path / "clients").iterdir()):
        problems.append("keys of demo people and agents (clients/)")
    return problems

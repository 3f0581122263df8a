"""A plan starts what the caller does not have, and tells each part its own only."""

from __future__ import annotations

import pytest

from broker.cli.stack.launch.confine import around
from broker.cli.stack.machine.host import Host, refusal
from broker.cli.stack.machine.ports import Reservations
from broker.cli.stack.parts import Namespaces, in_order
from broker.cli.stack.planning import plan as plans
from broker.cli.stack.planning.given import Given, given_by
from broker.cli.stack.planning.plan import HISTORY_S_MAX, NO_SANDBOX, REPLICAS_MAX, Wish
from broker.cli.stack.planning.production import refusals, require_fit
from broker.cli.stack.state import Stamp, StateError, open_state

FREE = Host(
    root=False,
    user_namespace_refusal="",
    network_namespace_refusal="",
    landlock_abi=7,
)
ROOT = Host(
    root=True, user_namespace_refusal="", network_namespace_refusal="", landlock_abi=7
)
CLOSED = Host(
    root=False,
    user_namespace_refusal="Operation not permitted",
    network_namespace_refusal="Operation not permitted",
    landlock_abi=7,
)
ELSEWHERE = Given(
    database_url="postgresql://admin@db.example/shop",
    database_password="opens the database",
    redis_url="rediss://cache.example:6380/1",
    redis_password="opens the cache",
    temporal_address="temporal.example:7233",
    crm_url="https://crm.example",
    signer_socket="/run/signer.sock",
    edge_socket="/run/edge.sock",
    runner_socket="/run/runner.sock",
)


@pytest.fixture
def state(tmp_path):
    return open_state(tmp_path / "state")


def plan(state, *, host=FREE, wish=None):
    """Plan, and let the ports go again."""
    with Reservations() as reserved:
        return plans.plan(state, host=host, wish=wish or Wish(), reserved=reserved)


def by_name(state, host=FREE, **wish):
    made = plan(state, host=host, wish=Wish(**wish))
    return {part.name: part for part in made.parts}


def test_everything_is_started_when_nothing_is_given(state) -> None:
    made = plan(state, host=FREE, wish=Wish(brokers=2, workers=3))
    assert [part.name for part in in_order(made.parts)] == [
        "postgres",
        "valkey",
        "temporal",
        "democrm",
        "signer",
        "roles",
        "migrate",
        "edge",
        "runner",
        "broker-0",
        "broker-1",
        "worker-0",
        "worker-1",
        "worker-2",
    ]
    assert made.elsewhere == {}


def test_what_is_given_is_used_and_not_started(state) -> None:
    made = plan(state, host=FREE, wish=Wish(given=ELSEWHERE))
    parts = {part.name: part for part in made.parts}
    assert parts.keys() == {"roles", "migrate", "broker-0", "worker-0"}
    in_order(made.parts)
    assert set(made.elsewhere) == {
        *("postgres", "valkey", "temporal", "democrm", "signer", "edge", "runner")
    }
    broker = parts["broker-0"].environment
    assert (
        broker["COUNTERFOIL_DATABASE_URL"] == "postgresql://cf_broker@db.example/shop"
    )
    assert broker["COUNTERFOIL_REDIS_URL"] == ELSEWHERE.redis_url
    assert broker["COUNTERFOIL_TEMPORAL_ADDRESS"] == ELSEWHERE.temporal_address
    assert "COUNTERFOIL_TEMPORAL_PROXY" not in broker
    assert broker["COUNTERFOIL_EDGE_SOCKET"] == ELSEWHERE.edge_socket
    migrate = parts["migrate"].environment
    assert migrate["COUNTERFOIL_DATABASE_URL"] == ELSEWHERE.database_url
    assert parts["roles"].after == ()


def test_no_password_that_was_given_stands_in_a_plan(state) -> None:
    made = plan(state, host=FREE, wish=Wish(given=ELSEWHERE))
    for part in made.parts:
        text = " ".join([*part.argv, *part.environment.values(), part.address])
        assert "opens the" not in text
    kept = [path.read_text() for path in state.path.rglob("*given.password")]
    assert sorted(kept) == ["opens the cache\n", "opens the database\n"]


def test_the_callers_other_variables_are_passed_on_and_foreign_ones_are_not(
    state,
) -> None:
    caller = {
        "PATH": "/bin",
        "COUNTERFOIL_LOG_LEVEL": "debug",
        "COUNTERFOIL_DATABASE_URL": "postgresql://admin:secret@db/shop",
        "COUNTERFOIL_PART": "not this",
        "LD_PRELOAD": "/evil.so",
        "PYTHONSTARTUP": "/evil.py",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    for part in by_name(state, caller=caller).values():
        told = part.environment
        assert told["PATH"] == "/bin"
        assert told["COUNTERFOIL_LOG_LEVEL"] == "debug"
        assert told["COUNTERFOIL_PART"] == part.name
        assert not {"LD_PRELOAD", "PYTHONSTARTUP", "AWS_SECRET_ACCESS_KEY"} & {*told}
        assert "secret" not in told.values()
        assert "postgresql://admin" not in " ".join(told.values())


@pytest.mark.parametrize("count", [1, REPLICAS_MAX])
def test_as_many_replicas_as_the_limit_are_planned(state, count) -> None:
    parts = by_name(state, brokers=count, workers=count)
    assert f"broker-{count - 1}" in parts
    listens = [
        part.environment["COUNTERFOIL_LISTEN"]
        for part in parts.values()
        if "COUNTERFOIL_LISTEN" in part.environment
    ]
    assert len(set(listens)) == len(listens) == count + 1


@pytest.mark.parametrize("wish", [{"brokers": 0}, {"workers": REPLICAS_MAX + 1}])
def test_one_replica_past_a_limit_is_refused(state, wish) -> None:
    with pytest.raises(ValueError, match="replicas"):
        by_name(state, **wish)


def test_every_process_of_ours_is_confined_to_its_own_folder(state) -> None:
    parts = by_name(state, brokers=2)
    folders = {
        "broker-1": "broker",
        "worker-0": "worker",
        "runner": "runner",
        "edge": "edge",
        "signer": "signer",
        "democrm": "democrm",
    }
    for name, folder in folders.items():
        rule = parts[name].rule
        assert rule is not None
        own = {path for path in rule.write if state.path in path.parents}
        assert own == {
            state.path / folder,
            state.path / "public" / folder,
            state.path / "tmp" / name,
            state.run / name,
        }
        for path in (*rule.read, *rule.write):
            # What a rule grants is what is left around the whole state.
            granted = [] if not path.exists() else list(around(path, rule.hidden))
            inside = [one for one in granted if one in {state.path, state.run}]
            assert inside == [], path


def test_only_root_needs_a_disguise_for_postgres(state) -> None:
    assert by_name(state, FREE)["postgres"].namespaces is Namespaces.NONE
    assert by_name(state, ROOT)["postgres"].namespaces is Namespaces.USER
    assert by_name(state, FREE)["temporal"].namespaces is Namespaces.USER_AND_NETWORK


def test_without_namespaces_temporal_has_a_port_and_a_warning(state) -> None:
    made = plan(state, host=CLOSED, wish=Wish())
    (temporal,) = [part for part in made.parts if part.name == "temporal"]
    assert temporal.namespaces is Namespaces.NONE
    assert any("other users of this machine" in note for note in made.notes)
    (broker,) = [part for part in made.parts if part.name == "broker-0"]
    port = broker.environment["COUNTERFOIL_TEMPORAL_ADDRESS"].rpartition(":")[2]
    assert f"--port={port}" in temporal.argv
    assert "COUNTERFOIL_TEMPORAL_PROXY" in broker.environment


def test_a_sandbox_that_is_switched_off_is_noted_and_the_runner_is_told(state) -> None:
    caller = {"COUNTERFOIL_SANDBOX": "off"}
    made = plan(state, wish=Wish(given=given_by(caller), caller=caller))
    assert NO_SANDBOX in made.notes
    assert NO_SANDBOX not in plan(state).notes
    (runner,) = [part for part in made.parts if part.name == "runner"]
    assert runner.environment["COUNTERFOIL_SANDBOX"] == "off"


# ------------------------------------------------------------------- what is refused


def test_root_without_user_namespaces_is_told_what_to_do() -> None:
    host = Host(
        root=True,
        user_namespace_refusal="Operation not permitted",
        network_namespace_refusal="Operation not permitted",
        landlock_abi=7,
    )
    text = refusal(host, own_database=True)
    assert "ordinary user" in text
    assert "COUNTERFOIL_DATABASE_URL" in text
    assert refusal(host, own_database=False) == ""
    assert refusal(CLOSED, own_database=True) == ""


def test_a_kernel_without_landlock_is_refused() -> None:
    host = Host(
        root=False,
        user_namespace_refusal="",
        network_namespace_refusal="",
        landlock_abi=0,
    )
    assert "Landlock" in refusal(host, own_database=True)


def test_a_demo_refuses_nothing(state) -> None:
    require_fit(state, Given(), wanted=Stamp.DEMO)


def test_production_refuses_demo_state(state) -> None:
    with pytest.raises(StateError, match="demo"):
        require_fit(state, ELSEWHERE, wanted=Stamp.PRODUCTION)


def test_production_refuses_everything_that_is_for_demonstration(tmp_path) -> None:
    state = open_state(tmp_path / "state", stamp=Stamp.PRODUCTION)
    assert refusals(state, ELSEWHERE) == []
    require_fit(state, ELSEWHERE, wanted=Stamp.DEMO)
    (state.path / "edge" / "vault.kek").write_text("key")
    (state.path / "clients" / "agent.jwk").write_text("key")
    trusting = Given(
        database_url="postgresql://admin@db.example/shop",
        redis_url="redis://cache.example/0",
        sandbox="off",
    )
    with pytest.raises(StateError) as caught:
        require_fit(state, trusting, wanted=Stamp.PRODUCTION)
    for phrase in (
        "Temporal's development server",
        "a database that asks for no password",
        "a redis that asks for no password",
        "the demo CRM",
        "a file key beside its data (edge/vault.kek)",
        "keys of demo people",
        "connectors without a sandbox",
    ):
        assert phrase in str(caught.value)


def test_a_history_is_loaded_as_the_owner_before_any_broker_and_only_when_wished(state):
    assert "history" not in by_name(state)
    parts = by_name(state, history=True)
    history = parts["history"]
    assert history.after == ("migrate",)
    assert "history" in parts["broker-0"].after
    assert history.ready_s_max == HISTORY_S_MAX
    told = history.environment
    assert "counterfoil@" in told["COUNTERFOIL_DATABASE_URL"]
    # Its entries get into the log as a broker's do.
    assert "cf_broker@" in told["COUNTERFOIL_LOG_DATABASE_URL"]

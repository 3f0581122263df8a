"""With a layer left out, the attempts succeed: so the tests beside this one do look.

The layers are left out by an argument of a constructor; no setting, no variable does.
"""

from __future__ import annotations

import inspect
import os

import pytest

from tests.adversarial.sandbox.harness import ATTEMPTS, FAR_REACHING
from tests.adversarial.sandbox.importing_names import IMPORT_ATTEMPTS
from tests.adversarial.sandbox.stage import Host, findings
from tools import settings, zygote_link
from tools.dispatcher import Dispatcher
from tools.jail import landlock

pytestmark = [pytest.mark.xdist_group("sandbox"), pytest.mark.timeout(180)]

# What a kernel may not offer at all, or not to everybody.
PORTS, SCOPES = 4, 6  # Landlock's interfaces that brought them
KERNEL_MAY_LACK = frozenset(
    {
        *("use_io_rings", "store_a_key", "read_the_keyring", "load_a_kernel_program"),
        *("count_kernel_events", "handle_page_faults", "enter_a_user_namespace"),
        *("take_the_edges_process", "connect_loopback"),
    }
)
NEEDS_ROOT = frozenset(
    {
        *("leave_the_network_namespace", "join_the_brokers_namespace"),
        *("change_the_root", "become_somebody_else"),
    }
)
EXPECTED = [
    name
    for name in ATTEMPTS
    if name not in FAR_REACHING | KERNEL_MAY_LACK - {"connect_loopback"}
    and (os.getuid() == 0 or name not in NEEDS_ROOT)
]
STOPPED_BY = {
    "seccomp": (
        *("send_datagram", "connect_socket_file", "connect_edge_again"),
        *("open_other_sockets", "pass_a_descriptor_to_the_edge"),
        *("start_from_memory", "change_a_mode", "push_into_a_terminal"),
        "become_dumpable",
        # Anybody but root is stopped by the limit of processes as well.
        *(("bomb_with_forks",) if os.getuid() == 0 else ()),
    ),
    "landlock": ("read_canary_file", "read_accounts", "list_processes", "list_home"),
    "limits": ("take_memory", "grow_slowly"),
}

# What two layers stop is stopped by either of them alone.
STILL_STOPPED = {
    "seccomp": (
        *("read_canary_file", "read_brokers_environment", "read_zygotes_memory"),
        *("read_zygote_through_proc", "trace_zygote", "start_a_program"),
        *("write_a_file", "write_own_code", "make_a_symlink", "delete_a_file"),
        "open_a_terminal",
        *(("connect_loopback",) if landlock.abi() >= PORTS else ()),
        *(
            ("kill_zygote", "signal_broker", "connect_abstract_socket")
            if landlock.abi() >= SCOPES
            else ()
        ),
    ),
    "landlock": (
        *("read_zygotes_memory", "trace_zygote", "kill_zygote", "signal_broker"),
        *("connect_loopback", "connect_socket_file", "connect_abstract_socket"),
        *("start_a_program", "start_from_memory", "bomb_with_forks"),
        *("write_a_file", "write_own_code", "make_a_symlink", "delete_a_file"),
        *("truncate_while_opening", "truncate_by_path", "change_a_mode"),
    ),
}


def without(*layers: str) -> Host:
    """Return this user's host without these layers, and without namespaces."""
    left = zygote_link.ALL_LAYERS - {*layers, "namespaces"}
    return Host(os.getuid(), layers=tuple(sorted(left)), importing=False)


@pytest.mark.parametrize("name", EXPECTED)
def test_without_any_layer_the_attempt_succeeds(name):
    outcome = findings(without(*zygote_link.ALL_LAYERS))["attempts"][name]
    assert outcome["succeeded"], outcome


def test_without_any_layer_most_of_the_kernels_features_are_there():
    attempts = findings(without(*zygote_link.ALL_LAYERS))["attempts"]
    assert any(attempts[name]["succeeded"] for name in KERNEL_MAY_LACK)


def test_without_any_layer_the_secret_leaks():
    attempts = findings(without(*zygote_link.ALL_LAYERS))["attempts"]
    assert attempts["read_brokers_environment"]["leaked"]
    assert attempts["read_canary_file"]["leaked"]


@pytest.mark.parametrize("name", [n for n in EXPECTED if "another_call" in n])
def test_without_any_layer_calls_of_both_connectors_are_reached(name):
    outcome = findings(without(*zygote_link.ALL_LAYERS))["attempts"][name]
    assert {who for who, _ in outcome["got"]} == {"sibling", "stranger"}
    assert ("killed the sibling" in outcome["effects"]) is name.startswith("kill")
    assert outcome["leaked"] is name.startswith("read")


def test_without_any_layer_importing_gets_everything():
    found = findings(Host(os.getuid(), layers=(), attempts=False))
    # One process can be traced by one other only: what either of them got counts.
    outcomes = [*found["importing"].items(), *found["preloading"].items()]
    got = {name for name, word in outcomes if word == "got"}
    assert got >= IMPORT_ATTEMPTS - {"read_environment", "become_somebody_else"}
    assert found["import_effects"]


@pytest.mark.parametrize(
    ("layer", "name"),
    [(layer, name) for layer, names in STOPPED_BY.items() for name in names],
)
def test_without_its_layer_alone_the_attempt_succeeds(layer, name):
    outcome = findings(without(layer))["attempts"][name]
    assert outcome["succeeded"], outcome


@pytest.mark.parametrize(
    ("layer", "name"),
    [(layer, name) for layer, names in STILL_STOPPED.items() for name in names],
)
def test_without_one_layer_another_one_still_stops_it(layer, name):
    outcome = findings(without(layer))["attempts"][name]
    assert not outcome["succeeded"], outcome


def test_no_variable_leaves_a_layer_out():
    # The settings are all that comes from outside, and they name no layer.
    assert [*settings.Settings.__dataclass_fields__] == [
        *("runner_socket", "edge_socket", "catalog", "libraries", "sandbox"),
        *("cgroup", "tls"),
    ]
    layers = inspect.signature(Dispatcher).parameters["layers"]
    assert layers.default is None
    assert layers.kind is inspect.Parameter.KEYWORD_ONLY

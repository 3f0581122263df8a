"""A connector in an attacker's hands gets nowhere: looked at by what came of it.

Each attempt is made by hostile/ from inside a real call's child, as root and as nobody,
in both postures, and under a container's filter. test_controls.py makes the same
attempts with layers left out, and there they succeed.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.adversarial.sandbox.harness import ATTEMPTS, BAD_RESULTS, ENDLESS, ENDLESS_MS
from tests.adversarial.sandbox.importing_names import IMPORT_ATTEMPTS
from tests.adversarial.sandbox.stage import Host, findings, hosts
from tools import limits
from tools.jail import process

pytestmark = [pytest.mark.xdist_group("sandbox"), pytest.mark.timeout(180)]
Findings = dict[str, Any]


@pytest.fixture(params=hosts(), ids=lambda host: host.name)
def host(request: pytest.FixtureRequest) -> Host:
    asked: Host = request.param
    return asked


@pytest.fixture
def found(host: Host) -> Findings:
    return findings(host)


def refused(found: Findings, *names: str) -> None:
    """Assert that attempts got nothing and touched nothing."""
    for name in names:
        outcome = found["attempts"][name]
        assert outcome["got"] in (None, [], False), (name, outcome)
        assert outcome["effects"] == [], (name, outcome)
        assert not outcome["leaked"], name
        assert outcome["answer"]["error"] is None, (name, outcome)


# ------------------------------------------------------------------------- reading


def test_it_cannot_read_the_brokers_environment(found):
    refused(found, "read_brokers_environment", "read_brokers_memory_map")


def test_it_cannot_read_a_file_of_its_own_user(found):
    refused(found, "read_canary_file", "list_home")


def test_it_cannot_read_accounts_or_list_processes(found):
    refused(found, "read_accounts", "list_processes")


def test_it_cannot_read_or_trace_the_zygote(found):
    refused(found, "read_zygotes_memory", "read_zygote_through_proc", "trace_zygote")


def test_it_cannot_take_a_descriptor_of_the_broker(found):
    refused(found, "take_brokers_descriptor")


# ------------------------------------------------------------------------- reaching


def test_it_cannot_connect_to_a_loopback_port(found):
    refused(found, "connect_loopback")


def test_it_cannot_send_a_datagram_or_resolve_a_name(found):
    refused(found, "send_datagram", "resolve_a_name")


def test_it_cannot_connect_to_a_socket_in_a_file_or_an_abstract_one(found):
    refused(found, "connect_socket_file", "connect_abstract_socket")


def test_it_cannot_open_a_second_connection_to_the_edge(found):
    refused(found, "connect_edge_again")


def test_it_cannot_open_any_other_kind_of_socket(found):
    refused(found, "open_other_sockets")


def test_it_cannot_pass_a_descriptor_to_the_edge_or_take_its_process(found):
    refused(found, "pass_a_descriptor_to_the_edge", "take_the_edges_process")


# ------------------------------------------------------------------ other processes


def test_it_cannot_kill_the_zygote(found):
    refused(found, "kill_zygote")


def test_it_cannot_signal_the_broker_or_everybody(found):
    refused(found, "signal_broker", "signal_everybody")


def test_it_cannot_bomb_with_forks_or_threads(found):
    refused(found, "bomb_with_forks", "bomb_with_threads")


def test_it_cannot_take_memory_without_end(found):
    refused(found, "take_memory", "grow_slowly")


def test_it_cannot_start_a_program(found):
    refused(found, "start_a_program", "start_python", "start_from_memory")


# --------------------------------------------------------------------- other calls


def test_it_cannot_kill_another_call_of_its_own_or_another_connector(found):
    refused(found, "kill_another_call", "kill_another_call_by_its_descriptor")


def test_it_cannot_trace_or_read_another_call_of_its_own_or_another_connector(found):
    refused(
        found,
        *("trace_another_call", "read_another_calls_memory"),
        "read_another_call_through_proc",
    )


def test_it_cannot_reach_another_call_or_take_its_connection_to_the_edge(found):
    refused(found, "connect_to_another_call", "take_another_calls_connection")


# -------------------------------------------------------------------------- writing


def test_it_cannot_write_a_file_anywhere(found):
    refused(found, "write_a_file", "write_shared_memory", "make_a_folder")


def test_it_cannot_change_its_own_code(found):
    refused(found, "write_own_code", "write_bytecode")


def test_it_cannot_link_to_files(found):
    refused(found, "make_a_symlink", "make_a_hard_link")


def test_it_cannot_delete_truncate_rename_or_open_up_a_file(found):
    refused(
        found,
        *("delete_a_file", "truncate_while_opening", "truncate_by_path"),
        *("rename_a_file", "change_a_mode"),
    )


def test_it_cannot_reach_a_terminal(found):
    refused(found, "open_a_terminal", "push_into_a_terminal")


# ------------------------------------------------------------------ leaving the jail


def test_it_cannot_enter_or_leave_a_namespace(found):
    refused(
        found,
        *("enter_a_user_namespace", "leave_the_network_namespace"),
        "join_the_brokers_namespace",
    )


def test_it_cannot_mount_change_the_root_or_become_somebody_else(found):
    refused(found, "mount_something", "change_the_root", "become_somebody_else")


def test_it_cannot_use_io_rings(found):
    refused(found, "use_io_rings")


def test_it_cannot_use_the_kernels_keyring(found):
    refused(found, "store_a_key", "read_the_keyring")


def test_it_cannot_load_programs_count_events_or_handle_faults_in_the_kernel(found):
    refused(found, "load_a_kernel_program", "count_kernel_events", "handle_page_faults")


def test_it_cannot_become_dumpable_or_change_its_limits(found):
    refused(found, "become_dumpable", "raise_limits")


def test_every_attempt_that_there_is_was_refused(found):
    assert {*found["attempts"]} == {*ATTEMPTS}
    refused(found, *ATTEMPTS)


# -------------------------------------------------------------- inside, and afterwards


def test_it_finds_an_empty_environment(found):
    assert found["find_environment"] == {"names": [], "arguments": []}


def test_it_finds_exactly_five_descriptors(found):
    assert found["find_descriptors"] == {"open": [0, 1, 2, 3, 4]}


def test_it_finds_hard_limits(found):
    wanted = {
        "AS": process.MEMORY_BYTES_MAX,
        "CPU": process.CPU_S_MAX,
        "FSIZE": 0,
        "CORE": 0,
        "NOFILE": process.DESCRIPTORS_MAX,
        "NPROC": 0,
    }
    assert found["find_limits"] == {name: [most] * 2 for name, most in wanted.items()}


def test_nothing_is_kept_for_the_next_call(found):
    assert found["kept"] == [[], [], []]


def test_importing_gets_no_further_than_calling(found):
    for connector in ("importing", "preloading"):
        outcomes = found[connector]
        assert {*outcomes} == IMPORT_ATTEMPTS
        assert all(word.startswith("refused") for word in outcomes.values()), outcomes
    assert found["import_effects"] == []


def test_a_call_without_end_is_killed_at_its_deadline(found):
    for name in ENDLESS:
        answer = found["mischief"][name]
        assert answer["error"]["code"] == "timeout", name
        assert ENDLESS_MS <= answer["ms"]["total"] < ENDLESS_MS + 1_000, name
        assert answer["receipt"], name


def test_a_flood_of_output_ends_the_call_and_takes_no_memory(found):
    answer = found["mischief"]["flood_output"]
    assert answer["error"]["code"] == "crashed"
    assert answer["receipt"]
    assert found["peak_kib"] < 100 * 1024


def test_a_flood_of_results_ends_the_call(found):
    answer = found["mischief"]["flood_result"]
    assert answer["error"] == {"code": "result_invalid", "detail": "too_big"}


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_a_result_that_is_not_one_strict_frame_is_refused(found, name):
    answer = found["mischief"]["bad_results"][name]
    assert answer["result"] is None
    assert answer["error"]["code"] in {"result_invalid", "crashed"}
    assert answer["receipt"]


def test_a_forged_frame_is_taken_at_its_longest_and_refused_one_byte_past_it(found):
    assert found["mischief"]["longest+0"]["error"] is None
    room = limits.RESULT_BYTES_MAX - len('{"result":{"a":""}}')
    assert len(found["mischief"]["longest+0"]["result"]["a"]) == room
    assert found["mischief"]["longest+1"]["error"]["detail"] == "too_big"


def test_another_machines_interface_kills_the_call(found):
    assert found["mischief"]["use_another_interface"]["error"] == {
        "code": "crashed",
        "detail": "signal 31",
    }


def test_a_crash_within_a_request_still_has_a_receipt(found):
    answer = found["mischief"]["overwhelm_edge"]
    assert answer["error"] == {"code": "crashed", "detail": "signal 11"}
    assert answer["receipt"]


def test_the_runner_serves_on_after_all_of_it(found):
    assert found["still_serves"] is True


def test_a_container_without_namespaces_gets_the_standard_posture(host, found):
    assert found["posture"] == ("standard" if host.container else host.sandbox)

"""A posture is what was wished for or nothing, whatever the host would rather offer."""

from __future__ import annotations

import os

import pytest

from tests.adversarial.sandbox.harness import ATTEMPTS
from tests.adversarial.sandbox.stage import Host, findings

pytestmark = [pytest.mark.xdist_group("sandbox"), pytest.mark.timeout(180)]

# What a pod's own files and its /proc show, where the kernel has no Landlock: the pod
# must hold nothing else.
OPEN_IN_A_POD = {
    *("read_canary_file", "read_accounts", "list_home", "list_processes"),
    *("read_brokers_environment", "read_brokers_memory_map", "resolve_a_name"),
}
USER = os.getuid()
POD = Host(
    USER, container=True, pod=True, sandbox="external", importing=False, mischief=False
)


def test_in_a_pod_without_landlock_external_is_accepted_once_it_is_asked_for():
    found = findings(POD)
    assert found["posture"] == "external"
    assert all(word.startswith("refused") for word in found["outside"].values())


@pytest.mark.parametrize("name", [n for n in ATTEMPTS if n not in OPEN_IN_A_POD])
def test_in_a_pod_without_landlock_the_attempt_gets_nothing(name):
    outcome = findings(POD)["attempts"][name]
    assert not outcome["succeeded"], outcome


def test_what_a_pod_leaves_open_is_what_it_holds():
    attempts = findings(POD)["attempts"]
    assert {n for n, one in attempts.items() if one["succeeded"]} <= OPEN_IN_A_POD


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        (Host(USER, container=True, sandbox="strict"), "namespaces"),
        (Host(USER, container=True, landlock=False, sandbox="external"), "see_others"),
        (Host(USER, pod=True, landlock=False, sandbox="external"), "use_rings"),
    ],
    ids=["strict without namespaces", "external without a pod", "without a filter"],
)
def test_what_cannot_be_had_is_refused_and_nothing_less_is_taken(host, problem):
    found = findings(host)
    assert problem in found["refused"]

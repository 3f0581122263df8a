"""What a runner says of its sandbox is read whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.canonical import canonical
from broker.core.transparency.entry_leaf import LEAF_BYTES_MAX
from broker.core.warrants.sandbox import (
    ATTEMPTS_MAX,
    CGROUPS,
    LANDLOCK_ABI_MAX,
    POSTURES,
    ZYGOTES_MAX,
    SandboxError,
    read_sandbox,
    sandbox_detail,
)


def report(**changes: Any) -> dict[str, Any]:
    return {
        "posture": "strict",
        "layers": ["landlock", "seccomp"],
        "landlock_abi": 6,
        "attempts": {
            "retail": {"read_file": "refused: EACCES", "fork": "refused: EPERM"},
            "stripe": {"fork": "refused: EPERM", "read_file": "refused: EACCES"},
            "webhook": {"read_file": "open"},
        },
        "outside": {"see_others": "refused: EPERM"},
        "cgroup": "none",
        **changes,
    }


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


@pytest.mark.parametrize("posture", sorted(POSTURES))
def test_each_posture_is_read_and_only_one_of_them_is_switched_off(posture):
    found = read_sandbox(report(posture=posture))
    assert found.posture == posture
    assert found.switched_off == (posture == "off")
    assert sandbox_detail(found)["switched_off"] == (posture == "off")


@pytest.mark.parametrize("word", sorted(CGROUPS))
def test_an_entry_says_whether_a_connector_is_limited_as_a_whole(word):
    assert sandbox_detail(read_sandbox(report(cgroup=word)))["cgroup"] == word


def test_an_entry_says_who_said_it_and_joins_zygotes_of_the_same_outcomes():
    detail = sandbox_detail(read_sandbox(report()))
    assert detail["grade"] == "attested"
    assert detail["landlock_abi"] == 6
    assert detail["outside"] == {"see_others": "refused: EPERM"}
    both = {"fork": "refused: EPERM", "read_file": "refused: EACCES"}
    assert detail["attempts"] == [
        {"zygotes": ["retail", "stripe"], "outcomes": both},
        {"zygotes": ["webhook"], "outcomes": {"read_file": "open"}},
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"posture": "none"},
        {"posture": 1},
        {"layers": "seccomp"},
        {"layers": ["a b"]},
        {"landlock_abi": "6"},
        {"cgroup": "perhaps"},
        {"cgroup": None},
        {"landlock_abi": -1},
        {"landlock_abi": LANDLOCK_ABI_MAX + 1},
        {"attempts": {"retail": "fine"}},
        {"attempts": {"retail": {"read_file": 1}}},
        {"attempts": {"retail": {"read_file": "x" * 65}}},
        {"attempts": {"retail": {"read_file": "a\nb"}}},
        {"attempts": {"re tail": {}}},
        {"outside": []},
    ],
)
def test_anything_else_is_refused(changes):
    with pytest.raises(SandboxError):
        read_sandbox(report(**changes))


@pytest.mark.parametrize("missing", [*report()])
def test_a_report_that_lacks_something_is_refused(missing):
    said = report()
    del said[missing]
    with pytest.raises(SandboxError):
        read_sandbox(said)
    with pytest.raises(SandboxError):
        read_sandbox(None)


def test_a_report_is_taken_at_its_limits_and_refused_past_them():
    most = dict.fromkeys(names(ATTEMPTS_MAX), "open")
    more = dict.fromkeys(names(ATTEMPTS_MAX + 1), "open")
    assert read_sandbox(report(attempts={"retail": most}, outside=most)).outside == most
    newest = report(landlock_abi=LANDLOCK_ABI_MAX)
    assert read_sandbox(newest).landlock_abi == LANDLOCK_ABI_MAX
    zygotes = dict.fromkeys(names(ZYGOTES_MAX), most)
    assert len(read_sandbox(report(attempts=zygotes)).attempts) == ZYGOTES_MAX
    for changes in (
        {"attempts": {"retail": more}},
        {"outside": more},
        {"layers": names(ATTEMPTS_MAX + 1)},
        {"attempts": dict.fromkeys(names(ZYGOTES_MAX + 1), most)},
    ):
        with pytest.raises(SandboxError):
            read_sandbox(report(**changes))


def test_the_largest_report_of_like_zygotes_fits_into_an_entry():
    most = dict.fromkeys((name * 20 for name in names(ATTEMPTS_MAX)), "refused: EPERM")
    zygotes = dict.fromkeys((name * 12 for name in names(ZYGOTES_MAX)), most)
    detail = sandbox_detail(read_sandbox(report(attempts=zygotes, outside=most)))
    assert len(canonical(detail)) < LEAF_BYTES_MAX / 2

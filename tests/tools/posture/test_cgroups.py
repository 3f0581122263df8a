"""A connector is limited as a whole where that was tried, and otherwise it is said.

The files are those of a folder that stands for a group; only the last attempt, whether
limits limit, is made in the group that this host has, if it has one.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.cli.stack.machine.sandbox import Said, examine, told
from broker.core.warrants.sandbox import CGROUPS
from tests.tools.conftest import Rig
from tools import limits, settings
from tools.posture import cgroups
from tools.posture.cgroups import LIMITED, NONE, Groups, open_groups
from tools.zygote_link import CHECKOUT

ECHO = "def echo(call): return {}"
TOGETHER = {
    "pids.max": str(limits.GROUP_PIDS_MAX),
    "memory.max": str(limits.GROUP_MEMORY_BYTES_MAX),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with what the kernel shows in a group that was handed over."""
    made = tmp_path / "delegated"
    made.mkdir()
    (made / "cgroup.controllers").write_text("cpu memory pids\n")
    return made


@pytest.fixture
def believed(monkeypatch) -> None:
    """Believe that limits hold: in a folder that stands for a group they do not."""
    monkeypatch.setattr(cgroups, "limits_hold", lambda _: True)


def files(leaf: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in leaf.iterdir()}


def parent_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


def test_a_leaf_has_its_limits_and_the_process_in_it(root):
    groups = open_groups(root, prove=lambda _: True)
    assert groups.word == LIMITED
    assert (root / "cgroup.subtree_control").read_text() == "+memory +pids"
    groups.join("shop", 4_711)
    groups.join("till", 4_712)
    assert files(root / "counterfoil-shop") == {**TOGETHER, "cgroup.procs": "4711"}
    assert files(root / "counterfoil-till") == {**TOGETHER, "cgroup.procs": "4712"}


def test_where_swap_is_counted_none_may_be_used(root):
    leaf = root / "counterfoil-shop"
    leaf.mkdir()
    (leaf / "memory.swap.max").write_text("max\n")
    open_groups(root, prove=lambda _: True).join("shop", 1)
    assert (leaf / "memory.swap.max").read_text() == "0"


def test_the_limits_of_a_connector_hold_all_of_its_calls():
    # The zygote, who waits for it, the calls at work, the one ahead, and a probe.
    assert limits.GROUP_PIDS_MAX > 2 + limits.CALLS_MAX + 2


@pytest.mark.parametrize("offered", ["", "cpu", "memory", "pids cpu", "hugetlb\n"])
def test_without_both_controllers_nothing_is_limited_or_written(root, offered):
    (root / "cgroup.controllers").write_text(offered)
    groups = open_groups(root, prove=lambda _: True)
    assert groups.word == NONE
    groups.join("shop", 1)
    assert [path.name for path in root.iterdir()] == ["cgroup.controllers"]


def test_a_group_that_is_not_there_or_is_read_only_limits_nothing(root, tmp_path):
    assert open_groups(tmp_path / "nowhere").word == NONE
    # A folder where a file should be is refused to root as well.
    (root / "cgroup.subtree_control").mkdir()
    assert open_groups(root, prove=lambda _: True).word == NONE


def test_a_group_that_takes_every_order_and_limits_nothing_is_not_believed(root):
    # These are plain files: the trial forks, takes its memory, and lives.
    assert open_groups(root).word == NONE
    assert (root / "counterfoil-trial" / "pids.max").read_text() == "1"


def test_the_runner_steps_aside_from_a_group_that_it_is_in(root, monkeypatch):
    write = cgroups.write
    aside = root / "counterfoil-runner"

    def like_the_kernel(path: Path, value: object) -> None:
        if path == root / "cgroup.subtree_control" and not aside.exists():
            raise OSError(errno.EBUSY, "processes are in it")
        write(path, value)

    monkeypatch.setattr(cgroups, "write", like_the_kernel)
    assert open_groups(root, prove=lambda _: True).word == LIMITED
    assert files(aside) == {"cgroup.procs": str(os.getpid())}


def test_the_runner_goes_back_to_a_group_that_others_are_in_as_well(root, monkeypatch):
    moves = []

    def like_the_kernel(path: Path, value: object) -> None:
        if path == root / "cgroup.subtree_control":
            raise OSError(errno.EBUSY, "processes are in it")
        moves.append((path.parent.name, value))

    monkeypatch.setattr(cgroups, "write", like_the_kernel)
    assert open_groups(root, prove=lambda _: True).word == NONE
    me = os.getpid()
    assert moves == [("counterfoil-runner", me), ("delegated", me)]
    assert not (root / "counterfoil-runner").exists()


def test_limits_that_are_lost_later_are_not_claimed_any_more(root, caplog):
    groups = open_groups(root, prove=lambda _: True)
    (root / "counterfoil-shop").write_text("no folder can be made here")
    groups.join("shop", 1)
    assert groups.word == NONE
    assert "cgroup of shop" in caplog.text


async def test_every_zygote_is_in_its_leaf_before_it_forks(rig: Rig, root, believed):
    rig.settings = replace(rig.settings, cgroup=root)
    await rig.start(ECHO, echo={})
    answer = await rig.client.ask({"op": "sandbox"})
    assert answer["sandbox"]["cgroup"] == LIMITED
    leaf = files(root / "counterfoil-shop")
    launched = int(leaf.pop("cgroup.procs"))
    assert leaf == TOGETHER
    zygote = rig.dispatcher.zygotes()["shop"]
    # With namespaces the process that was started only waits for the zygote.
    assert launched in {zygote, parent_of(zygote)}
    assert (await rig.call("shop.echo"))["error"] is None


async def test_a_host_without_a_group_says_none_and_the_runner_serves(rig: Rig, root):
    (root / "cgroup.controllers").write_text("hugetlb\n")
    rig.settings = replace(rig.settings, cgroup=root)
    await rig.start(ECHO, echo={}, pay={"entry": "echo", "effect": "money"})
    assert (await rig.client.ask({"op": "sandbox"}))["sandbox"]["cgroup"] == NONE
    assert (await rig.call("shop.pay"))["error"] is None


def test_the_doctor_and_status_say_it_in_one_word(tmp_path):
    environment = {
        "PYTHONPATH": str(CHECKOUT),
        "COUNTERFOIL_CGROUP": str(tmp_path / "nowhere"),
    }
    assert next(examine(environment)).found.endswith("; cgroup none")
    off = next(examine({**environment, "COUNTERFOIL_SANDBOX": "off"}))
    assert off.found.endswith("; cgroup none")
    plain: dict[str, Any] = {"layers": (), "attempts": {}, "outside": {}}
    said = Said("strict", landlock_abi=6, cgroup=LIMITED, **plain)
    assert told(said).found.endswith("; cgroup limited")


def test_the_words_are_those_that_the_broker_takes(monkeypatch):
    assert {LIMITED, NONE} == CGROUPS
    assert Groups().word == NONE
    monkeypatch.setenv("COUNTERFOIL_CGROUP", "/sys/fs/cgroup/x")
    assert settings.read_cgroup() == Path("/sys/fs/cgroup/x")
    monkeypatch.setenv("COUNTERFOIL_CGROUP", "")
    assert settings.read_cgroup() is None


def test_on_this_host_what_is_claimed_was_tried():
    own = cgroups.own_group()
    groups = open_groups()
    try:
        if groups.word == LIMITED:
            assert own is not None
            assert cgroups.limits_hold(own)
        else:
            assert own is None or not _divisible(own)
    finally:
        groups.close()


def _divisible(own: Path) -> bool:
    """Say whether a group could be divided, as far as that can be seen."""
    try:
        offered = {*(own / "cgroup.controllers").read_text().split()}
        inside = {*(own / "cgroup.procs").read_text().split()}
    except OSError:
        return False
    return offered >= {"memory", "pids"} and inside == {str(os.getpid())}

"""One command starts the stack, says what it does, and stops what it started."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from broker.cli.operate import DOWN_S_MAX
from broker.cli.stack import environment
from broker.cli.stack.launch.guardian import children
from broker.cli.stack.planning.plan import MIGRATE_S_MAX, REPLICAS_MAX
from broker.cli.stack.state import is_done, open_state, running_pid
from broker.cli.stack.up import FIRST_CALLS
from tests.cli import tree
from tests.support.parts import end, until

pytestmark = pytest.mark.xdist_group("stack")

# ------------------------------------------------------------------ a stack that runs


def test_every_part_is_ready_when_up_returns(running) -> None:
    status = json.loads(running.run("status", "--json").stdout)
    assert status["ready"]
    assert {row["part"]: row["state"] for row in status["rows"]} == {
        "postgres": "ready",
        "valkey": "ready",
        "temporal": "ready",
        "roles": "done",
        "migrate": "done",
        "democrm": "ready",
        "signer": "ready",
        "edge": "ready",
        "runner": "ready",
        "broker-0": "ready",
        "broker-1": "ready",
        "worker-0": "ready",
        "worker-1": "ready",
        "supervisor": "ready",
    }
    assert status["issuer"] == status["brokers"][0]
    assert len(set(status["brokers"])) == 2


def test_memory_is_told_per_part_and_together(running) -> None:
    status = json.loads(running.run("status", "--json").stdout)
    told = {row["part"]: row["pss_kib"] for row in status["rows"] if row["pid"]}
    assert all(kib > 500 for kib in told.values()), told
    assert status["pss_kib"] == sum(told.values())
    assert told["temporal"] > 50 * 1024, "with its server, not the proxy alone"


def test_the_first_calls_are_made_once_everything_is_ready(running) -> None:
    kinds = [event["event"] for event in running.first_events]
    (up,) = [event for event in running.first_events if event["event"] == "up"]
    said = running.first_events[-1]
    assert said == {"event": "said", "text": f"read an order at {up['issuer']}"}
    assert kinds.index("up") < kinds.index("said")


def test_a_second_up_says_so_and_disturbs_nothing(running) -> None:
    before = running.pids()
    done = running.run("up", "--detach")
    assert done.returncode == 1
    assert (
        f"already running here as process {running_pid(running.state)}" in done.stderr
    )
    foreground = running.run("up", "--json")
    assert foreground.returncode == 1
    assert "already running" in tree.events(foreground.stdout)[0]["error"]
    assert running.pids() == before


def test_a_confined_part_reads_its_own_folder_and_nobody_elses(running) -> None:
    tried = running.said("broker-0", "tried")[-1]
    assert json.loads(tried) == {
        "edge/secret": "PermissionError",
        "signer/secret": "PermissionError",
        "postgres/admin.password": "PermissionError",
        "clients": "PermissionError",
        "migrate/database.password": "PermissionError",
        "worker/temporal.password": "PermissionError",
        "broker/database.password": "read",
        "logs": "PermissionError",
        "stack.json": "PermissionError",
        "state.json": "read",
    }
    for part in ("worker-0", "runner", "edge", "signer", "democrm"):
        tried = json.loads(running.said(part, "tried")[0])
        assert tried["broker/database.password"] == "PermissionError", part
        assert tried["postgres/admin.password"] == "PermissionError", part


def test_no_secret_stands_in_an_environment_or_on_a_command_line(running) -> None:
    secrets = [
        path.read_text().strip()
        for path in running.state.rglob("*.password")
        if path.is_file()
    ] + [(running.state / "democrm" / "credential").read_text().strip()]
    assert len(secrets) > 6
    assert all(len(secret) > 20 for secret in secrets)
    for pid in running.processes():
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace")
            assert not any(secret in text for secret in secrets), (pid, name)
    for log in (running.state / "logs").iterdir():
        assert not any(secret in log.read_text() for secret in secrets), log


def test_every_part_is_told_what_the_list_of_variables_says(running) -> None:
    described = set(re.findall(r"COUNTERFOIL_[A-Z_]+", environment.__doc__ or ""))
    for part in ("broker-1", "worker-0", "runner", "edge", "signer", "democrm"):
        told = json.loads(running.said(part, "environment")[0])
        ours = {name for name in told if name.startswith("COUNTERFOIL_")}
        assert ours <= described, part
        assert told["COUNTERFOIL_PART"] == part
        assert told["COUNTERFOIL_STATE"] == str(running.state)
        assert told["TMPDIR"].startswith(str(running.state))
    worker = json.loads(running.said("worker-0", "environment")[0])
    assert not any("DATABASE" in name or "REDIS" in name for name in worker)
    runner = json.loads(running.said("runner", "environment")[0])
    assert not any("PASSWORD" in name or "CREDENTIAL" in name for name in runner)
    edge = json.loads(running.said("edge", "environment")[0])
    assert "//cf_edge@" in edge["COUNTERFOIL_DATABASE_URL"]
    broker = json.loads(running.said("broker-1", "environment")[0])
    assert "//cf_broker@" in broker["COUNTERFOIL_DATABASE_URL"]
    assert broker["COUNTERFOIL_REPLICA"] == "1"
    assert (
        broker["COUNTERFOIL_ISSUER"] == broker["COUNTERFOIL_BROKER_URLS"].split(",")[0]
    )


def test_everything_is_open_to_its_owner_alone(running) -> None:
    for path in running.state.rglob("*"):
        # PostgreSQL and Temporal keep their own folders, inside closed ones.
        inside = {"data", "temporal", "import"} & {
            one.name for one in path.relative_to(running.state).parents
        }
        if not path.is_symlink() and not inside:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode & 0o077 == 0, (path, oct(mode))


def test_nothing_listens_beyond_loopback(running) -> None:
    inodes = set()
    for pid in running.processes():
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(fd.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.append(fields[1].partition(":")[0])
    # Two brokers and the CRM, on 127.0.0.1; Temporal is in a network of its own.
    assert found == ["0100007F"] * 3


def test_logs_are_shown_by_part(running) -> None:
    assert "worker-1" in running.run("logs").stdout.splitlines()
    done = running.run("logs", "migrate")
    assert done.returncode == 0
    assert "migrated as postgresql://counterfoil@" in done.stdout
    lines = tree.events(running.run("logs", "migrate", "--json", "-n", "1").stdout)
    assert [line["part"] for line in lines] == ["migrate"]
    missing = running.run("logs", "nobody")
    assert missing.returncode == 3
    assert "broker-0" in missing.stderr


def test_a_log_is_followed_as_it_is_written(running) -> None:
    path = running.state / "logs" / "followed.log"
    path.touch(mode=0o600)
    path.write_text("what was there\n")
    with running.started("logs", "-f", "followed") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "what was there\n"
        with path.open("a") as log:
            log.write("half a line, ")
            log.flush()
            time.sleep(0.3)
            log.write("and the rest\n")
        assert following.stdout.readline() == "half a line, and the rest\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0


def test_all_logs_are_followed_by_part_also_one_that_begins_later(running) -> None:
    logs = running.state / "logs"
    with running.started("logs", "-f") as following:
        assert following.stdout is not None
        assert " | " in following.stdout.readline()
        (logs / "later.log").touch(mode=0o600)
        (logs / "later.log").write_text("it began\n")
        for line in following.stdout:
            name, _, text = line.partition(" | ")
            if name.strip() == "later":
                break
        assert text == "it began\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(5) == 0


def test_where_nothing_ran_there_are_no_logs_and_that_is_said(stack) -> None:
    for words in ((), ("-f",), ("broker-0",)):
        done = stack.run("logs", *words)
        assert (done.returncode, done.stdout) == (3, "")
        assert "has no logs" in done.stderr
        assert "counterfoil up" in done.stderr


def test_every_part_that_is_killed_recovers_by_itself(running) -> None:
    for part, pid in running.pids().items():
        before = running.pids()
        os.kill(pid, signal.SIGKILL)
        assert until(partial(has_recovered, running, part, pid), within_s=20), part
        after = running.pids()
        assert before.keys() == after.keys()
        assert {one for one in before if before[one] != after[one]} == {part}


def has_recovered(stack: tree.Stack, part: str, pid: int) -> bool:
    return stack.rows()[part].pid not in {0, pid} and stack.well()


def test_temporals_own_process_recovers_too(running) -> None:
    before = running.pids()["temporal"]
    (server,) = children(before)
    os.kill(server, signal.SIGKILL)
    recovered = partial(has_recovered, running, "temporal", before)
    assert until(recovered, within_s=20)


# ------------------------------------------------------------------- start and stop


def test_the_life_of_a_state_from_the_first_start_to_its_end(stack) -> None:
    first = stack.run("up", "--detach", "--json")
    assert first.returncode == 0
    assert '"said"' in first.stdout
    passwords = {path: path.read_text() for path in stack.state.rglob("*.password")}
    pids = stack.processes()

    down = stack.run("down", "--json")
    assert down.returncode == 0
    assert tree.events(down.stdout)[0]["took_s"] < DOWN_S_MAX
    assert tree.gone(pids)
    words = [
        stack.said(part, "stopped")
        for part in ("worker-0", "broker-0", "runner", "edge", "democrm")
    ]
    log = (stack.state / "logs" / "supervisor.log").read_text()
    assert all(words), (words, log)
    order = [float(word) for (word,) in words]
    assert order == sorted(order), "not in reverse order"
    for part in ("postgres", "valkey"):
        assert "shut" in (stack.state / "logs" / f"{part}.log").read_text().lower()

    with taken_port(8400) as owner:
        second = stack.run("up", "--detach")
    assert second.returncode == 0
    assert f"port 8400 is taken{owner}" in second.stderr
    assert not stack.rows()["broker-0"].address.endswith(":8400")
    assert "read an order" not in second.stderr, "the first calls were made again"
    assert passwords == {path: path.read_text() for path in passwords}

    pids = stack.processes()
    asked = stack.run("reset", "--json")
    assert asked.returncode == 2
    assert stack.state.exists()
    assert stack.run("reset", "--yes").returncode == 0
    assert not stack.state.exists()
    assert tree.gone(pids)
    assert stack.run("reset", "--yes").returncode == 3


@contextmanager
def taken_port(port: int):
    """Take a port, if it is not taken; say who has it as the command does."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", port))
            taken.listen()
        except OSError:
            yield ""  # Somebody else has it, which is as good.
        else:
            yield f" by process {os.getpid()}"


def test_first_calls_that_fail_are_said_and_made_again_the_next_time(stack) -> None:
    shy = open_state(stack.state).path / "clients" / "shy"
    shy.touch()
    with stack.started("up", "--json") as up:
        assert up.stdout is not None
        until_event(up.stdout, "said")
        note = json.loads(up.stdout.readline())
        assert note["event"] == "note"
        assert "the agent would rather not" in note["text"]
        assert until(stack.well)
        up.terminate()
        up.communicate(timeout=30)
    assert not is_done(open_state(stack.state), FIRST_CALLS)


def test_ctrl_c_stops_a_stack_in_the_foreground(stack) -> None:
    with stack.started("up", "--json", "--bare") as up:
        assert up.stdout is not None
        until_event(up.stdout, "up")
        pids = stack.processes()
        # As a terminal does: to the whole group.
        os.killpg(up.pid, signal.SIGINT)
        rest = tree.events(up.communicate(timeout=30)[0])
        assert up.returncode == 0
    assert rest[-1]["event"] == "down"
    assert tree.gone(pids)


def test_a_signal_while_it_starts_stops_it_too(stack) -> None:
    with stack.started("up", "--json") as up:
        assert up.stdout is not None
        until_event(up.stdout, "part")
        pids = stack.processes()
        up.send_signal(signal.SIGTERM)
        rest = tree.events(up.communicate(timeout=30)[0])
    assert rest[-1]["event"] == "down"
    assert not any(event["event"] == "up" for event in rest)
    assert tree.gone(pids)


def until_event(stream, kind: str) -> None:
    """Read JSON lines up to the first event of a kind."""
    while json.loads(stream.readline())["event"] != kind:
        pass


def test_kill_9_leaves_no_process_and_the_next_up_works(stack) -> None:
    for who in ("supervisor", "guardian", "both"):
        assert stack.run("up", "--detach", "--bare").returncode == 0
        guardian, supervisor, *parts = stack.processes()
        os.kill(guardian, signal.SIGSTOP)
        if who != "guardian":
            os.kill(supervisor, signal.SIGKILL)
        if who != "supervisor":
            os.kill(guardian, signal.SIGKILL)
        os.kill(guardian, signal.SIGCONT)
        left = {pid for pid in parts if who == "both" and "1000" in command_line(pid)}
        # What the runner's stand-in put into a session of its own is out of reach of
        # everything but the guardian or the supervisor.
        assert tree.gone([guardian, supervisor, *set(parts) - left]), who
        end(left)
    assert stack.run("up", "--detach", "--bare").returncode == 0


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_part_that_fails_is_named_with_the_end_of_its_log(stack) -> None:
    (open_state(stack.state).path / "clients" / "broken").touch()
    begun = time.monotonic()
    done = stack.run("up", "--detach", "--json")
    assert done.returncode == 1
    assert time.monotonic() - begun < MIGRATE_S_MAX
    failed = next(
        event for event in tree.events(done.stdout) if event["event"] == "failed"
    )
    assert "migrate" in failed["error"]
    assert "the tables are broken" in failed["log"]
    assert running_pid(stack.state) is None


def test_commands_on_a_stack_that_does_not_run_say_so(stack) -> None:
    assert stack.run("status").returncode == 6
    down = stack.run("down", "--json")
    assert down.returncode == 0
    assert not tree.events(down.stdout)[0]["was_running"]


@pytest.mark.parametrize("count", [0, REPLICAS_MAX + 1])
def test_a_number_of_replicas_out_of_bounds_is_a_usage_error(stack, count) -> None:
    done = stack.run("up", "--brokers", str(count))
    assert done.returncode == 2
    assert not stack.state.exists()

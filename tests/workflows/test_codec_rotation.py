"""The codec's key is rotated while approvals are open, and nothing stands in clear."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from broker.core.approvals.codec import CODEC_KEYS_MAX, CodecKeys
from broker.core.authorize import EXPIRES_S_MAX
from broker.effects.keyfiles import KeyFileError, write_secret
from broker.effects.temporal.keyfile import (
    CODEC_FILE,
    CodecFile,
    generate_codec_keys,
    load_codec_keys,
    rotate_codec_keys,
)
from tests.support.approvals.timekeeping import Stage, open_stage, until
from tests.support.approvals.voters import LARGE, approve, large_refund
from tests.support.flow.executor import CUSTOMER
from workflows.settings import CodecFile as WorkersFile

if TYPE_CHECKING:
    from pathlib import Path

    from broker.cli.stack.embedded import Access
    from tests.support.flow.house import House

NOW = datetime(2026, 5, 1, tzinfo=UTC)
LONG = timedelta(seconds=EXPIRES_S_MAX + 2 * 86_400)


def rotated(state: Path, *, now: datetime = NOW, only_known: bool = False) -> CodecKeys:
    """Rotate as somebody does who need not be asked twice."""
    return rotate_codec_keys(
        state, now=now, announce=lambda _kid: None, only_known=only_known
    )


def files(state: Path) -> tuple[Path, Path]:
    return state / "broker" / CODEC_FILE, state / "worker" / CODEC_FILE


async def kids_of(stage: Stage, approval_id: str) -> set[str]:
    """Return the names of the keys with which a run's payloads are sealed."""
    handle = stage.client.get_workflow_handle(approval_id)
    history = (await handle.fetch_history()).to_json()
    return set(re.findall(r'"kid": "([^"]*)"', history))


async def test_an_approval_that_is_open_while_the_key_is_rotated_is_settled_once(
    house: House, servers: Access, temporal_task_queue: str, tmp_path: Path
) -> None:
    generate_codec_keys(tmp_path)
    ours, theirs = files(tmp_path)
    async with open_stage(
        house, servers, temporal_task_queue, keys=CodecFile(ours)
    ) as stage:
        before, between = await large_refund(house), await large_refund(house, 6_000)
        stage.keys = WorkersFile(theirs)
        async with stage.everything():

            async def asked() -> bool:
                return len(stage.broker.calls) >= 2

            await until(asked)
            rotated(tmp_path, now=datetime.now(UTC))
            # The same processes go on, with the old payloads and the new key.
            await approve(house, "alice", before.approval_id)
            assert await stage.result(before.approval_id) == "done"
            after = await large_refund(house, 7_000)
        # A newer worker, which never had but the new file, takes over what is open.
        stage.keys = WorkersFile(theirs)
        async with stage.everything():
            for record in (between, after):
                await approve(house, "alice", record.approval_id)
                assert await stage.result(record.approval_id) == "done"
        assert len(await kids_of(stage, before.approval_id)) == 2
        assert len(await kids_of(stage, after.approval_id)) == 1
    assert sorted(house.executor.amounts()) == sorted([LARGE, 6_000, 7_000])


async def test_what_stands_in_temporals_lists_is_an_id_and_nothing_of_anybody(
    stage: Stage,
) -> None:
    record = await large_refund(stage.house)
    async with stage.everything():

        async def listed() -> bool:
            return bool([one async for one in stage.client.list_workflows(query)])

        query = f"WorkflowId = '{record.approval_id}'"
        await until(listed)
        [run] = [one async for one in stage.client.list_workflows(query)]
    assert run.id == record.approval_id
    assert run.workflow_type == "approval"
    own = {one.key.name for one in run.typed_search_attributes.search_attributes}
    assert {*run.search_attributes} | own <= {"BuildIds", "TemporalPauseInfo"}
    assert await run.memo() == {}
    said = run.raw_info.SerializeToString().decode("utf-8", "replace")
    for word in (CUSTOMER, "Noah", "Brown", "orders.refund", record.customer_ref):
        assert word not in said


def test_every_process_knows_a_new_key_before_the_first_one_seals_with_it(
    tmp_path: Path,
) -> None:
    [old] = generate_codec_keys(tmp_path).keys
    known = rotated(tmp_path, now=NOW, only_known=True).keys
    assert known[0] == old
    assert len(known) == 2
    newest = rotated(tmp_path, now=NOW).keys
    assert newest == (known[1], old)
    for path in files(tmp_path):
        assert load_codec_keys(path).keys == newest
        assert path.stat().st_mode & 0o077 == 0


def test_a_rotation_that_was_cut_short_goes_on_with_the_key_that_one_process_has(
    tmp_path: Path,
) -> None:
    generate_codec_keys(tmp_path)
    ours, theirs = files(tmp_path)
    alone = ours.read_bytes()
    known = rotated(tmp_path, now=NOW, only_known=True).keys
    write_secret(ours, alone)
    assert rotated(tmp_path, now=NOW).keys == (known[1], known[0])
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_key_is_dropped_only_once_no_approval_can_be_open_under_it(
    tmp_path: Path,
) -> None:
    generate_codec_keys(tmp_path)
    for _ in range(CODEC_KEYS_MAX - 1):
        ring = rotated(tmp_path, now=NOW).keys
    assert len(ring) == CODEC_KEYS_MAX
    with pytest.raises(KeyFileError, match="ring is full"):
        rotated(tmp_path, now=NOW + timedelta(days=29))
    later = rotated(tmp_path, now=NOW + LONG).keys
    assert len(later) == 2
    assert later[1] == ring[0]


def test_keys_that_cannot_be_read_any_more_stay_as_they_were(tmp_path: Path) -> None:
    generate_codec_keys(tmp_path)
    ours, theirs = files(tmp_path)
    sources = (CodecFile(ours), WorkersFile(theirs))
    before = [source() for source in sources]
    write_secret(ours, b"{}")
    theirs.unlink()
    assert [source() for source in sources] == before
    fresh = urlsafe_b64encode(b"n" * 32).rstrip(b"=").decode()
    for path in files(tmp_path):
        write_secret(path, json.dumps({"keys": [fresh]}).encode())
    assert all(source() != before[0] for source in sources)


def test_no_key_seals_before_somebody_has_it_in_the_log_that_it_does(
    tmp_path: Path,
) -> None:
    [old] = generate_codec_keys(tmp_path).keys
    ours, theirs = files(tmp_path)
    said = []

    def refused(kid: str) -> None:
        said.append(kid)
        for path in (ours, theirs):
            assert load_codec_keys(path).keys[0] == old
        msg = "the log cannot take it"
        raise OSError(msg)

    with pytest.raises(OSError, match="log"):
        rotate_codec_keys(tmp_path, now=NOW, announce=refused)
    assert load_codec_keys(ours).keys[0] == load_codec_keys(theirs).keys[0] == old
    assert rotated(tmp_path).keys[0].kid == said[0]


def test_of_two_rotations_at_once_one_is_refused_and_no_key_in_use_is_dropped(
    tmp_path: Path,
) -> None:
    [old] = generate_codec_keys(tmp_path).keys

    def another(_kid: str) -> None:
        with pytest.raises(KeyFileError, match="somebody else rotates"):
            rotated(tmp_path)

    newest = rotate_codec_keys(tmp_path, now=NOW, announce=another).keys
    assert newest[1:] == (old,)
    assert len(rotated(tmp_path).keys) == 3

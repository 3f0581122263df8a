"""What was answered is never lost: kill -9, a full disk, a second process."""

import random
import resource
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from infra.democrm.books.source import Catalogue
from infra.democrm.books.store import Store, StoreError
from tests.democrm import orders
from tests.support.crm import Crm, running_crm, spawn


def test_an_orderly_stop_ends_with_0_and_keeps_the_state() -> None:
    with running_crm() as crm:
        crm.refund(orders.PROCESSED, 100, orders.PROCESSED_METHOD)
        state, journal = crm.state(), crm.journal()
        assert crm.stop() == 0
        crm.start()
        assert (crm.state(), crm.journal()) == (state, journal)


def test_a_stop_does_not_wait_for_a_fault_to_end() -> None:
    with running_crm() as crm, ThreadPoolExecutor(max_workers=1) as pool:
        crm.fault("delay", delay_s=600)
        client, credential = httpx.Client(base_url=crm.url), crm.credential
        pending = pool.submit(
            client.get,
            f"/orders/{orders.PROCESSED}",
            headers={"Authorization": f"Bearer {credential}"},
        )
        while crm.control("GET", "/__faults").json()["faults"]:
            time.sleep(0.01)
        start = time.monotonic()
        assert crm.stop() == 0
        assert time.monotonic() - start < 8
        pending.exception(timeout=10)
        client.close()


def test_a_key_is_honoured_after_kill_9_and_faults_are_gone() -> None:
    with running_crm() as crm:
        first = crm.refund(orders.PROCESSED, 100, orders.PROCESSED_METHOD, key="k")
        crm.fault("error_500", times=None)
        crm.kill()
        crm.start()
        again = crm.refund(orders.PROCESSED, 100, orders.PROCESSED_METHOD, key="k")
        assert again.content == first.content
        assert again.headers["idempotent-replay"] == "true"
        assert len(crm.journal()) == 1


def test_kill_9_in_the_middle_loses_and_doubles_nothing() -> None:
    with running_crm() as crm:
        for round_ in range(3):
            answered = refund_until_killed(crm, prefix=f"r{round_}", after=5)
            crm.start()
            seen = [entry["reference"] for entry in crm.journal()]
            assert len(seen) == len(set(seen))
            assert answered <= set(seen)
            assert answered
            # Everything is asked once more, with the same keys; each is done once.
            for position in range(len(answered) + 8):
                reference = f"r{round_}-{position}"
                assert refund(crm, reference).status_code == 201
            seen = [entry["reference"] for entry in crm.journal()]
            assert len(seen) == len(set(seen))
            order = crm.order(orders.PENDING)
            assert order["refunded_minor_units"] == len(seen)


def refund(crm: Crm, reference: str) -> httpx.Response:
    return crm.refund(
        orders.PENDING, 1, orders.PENDING_METHOD, key=reference, reference=reference
    )


def refund_until_killed(crm: Crm, *, prefix: str, after: int) -> set[str]:
    """Refund from four threads; kill it after so many answers; return all answered."""
    url, credential = crm.url, crm.credential
    answers = threading.Semaphore(0)

    def work(first: int) -> set[str]:
        answered: set[str] = set()
        with httpx.Client(base_url=url, trust_env=False) as client:
            for position in range(first, 10_000, 4):
                reference = f"{prefix}-{position}"
                body = {
                    "amount_minor_units": 1,
                    "currency": "USD",
                    "payment_method_id": orders.PENDING_METHOD,
                    "reference": reference,
                }
                headers = {
                    "Authorization": f"Bearer {credential}",
                    "Idempotency-Key": reference,
                }
                try:
                    response = client.post(
                        f"/orders/{orders.PENDING}/refunds", json=body, headers=headers
                    )
                except httpx.TransportError:
                    return answered
                assert response.status_code == 201
                answered.add(reference)
                answers.release()
        return answered

    with ThreadPoolExecutor(max_workers=4) as pool:
        workers = [pool.submit(work, first) for first in range(4)]
        for _ in range(after):
            assert answers.acquire(timeout=30)
        crm.kill()
        return set().union(*(worker.result() for worker in workers))


def test_a_kill_during_the_first_load_leaves_nothing_half_loaded(crm: Crm) -> None:
    fresh = crm.state()
    chance = random.Random(7)
    with running_crm() as other:
        for _ in range(5):
            other.stop()
            for file in (other.folder / "state" / "democrm").iterdir():
                file.unlink()
            process = spawn(
                {
                    "COUNTERFOIL_STATE": str(other.folder / "state"),
                    "COUNTERFOIL_CRM_LISTEN": "127.0.0.1:0",
                    "COUNTERFOIL_CRM_CREDENTIAL_FILE": str(other.credential_file),
                }
            )
            time.sleep(chance.uniform(0.15, 0.4))
            process.kill()
            process.communicate()
            other.start()
            assert other.state() == fresh


def test_a_full_disk_is_503_and_nothing_is_done(crm: Crm) -> None:
    pid = crm.process.pid
    before = crm.state()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        response = crm.refund(orders.PROCESSED, 1, orders.PROCESSED_METHOD, key="k")
        assert response.status_code == 503
        assert response.json() == {"error": "unavailable"}
        assert crm.state() == before
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    response = crm.refund(orders.PROCESSED, 1, orders.PROCESSED_METHOD, key="k")
    assert response.status_code == 201
    assert len(crm.journal()) == 1


def test_a_second_process_on_the_same_state_is_refused() -> None:
    with running_crm() as crm:
        process = spawn(
            {
                "COUNTERFOIL_STATE": str(crm.folder / "state"),
                "COUNTERFOIL_CRM_LISTEN": "127.0.0.1:0",
                "COUNTERFOIL_CRM_CREDENTIAL_FILE": str(crm.credential_file),
            }
        )
        output, complaint = process.communicate(timeout=30)
        assert (process.returncode, output) == (1, "")
        assert "in use by another process" in complaint
        assert complaint.count("\n") == 1
        assert crm.get(f"/orders/{orders.PROCESSED}").status_code == 200


def test_a_damaged_state_is_refused_and_left_alone(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    path = tmp_path / "state.sqlite3"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(path, catalogue=lambda: catalogue)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_state_of_another_version_is_refused(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    path = tmp_path / "state.sqlite3"
    Store.open(path, catalogue=lambda: catalogue).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99"):
        Store.open(path, catalogue=lambda: catalogue)


def test_the_state_is_readable_by_its_owner_alone(crm: Crm) -> None:
    folder = crm.folder / "state" / "democrm"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.iterdir())
    assert files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}

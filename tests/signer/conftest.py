"""Signers in folders of their own, none of which outlives its test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.signer.files import Files
from tests.support.log.signer import SignerProcess


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "signer"


@pytest.fixture
def files(folder: Path) -> Iterator[Files]:
    opened = Files(folder)
    yield opened
    opened.close()


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[SignerProcess]:
    process = SignerProcess(tmp_path)
    yield process
    process.kill()

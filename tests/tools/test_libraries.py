"""A connector gets the libraries that its lock pins, and nobody else gets them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.fake_edge import write_catalog
from tests.tools.conftest import Rig
from tools import limits
from tools.libraries import LibrariesError, libraries_of

INSTALL = Path(__file__).parents[2] / "requirements" / "install"
VENV = Path(sys.prefix)
USES = """
    import os
    import lent
    def ask(call):
        return {"said": lent.said, "home": os.environ["HOME"], "names": [*os.environ]}
"""
PRIES = """
    def ask(call):
        found = {}
        try:
            import lent
            found["imported"] = lent.said
        except ImportError:
            pass
        try:
            with open(call.arguments["file"]) as file:
                found["read"] = file.read()
        except OSError as error:
            found["errno"] = error.errno
        return found
"""


def lock(connector: Path, text: str = "lent==1\n") -> str:
    """Write a connector's lock; return its hash."""
    connector.mkdir(parents=True, exist_ok=True)
    (connector / "requirements.txt").write_text(text, "utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def installed(root: Path, connector: str, stamp: str) -> Path:
    """Lay out what an installation leaves."""
    folder = root / connector
    folder.mkdir(parents=True)
    (folder / ".lock").write_text(stamp + "\n", "ascii")
    (folder / "lent.py").write_text("said = 'by the library'\n", "utf-8")
    return folder


def test_a_connector_without_a_lock_has_no_libraries(tmp_path):
    installed(tmp_path / "libraries", "shop", "")
    found = libraries_of(tmp_path / "catalog" / "shop", root=tmp_path / "libraries")
    assert found is None


def test_libraries_of_another_lock_or_of_none_are_refused(tmp_path):
    stamp = lock(tmp_path / "shop")
    root = tmp_path / "libraries"
    with pytest.raises(LibrariesError, match="connector:shop"):
        libraries_of(tmp_path / "shop", root=root)
    folder = installed(root, "shop", stamp)
    assert libraries_of(tmp_path / "shop", root=root) == folder
    lock(tmp_path / "shop", "lent==2\n")
    with pytest.raises(LibrariesError, match="connector:shop"):
        libraries_of(tmp_path / "shop", root=root)


def test_a_lock_is_read_at_its_longest_and_refused_one_byte_past_it(tmp_path):
    root = tmp_path / "libraries"
    text = "#" * limits.LOCK_BYTES_MAX
    installed(root, "shop", lock(tmp_path / "shop", text))
    assert libraries_of(tmp_path / "shop", root=root)
    lock(tmp_path / "shop", text + "#")
    with pytest.raises(LibrariesError, match="bytes"):
        libraries_of(tmp_path / "shop", root=root)


async def test_a_connector_imports_what_it_brings_and_another_cannot_even_read_it(
    rig: Rig,
):
    rig.use_libraries(rig.folder / "libraries")
    rig.write(USES, ask={})
    stamp = lock(rig.settings.catalog / "shop")
    folder = installed(rig.settings.libraries, "shop", stamp)
    write_catalog(
        rig.settings.catalog, rig.plain(PRIES), connector="other", tools={"ask": {}}
    )
    await rig.restart()
    answer = await rig.call("shop.ask")
    assert answer["result"] == {
        "said": "by the library",
        "home": "/nonexistent",
        "names": ["HOME"],
    }
    other = await rig.call("other.ask", file=str(folder / "lent.py"))
    assert other["result"] == {"errno": 13}


async def test_the_runner_does_not_start_without_them(rig: Rig):
    rig.use_libraries(rig.folder / "libraries")
    rig.write(USES, ask={})
    lock(rig.settings.catalog / "shop")
    with pytest.raises(LibrariesError, match="make up"):
        await rig.restart()
    assert not rig.settings.runner_socket.exists()


def test_what_is_installed_has_the_hash_of_the_lock(tmp_path):
    tree = tmp_path / "tree"
    (tree / "requirements").mkdir(parents=True)
    script = tree / "requirements" / "install"
    shutil.copy(INSTALL, script)
    wheel = tmp_path / "lent-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("lent.py", "said = 'by the library'\n")
        archive.writestr("lent-1.dist-info/METADATA", "Name: lent\nVersion: 1\n")
        archive.writestr("lent-1.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("lent-1.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "bin").symlink_to(VENV / "bin")
    command = [str(script), str(venv), "connector:shop"]
    connector = tree / "tools" / "catalog" / "shop"
    lock(connector, f"lent @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "lent" in refused.stderr
    assert not (venv / "libraries" / "shop").exists()
    lock(connector, f"lent @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    subprocess.run(command, capture_output=True, check=True)
    found = libraries_of(connector, root=venv / "libraries")
    assert found is not None
    assert (found / "lent.py").exists()

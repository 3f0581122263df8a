"""Pinned warrant keys: the present one and the next one, as their files are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.jws import sign
from broker.core.warrants.orders import warrant_claims
from broker.core.words.warrant import WARRANT_TYP
from broker.edge.pins import WarrantKeys
from broker.edge.warrants import RefusedError, examine
from broker.effects.keyfiles import publish_key
from broker.effects.keys import generate_keys
from broker.effects.replacing import files
from tests.edge.lab import ISSUER
from tests.edge.manifests import TOOLS
from tests.edge.test_warrants import GOOD, HERE, NOW
from tests.support.identities import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.jwk import PrivateKey


def accepted(pins: WarrantKeys, key: PrivateKey) -> bool:
    token = sign(warrant_claims(GOOD, issuer=ISSUER), key=key, typ=WARRANT_TYP)
    tools = {tool.digest: tool for tool in TOOLS.values()}
    try:
        examine(token, keys=pins, here=HERE, tools=tools, now=NOW)
    except RefusedError:
        return False
    return True


def test_warrants_of_both_keys_are_accepted_until_the_earlier_one_is_retired(
    tmp_path: Path,
) -> None:
    keys = generate_keys(tmp_path)
    pins = WarrantKeys(tmp_path / "public")
    earlier = keys.warrant
    assert accepted(pins, earlier)
    files.make_known(tmp_path, "warrant")
    assert accepted(pins, earlier)
    assert len(pins) == 2
    files.let_sign(tmp_path, "warrant")
    assert keys.warrant.kid != earlier.kid
    # Those that are under way go on, and so do those of the new one.
    assert accepted(pins, earlier)
    assert accepted(pins, keys.warrant)
    files.finish(tmp_path, "warrant")
    assert not accepted(pins, earlier)
    assert accepted(pins, keys.warrant)
    assert [*pins] == [keys.warrant.kid]
    # An edge that starts now pins the same.
    assert [*WarrantKeys(tmp_path / "public")] == [*pins]


def test_a_key_beside_the_two_is_not_pinned(tmp_path: Path) -> None:
    keys = generate_keys(tmp_path)
    pins = WarrantKeys(tmp_path / "public")
    thief = key_of("thief")
    for name in ("warrant-2026", "warrant-next-next", "entry-next", "thief"):
        publish_key(tmp_path / "public" / f"{name}.jwk", thief.public())
    assert not accepted(pins, thief)
    assert [*pins] == [keys.warrant.kid]


@pytest.mark.parametrize("text", ["", "{}", "no key"])
def test_a_file_that_is_spoilt_or_gone_leaves_the_pins_as_they_were(
    tmp_path: Path, text: str
) -> None:
    keys = generate_keys(tmp_path)
    pins = WarrantKeys(tmp_path / "public")
    path = tmp_path / "public" / "warrant.jwk"
    path.write_text(text)
    assert accepted(pins, keys.warrant)
    path.unlink()
    assert accepted(pins, keys.warrant)

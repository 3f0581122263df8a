"""How far a host confines is chosen, proved, said aloud, and never less than wished."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from typing import Any

import pytest

from broker.cli.stack.machine.doctor import Health
from broker.cli.stack.machine.sandbox import examine, of_runner
from tests.tools.conftest import Rig
from tools import settings
from tools.jail import landlock, probe
from tools.posture import outside, postures
from tools.posture.postures import NotConfinedError
from tools.zygote_link import CHECKOUT

ECHO = "def echo(call): return {}"
PAY: dict[str, Any] = {"entry": "echo", "effect": "money"}


def wish(rig: Rig, word: str) -> None:
    rig.settings = replace(rig.settings, sandbox=word)


async def sandbox(rig: Rig) -> dict[str, Any]:
    """Return what a broker is told."""
    answer = await rig.client.ask({"op": "hello", "nonce": "n"})
    found: dict[str, Any] = answer["sandbox"]
    return found


async def test_a_broker_is_told_posture_layers_and_the_outcome_of_each_attempt(
    rig: Rig,
):
    await rig.start(ECHO, echo={})
    found = await sandbox(rig)
    assert found["posture"] in {"strict", "standard"}
    assert found["layers"] == sorted(postures.POSTURES[found["posture"]])
    assert found["landlock_abi"] == landlock.abi() >= landlock.ABI_MIN
    assert {*found["attempts"]["shop"]} == {*probe.ATTEMPTS}
    answer = await rig.call("shop.echo")
    assert answer["posture"] == found["posture"]


async def test_the_standard_posture_can_be_asked_for(rig: Rig):
    wish(rig, "standard")
    await rig.start(ECHO, echo={}, pay=PAY)
    assert (await sandbox(rig))["posture"] == "standard"
    assert (await rig.call("shop.pay"))["error"] is None


async def test_switched_off_it_says_so_and_tier_3_never_reaches_the_edge(
    rig: Rig, caplog
):
    wish(rig, "off")
    with caplog.at_level(logging.WARNING):
        await rig.start(ECHO, echo={}, pay=PAY, reset={**PAY, "effect": "identity"})
    assert "NO SANDBOX" in caplog.text
    found = await sandbox(rig)
    assert (found["posture"], found["attempts"]) == ("off", {})
    for tool in ("shop.pay", "shop.reset"):
        answer = await rig.call(tool)
        assert answer["error"]["code"] == "not_confined"
        assert answer["receipt"] is None
    assert rig.edge.warrants == []
    answer = await rig.call("shop.echo")
    assert (answer["error"], answer["posture"]) == (None, "off")


async def test_external_is_refused_where_landlock_could_confine(rig: Rig):
    wish(rig, "external")
    with pytest.raises(NotConfinedError, match="auto"):
        await rig.start(ECHO, echo={})


async def test_external_is_refused_where_nothing_outside_confines(
    rig: Rig, monkeypatch
):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    wish(rig, "external")
    with pytest.raises(NotConfinedError, match="see_others"):
        await rig.start(ECHO, echo={})
    assert not rig.settings.runner_socket.exists()


async def test_without_landlock_nothing_but_an_explicit_wish_starts_the_runner(
    rig: Rig, monkeypatch
):
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    rig.write(ECHO, echo={})
    for word in ("auto", "strict", "standard"):
        wish(rig, word)
        with pytest.raises(NotConfinedError, match="COUNTERFOIL_SANDBOX=external"):
            await rig.restart()


def test_only_strict_and_standard_come_without_being_asked_for():
    assert postures.candidates("auto") == ("strict", "standard")
    for word in postures.POSTURES:
        assert postures.candidates(word) == (word,)


def test_what_each_posture_leaves_open_is_an_attempt_that_there_is():
    assert postures.LEFT_OPEN.keys() <= postures.POSTURES.keys() - {"strict"}
    assert "standard" not in postures.LEFT_OPEN
    for left in postures.LEFT_OPEN.values():
        assert left < probe.ATTEMPTS.keys()


def test_every_attempt_from_without_has_an_outcome_and_this_host_shows_others():
    found = outside.attempt_all(os.getpid())
    assert {*found} == {*outside.ATTEMPTS}
    assert found["see_others"] == "open"


def test_the_setting_takes_known_words_and_production_refuses_the_opt_out(monkeypatch):
    for name in ("RUNNER_SOCKET", "EDGE_SOCKET", "CATALOG"):
        monkeypatch.setenv(f"COUNTERFOIL_{name}", "/x")
    assert settings.read_settings().sandbox == "auto"
    assert ("auto", *postures.POSTURES) == settings.WISHES
    for word in settings.WISHES:
        monkeypatch.setenv("COUNTERFOIL_SANDBOX", word)
        assert settings.read_settings().sandbox == word
    monkeypatch.setenv("COUNTERFOIL_STAMP", "production")
    monkeypatch.setenv("COUNTERFOIL_SANDBOX", "off")
    with pytest.raises(settings.SettingsError, match="production"):
        settings.read_settings()
    monkeypatch.setenv("COUNTERFOIL_SANDBOX", "loose")
    with pytest.raises(settings.SettingsError, match="loose"):
        settings.read_settings()


async def test_whoever_looks_after_the_host_is_told_without_the_edge(rig: Rig):
    await rig.start(ECHO, echo={})
    rig.edge.path.unlink()
    said = await asyncio.to_thread(of_runner, rig.settings.runner_socket)
    assert said is not None
    assert said.posture == rig.dispatcher.report.posture
    assert said.attempts == rig.dispatcher.report.attempts
    assert of_runner(rig.folder / "nobody") is None


def test_the_doctor_shows_the_posture_and_each_attempt_of_this_host():
    findings = [*examine({"PYTHONPATH": str(CHECKOUT)})]
    assert findings[0].check == "sandbox"
    assert findings[0].health is Health.OK
    assert findings[0].found.startswith(("strict: ", "standard: "))
    shown = {one.check: one.found for one in findings[1:]}
    assert {*shown} == {f"attempt from inside: {name}" for name in probe.ATTEMPTS}
    assert all(found.startswith("refused: ") for found in shown.values())


def test_the_doctor_says_when_the_sandbox_is_switched_off_or_cannot_be():
    environment = {"PYTHONPATH": str(CHECKOUT)}
    (off,) = examine({**environment, "COUNTERFOIL_SANDBOX": "off"})
    assert (off.health, off.found[:3]) == (Health.WARNING, "OFF")
    (cannot,) = examine({**environment, "COUNTERFOIL_SANDBOX": "external"})
    assert (cannot.health, "Landlock" in cannot.hint) == (Health.FAILED, True)
    (wrong,) = examine({**environment, "COUNTERFOIL_SANDBOX": "loose"})
    assert (wrong.health, "loose" in wrong.hint) == (Health.FAILED, True)

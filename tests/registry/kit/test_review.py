"""A manifest that waits for a person loads nowhere: broker, edge or runner."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from broker.edge.catalogue import load_catalogue
from broker.effects.shelf import CatalogShelf
from broker.registry.review import (
    ACCEPTED_MAX,
    ANSWER_CHARS_MAX,
    QUESTION_CHARS_MAX,
    QUESTIONS_MAX,
    read_accepted,
    read_review,
    reviewed_digest,
)
from broker.registry.tools import ManifestError, parse_manifest
from tests.registry.kit.test_lint import read
from tools.manifests import CatalogError, load_catalog

QUESTION = {
    "id": "effect",
    "field": "tool.effect",
    "question": "A GET; does it change anything?",
    "answer": "No.",
}


def reviewed(*questions: dict[str, Any]) -> dict[str, Any]:
    return {
        **read(),
        "review": {"source": "api.yaml", "questions": [*(questions or (QUESTION,))]},
    }


def confirmed(data: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(data)
    made["review"]["confirmation"] = {
        "by": "carol",
        "at": "2026-11-26",
        "digest": reviewed_digest(data),
    }
    return made


def changed() -> dict[str, Any]:
    data = confirmed(reviewed())
    data["tool"]["timeout_s"] = 11
    return data


def answered_otherwise() -> dict[str, Any]:
    data = confirmed(reviewed())
    data["review"]["questions"][0]["answer"] = "Yes."
    return data


WAITING = [
    (reviewed({**QUESTION, "answer": " "}), "open"),
    (confirmed(reviewed({**QUESTION, "answer": ""})), "open"),
    (reviewed(), "nobody has confirmed"),
    (changed(), "changed after"),
    (answered_otherwise(), "changed after"),
]


def catalogue(folder: Path, data: dict[str, Any]) -> Path:
    (folder / "helpdesk").mkdir()
    (folder / "helpdesk" / "connector.py").write_text("def tickets_get(call): ...\n")
    text = tomlkit.dumps(data)
    (folder / "helpdesk" / "tickets.get.toml").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(("data", "why"), WAITING)
def test_what_waits_for_a_person_loads_in_no_process(tmp_path, data, why):
    where = catalogue(tmp_path, data)
    for load, error in (
        (CatalogShelf, ManifestError),
        (load_catalogue, ManifestError),
        (load_catalog, CatalogError),
    ):
        with pytest.raises(error, match=why) as refused:
            load(where)
        assert "tickets.get.toml" in str(refused.value)
        assert "counterfoil tools confirm" in str(refused.value)


def test_what_a_person_confirmed_loads_everywhere_with_one_digest(tmp_path):
    where = catalogue(tmp_path, confirmed(reviewed()))
    (by_broker,) = CatalogShelf(where).tools()
    (by_edge,) = load_catalogue(where).values()
    (by_runner,) = load_catalog(where).values()
    assert by_broker.digest == by_edge.digest == by_runner.digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", "text"),
        ("unknown", 1),
        ("questions", {}),
        ("questions", ["text"]),
        ("questions", [{**QUESTION, "extra": 1}]),
        ("questions", [{**QUESTION, "id": ""}]),
        ("questions", [{**QUESTION, "answer": 1}]),
        ("questions", [QUESTION, QUESTION]),
        ("confirmation", "carol"),
        ("confirmation", {"by": "carol"}),
        ("confirmation", {"by": "carol", "at": 1, "digest": "x"}),
    ],
)
def test_a_malformed_review_is_refused_by_every_process(tmp_path, path, value):
    data = reviewed()
    if path:
        data["review"][path] = value
    else:
        data["review"] = value
    with pytest.raises(ManifestError):
        parse_manifest(data, name="x")
    with pytest.raises(CatalogError):
        load_catalog(catalogue(tmp_path, data))


def test_a_manifest_without_review_has_none():
    assert read_review(read()) is None


def test_every_limit_of_a_review_holds_at_the_limit_and_one_past_it():
    def asked(**changes: str) -> dict[str, Any]:
        return reviewed({**QUESTION, **changes})

    def many(count: int) -> dict[str, Any]:
        return reviewed(*({**QUESTION, "id": f"q{number}"} for number in range(count)))

    for at_limit, past in (
        (many(QUESTIONS_MAX), many(QUESTIONS_MAX + 1)),
        (
            asked(question="x" * QUESTION_CHARS_MAX),
            asked(question="x" * (QUESTION_CHARS_MAX + 1)),
        ),
        (
            asked(answer="x" * ANSWER_CHARS_MAX),
            asked(answer="x" * (ANSWER_CHARS_MAX + 1)),
        ),
    ):
        assert read_review(at_limit) is not None
        with pytest.raises(ValueError, match=r"at most|1 to"):
            read_review(past)


def test_accepting_needs_a_reason_and_has_a_limit():
    def accepting(count: int) -> dict[str, Any]:
        one = {"finding": "f", "because": "b"}
        return {"accepted": [{**one, "finding": f"f{n}"} for n in range(count)]}

    assert len(read_accepted(accepting(ACCEPTED_MAX))) == ACCEPTED_MAX
    wrong: list[dict[str, Any]] = [
        accepting(ACCEPTED_MAX + 1),
        {"accepted": {}},
        {"accepted": [{"finding": "f"}]},
        {"accepted": [{"finding": "f", "because": " "}]},
    ]
    for bad in wrong:
        with pytest.raises(ValueError, match="accepted"):
            read_accepted(bad)

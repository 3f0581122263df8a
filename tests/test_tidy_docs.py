"""What the documentation claims about the source is true, and complete."""

from __future__ import annotations

import ast
import re

from broker.core.words import errors
from tests.support import source
from tests.support.run.controls import NO_TEST, read_catalogue, render, rows

STAGES = ("authenticate", "authorize", "limit", "guard", "approve", "execute", "record")
DOCS = source.TOP / "docs"
ADR_SECTIONS = (
    "Context",
    "Drivers",
    "Options",
    "Outcome",
    "Consequences",
    "How we will know it was wrong",
)
LINK = re.compile(r"\[[^]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
INDEX_ROW = re.compile(
    r"^\| \[(\d{4})\]\(([^)]+)\) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE
)


def headings(text: str, level: int) -> list[str]:
    """Return the headings of one level of a Markdown text, code blocks left out."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(rf"^{'#' * level} (.+)$", plain, flags=re.MULTILINE)


# ----------------------------------------------------------------------- the flow


def calls_by_function(module: ast.Module) -> dict[str, list[str]]:
    """Return each function of a module with what it calls of the module, in order."""
    functions = {
        node.name: node
        for node in module.body
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
    }
    calls: dict[str, list[str]] = {}
    for name, function in functions.items():
        found = [
            (node.lineno, node.col_offset, node.func.id)
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        own = [called for _, _, called in sorted(found) if called in functions]
        calls[name] = list(dict.fromkeys(own))
    return calls


def reached(calls: dict[str, list[str]], start: str) -> set[str]:
    """Return what a function calls, directly or through others of its module."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in calls[waiting.pop()]:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def stages_of(names: list[str]) -> list[str]:
    """Return the stages among function names, in the order given."""
    words = [name.removeprefix("_") for name in names]
    return [word for word in words if word in STAGES]


def test_the_flow_page_describes_the_seven_stages_in_order() -> None:
    text = (DOCS / "flow.md").read_text(encoding="utf-8")
    stages = [heading for heading in headings(text, 2) if heading[0].isdigit()]
    assert stages == [f"{number}. {stage}" for number, stage in enumerate(STAGES, 1)]


def test_the_flow_page_and_core_name_the_same_stages() -> None:
    modules = {path.stem for path in (source.TOP / "broker/core").glob("*.py")}
    assert [stage for stage in STAGES if stage not in modules] == []


def test_submit_and_settle_run_the_stages_in_the_order_of_the_flow_page() -> None:
    calls = calls_by_function(source.tree(source.TOP / "broker/flow.py"))
    assert stages_of([*calls]) == [*STAGES]
    assert stages_of(calls["submit"]) == [*STAGES[:5]]
    assert {"_execute", "_record"} <= reached(calls, "settle")
    assert "settle" in reached(calls, "submit")


def test_only_execute_reaches_the_executor_with_a_warrant() -> None:
    runs = [
        function.name
        for function in source.tree(source.TOP / "broker/flow.py").body
        if isinstance(function, ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node).endswith("executor.run")
    ]
    assert runs == ["_execute"]


def test_a_flow_out_of_order_is_seen() -> None:
    code = (
        "async def submit(a):\n"
        "    who = _limit(_authenticate(a))\n"
        "    return _authorize(who)\n"
        "def _authenticate(a): ...\n"
        "def _limit(a): ...\n"
        "def _authorize(a): return _limit(a)\n"
    )
    calls = calls_by_function(ast.parse(code))
    assert stages_of([*calls]) == ["authenticate", "limit", "authorize"]
    assert stages_of(calls["submit"]) == ["limit", "authenticate", "authorize"]
    assert reached(calls, "_authorize") == {"_limit"}


# --------------------------------------------------------------------- error codes


def error_codes() -> dict[str, type[errors.BrokerError]]:
    """Return code to class over the whole error tree.

    Raises:
        AssertionError: two classes share a code.
    """
    found: dict[str, type[errors.BrokerError]] = {}
    waiting: list[type[errors.BrokerError]] = [errors.BrokerError]
    while waiting:
        kind = waiting.pop()
        assert kind.code not in found, f"{kind.__name__} shares the code {kind.code}"
        found[kind.code] = kind
        waiting += kind.__subclasses__()
    return found


def test_every_error_code_has_a_section_and_every_section_an_error() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    sections = headings(text, 3)
    assert len(sections) == len({*sections})
    codes = {
        kind.code
        for kind in error_codes().values()
        if kind.__module__ == errors.__name__
    }
    assert {*sections} == codes


def test_the_error_page_states_each_status_and_title() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    for code, kind in error_codes().items():
        section = text.partition(f"\n### {code}\n")[2].partition("\n### ")[0]
        assert f"**{kind.status}**" in section, code
        assert kind.title in section, code


def test_the_error_tree_has_one_home() -> None:
    ours = {kind.__name__ for kind in error_codes().values()}
    strangers = [
        f"{source.shown(path)}:{node.lineno} {node.name}"
        for path in source.files("broker", pattern="*.py")
        if path != source.TOP / "broker/core/words/errors.py"
        for node in ast.walk(source.tree(path))
        if isinstance(node, ast.ClassDef)
        and ours & {base.id for base in node.bases if isinstance(base, ast.Name)}
    ]
    assert strangers == []


# ------------------------------------------------------------------------- records


def test_every_decision_record_is_in_the_index_and_has_its_sections() -> None:
    index = (DOCS / "adr/README.md").read_text(encoding="utf-8")
    listed = {
        name: (number, title.strip())
        for number, name, title, _ in INDEX_ROW.findall(index)
    }
    files = {path.name: path for path in (DOCS / "adr").glob("[0-9]*.md")}
    assert files
    assert {*listed} == {*files}
    numbers = sorted(int(number) for number, _ in listed.values())
    assert numbers == [*range(1, len(files) + 1)]
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        number, title = listed[name]
        assert name.startswith(f"{number}-")
        assert text.splitlines()[0] == f"# {number}. {title}"
        assert headings(text, 2) == [*ADR_SECTIONS], name
        assert re.search(
            r"^- Status: (accepted|superseded by \d{4})$", text, re.MULTILINE
        ), name
        assert re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE), name
        assert "because" in text.partition("\n## Outcome\n")[2].partition("\n## ")[0], (
            name
        )


def test_every_link_between_our_pages_leads_somewhere() -> None:
    pages = [source.TOP / "README.md", *sorted(DOCS.rglob("*.md"))]
    dead = [
        f"{source.shown(page)} -> {target}"
        for page in pages
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def test_the_readme_gives_two_commands_that_the_makefile_has() -> None:
    makefile = (source.TOP / "Makefile").read_text(encoding="utf-8")
    targets = {*re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    readme = (source.TOP / "README.md").read_text(encoding="utf-8")
    named = {*re.findall(r"\bmake ([a-z-]+)", readme)}
    assert {"up", "test"} <= named
    assert named <= targets


# ------------------------------------------------------------------------ controls


def test_the_catalogue_of_controls_has_unique_numbers_and_titles() -> None:
    catalogue = read_catalogue()
    text = (DOCS / "controls.toml").read_text(encoding="utf-8")
    assert len(catalogue) == text.count("{ id = ")
    assert len({*catalogue.values()}) == len(catalogue)
    assert all(catalogue.values())


def test_the_table_of_controls_shows_each_test_and_what_has_none() -> None:
    shown = {"6.4": {"tests/b.py::two": "failed", "tests/a.py::one": "passed"}}
    table = rows({"6.3": "People", "6.4": "Limits"}, shown)
    assert table == [
        ("6.3", "People", "-", NO_TEST),
        ("6.4", "Limits", "tests/a.py::one", "passed"),
        ("", "", "tests/b.py::two", "failed"),
    ]
    assert [*render(table)][1:] == [
        "6.4  Limits  passed       tests/a.py::one",
        "             failed       tests/b.py::two",
    ]


# ---------------------------------------------------------------------- vocabulary


def test_the_vocabulary_has_one_line_per_word_with_meaning_and_source() -> None:
    text = (DOCS / "vocabulary.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    frame = {"word", "---"}
    words = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    assert {*STAGES} <= {*words}
    assert [word for word in words if words.count(word) > 1 and word not in frame] == []
    assert [line for line in lines if len(line.strip("| ").split(" | ")) != 3] == []

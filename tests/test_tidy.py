"""The house rules that no other tool checks: sizes, names, limits, requirements.

Each rule is a function over values, so that one test shows it holding for our source
and another shows it refusing what it is there to refuse.
"""

from __future__ import annotations

import re
from collections import Counter

from broker.cli.guard import OWN_NAMES, foreign_owners, ownership_problem
from tests.support import source

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FOLDER_FILES_MAX = 15

# One letter of each is in brackets, so that this file does not contain what it forbids.
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b")
FOREIGN_PLACES = re.compile(
    r"(/w[o]rk/|/r[o]ot/|/f[a]rm/|/tm[p]/(?!counterfoil)|\.lib[r]ary)"
    r"|(registry\.n[p]mjs|python[h]osted|deb\.d[e]bian|pypi\.o[r]g)"
)
REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?==(?P<version>[^ ;\\]+)"
)


# ------------------------------------------------------------------------- sizes


def long_functions(found: list[source.Function]) -> list[str]:
    """Return the functions that do not fit on a screen."""
    return [
        f"{function.where} {function.name}: {function.lines} lines"
        for function in found
        if function.lines > FUNCTION_LINES_MAX
    ]


def test_a_function_fits_on_a_screen() -> None:
    found = [
        function
        for path in source.files(*source.ROOMS, pattern="*.py")
        for function in source.functions(path)
    ]
    assert found
    assert long_functions(found) == []


def test_a_function_one_line_past_the_limit_is_named() -> None:
    fits = source.Function(where="a.py:1", name="fits", lines=FUNCTION_LINES_MAX)
    long = source.Function(where="a.py:9", name="long", lines=FUNCTION_LINES_MAX + 1)
    assert long_functions([fits, long]) == ["a.py:9 long: 61 lines"]


def long_files(lines: dict[str, int]) -> list[str]:
    """Return the files that take more than a sitting."""
    return [
        f"{name}: {count}" for name, count in lines.items() if count > FILE_LINES_MAX
    ]


def test_a_file_is_read_in_one_sitting() -> None:
    lines = {
        source.shown(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in source.files(*source.ROOMS, pattern="*.py")
    }
    assert lines
    assert long_files(lines) == []


def test_a_file_one_line_past_the_limit_is_named() -> None:
    lines = {"fits.py": FILE_LINES_MAX, "long.py": FILE_LINES_MAX + 1}
    assert long_files(lines) == ["long.py: 401"]


def full_folders(names: list[str]) -> list[str]:
    """Return the folders that no longer fit on a page; __init__.py is no content."""
    folders = Counter(
        name.rpartition("/")[0] for name in names if not name.endswith("__init__.py")
    )
    return [
        f"{name}: {count}"
        for name, count in folders.items()
        if count > FOLDER_FILES_MAX
    ]


def test_a_folder_fits_on_a_page() -> None:
    # Migrations are history: they grow by design and are never split. A connector has
    # as many manifests as tools, each named like its tool.
    names = [
        name
        for name in map(source.shown, source.files(*source.ROOMS))
        if not name.startswith(("infra/migrations/versions/", "tools/catalog/"))
    ]
    assert names
    assert full_folders(names) == []


def test_a_folder_one_file_past_the_limit_is_named() -> None:
    fits = [f"fits/{position}.py" for position in range(FOLDER_FILES_MAX)]
    full = [f"full/{position}.py" for position in range(FOLDER_FILES_MAX + 1)]
    assert full_folders([*fits, "fits/__init__.py", *full]) == ["full: 16"]


# ---------------------------------------------------------------- names and mirrors


def test_no_other_distribution_owns_our_import_names() -> None:
    assert foreign_owners() == {}
    assert {*source.PRODUCT} == {*OWN_NAMES}


def test_a_foreign_owner_of_an_import_name_is_named() -> None:
    installed = {
        "workflows": ["llama-index-workflows", "counterfoil"],
        "broker": ["counterfoil"],
        "rich": ["rich"],
    }
    owners = foreign_owners(installed)
    assert owners == {"workflows": ("llama-index-workflows",)}
    assert "workflows by llama-index-workflows" in ownership_problem(owners)
    assert ownership_problem({}) == ""


def untested(modules: list[str], tests: list[str]) -> list[str]:
    """Return core modules without their test file, and test files without a module.

    Args:
        modules: Paths under broker/core, such as ``words/money.py``.
        tests: Paths under tests/core, such as ``words/test_money.py``; a module may
            have several, ``test_<module>_<aspect>.py``.
    """
    wanted = {module.removesuffix(".py") for module in modules}
    covered: set[str] = set()
    problems: list[str] = []
    for test in tests:
        folder, _, name = test.rpartition("/")
        stem = name.removesuffix(".py").removeprefix("test_")
        prefix = f"{folder}/" if folder else ""
        words = stem.split("_")
        owners = {
            prefix + "_".join(words[:count]) for count in range(1, len(words) + 1)
        } & wanted
        covered |= {max(owners, key=len)} if owners else set()
        problems += (
            [] if owners else [f"tests/core/{test} tests no module of broker/core"]
        )
    missing = [
        f"broker/core/{module}.py has no test" for module in sorted(wanted - covered)
    ]
    return [*missing, *problems]


def test_every_core_module_has_its_test_file() -> None:
    core, tests = source.TOP / "broker/core", source.TOP / "tests/core"
    modules = [
        path.relative_to(core).as_posix()
        for path in source.files("broker/core", pattern="*.py")
        if path.name != "__init__.py"
    ]
    found = [
        path.relative_to(tests).as_posix()
        for path in source.files("tests/core", pattern="test_*.py")
    ]
    assert modules
    assert untested(modules, found) == []


def test_a_core_module_without_a_test_and_a_test_without_a_module_are_named() -> None:
    problems = untested(
        ["limit.py", "words/money.py", "words/entry.py"],
        ["test_limit_windows.py", "words/test_money.py", "test_gone.py"],
    )
    assert problems == [
        "broker/core/words/entry.py has no test",
        "tests/core/test_gone.py tests no module of broker/core",
    ]


def unused_limits(limits: dict[str, str], used: set[str]) -> list[str]:
    """Return the limits (name to place) that no test speaks of."""
    return [f"{place} {name}" for name, place in limits.items() if name not in used]


def test_every_limit_is_used_in_a_test() -> None:
    limits = {
        name: source.shown(path)
        for path in source.files(*source.PRODUCT, pattern="*.py")
        for name in source.constants(path, suffix="_MAX")
    }
    used: set[str] = set()
    for path in source.files("tests", pattern="*.py"):
        used |= source.identifiers(path)
    assert limits
    assert unused_limits(limits, used) == []


def test_a_limit_that_no_test_uses_is_named() -> None:
    limits = {"DEPTH_MAX": "a.py", "BYTES_MAX": "b.py"}
    assert unused_limits(limits, {"DEPTH_MAX"}) == ["b.py BYTES_MAX"]


# ------------------------------------------------------------------------- contents


def marked_lines(pattern: re.Pattern[str], name: str, text: str) -> list[str]:
    """Return the lines of a text that a pattern finds, with their place."""
    return [
        f"{name}:{number} {line.strip()[:80]}"
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def in_all_files(pattern: re.Pattern[str]) -> list[str]:
    """Return every place in the repository where a pattern is found."""
    problems: list[str] = []
    for path in source.all_text_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # A picture or a fixture: nobody reads it as text.
        problems += marked_lines(pattern, source.shown(path), text)
    return problems


def test_nothing_is_marked_as_unfinished() -> None:
    assert in_all_files(UNFINISHED) == []


def test_no_machine_path_and_no_registry_address_is_written_down() -> None:
    assert in_all_files(FOREIGN_PLACES) == []


def test_forbidden_marks_and_places_are_found() -> None:
    mark = "# {}DO: later".format("TO")
    assert marked_lines(UNFINISHED, "a.py", f"x = 1\n{mark}") == [f"a.py:2 {mark}"]
    for halves in (
        "/ro ot/x",
        "https://py pi.org/x",
        "/t mp/mine",
        "files.python hosted",
    ):
        place = halves.replace(" ", "")
        assert marked_lines(FOREIGN_PLACES, "a.py", f"see {place}"), place
    own = "/t mp/counterfoil-1000-ab".replace(" ", "")
    assert marked_lines(FOREIGN_PLACES, "a.py", own) == []


# --------------------------------------------------------------------- requirements


def unlocked(text: str) -> list[str]:
    """Return the requirements of a lock file that are not pinned and hashed."""
    statements = text.replace("\\\n", " ").splitlines()
    wanted = [
        line
        for line in statements
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return [
        line.split()[0]
        for line in wanted
        if not (REQUIREMENT.match(line) and "--hash=sha256:" in line) or "://" in line
    ]


def pins(text: str) -> dict[str, str]:
    """Return distribution to version, as a lock file pins them."""
    found = (REQUIREMENT.match(line) for line in text.splitlines())
    return {match["name"].lower(): match["version"] for match in found if match}


def test_every_requirement_is_pinned_and_hashed_and_names_no_address() -> None:
    locks = source.files("requirements", pattern="*.txt")
    assert {path.stem for path in locks} >= {"uv", "run", "test", "lint"}
    for path in locks:
        text = path.read_text(encoding="utf-8")
        assert pins(text), path.name
        assert unlocked(text) == [], path.name
        names = [
            re.split(r"[\[=<>; ]", line)[0].lower()
            for line in path.with_suffix(".in").read_text(encoding="utf-8").splitlines()
            if line.strip() and not line.startswith(("#", "-"))
        ]
        assert {*names} <= {*pins(text)}, path.name


def test_the_groups_agree_about_versions() -> None:
    together: dict[str, set[str]] = {}
    for group in ("run", "test", "lint"):
        path = source.TOP / "requirements" / f"{group}.txt"
        for name, version in pins(path.read_text(encoding="utf-8")).items():
            together.setdefault(name, set()).add(version)
    assert {
        name: versions for name, versions in together.items() if len(versions) > 1
    } == {}


def test_a_requirement_without_a_hash_or_with_an_address_is_named() -> None:
    text = (
        "# made by a tool\n"
        "good==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:00\n"
        "loose>=1 \\\n    --hash=sha256:00\n"
        "bare==2.0\n"
        "--find-links https://example.org/simple\n"
    )
    assert unlocked(text) == ["loose>=1", "bare==2.0", "--find-links"]

"""The import rules between packages, the limits of modules and functions, the generated part of
docs/architecture.md, and that the page names every folder."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tools.architecture import (
    BEGIN,
    END,
    PAGE,
    OutdatedError,
    first_sentence,
    generated,
    package_folders,
    updated,
)
from tools.folders import folders_of
from tools.imports import Import, cycles, imports_of

ROOT = Path(__file__).resolve().parents[3]

FORBIDDEN: Mapping[str, frozenset[str]] = {
    "ga": frozenset({"validation", "fixtures", "benchmarks", "reports", "tools"}),
    "fixtures": frozenset({"validation", "benchmarks", "reports", "tools"}),
    "validation": frozenset({"benchmarks", "reports", "tools"}),
    "reports": frozenset({"benchmarks", "tools"}),
    "benchmarks": frozenset({"tools"}),
}
"""Package -> packages that none of its modules may import, not even inside a function."""
EXCEPTIONS: Mapping[tuple[str, str], int] = {}
"""Forbidden imports that exist: how many modules of the first package have one. The number may only
fall; remove the entry when it is 0."""
KNOWN_CYCLES: tuple[tuple[str, ...], ...] = ()
"""Groups of modules that import each other, sorted; remove a group when its cycle is gone."""
PRODUCT = ("ga", "validation", "fixtures", "reports", "benchmarks", "tools")
CHECKED_FOR_LENGTH = (*PRODUCT, "tests")
MOST_MODULE_LINES = 400
MOST_FUNCTION_LINES = 80
LONG = re.compile(r"\s*# Long: \S")
"""The comment directly above a function that may be longer; it gives the reason."""


def violations(imports: tuple[Import, ...], exceptions: Mapping[tuple[str, str], int]) -> list[str]:
    """What breaks the rules, one line each; also an exception that is no longer needed."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in imports:
        source, target = one.source.split(".")[0], one.target.split(".")[0]
        if target in FORBIDDEN.get(source, ()):
            found.setdefault((source, target), set()).add(one.source)
    lines = []
    for arrow in sorted({*found, *exceptions}):
        modules, allowed = sorted(found.get(arrow, ())), exceptions.get(arrow, 0)
        text = f"{arrow[0]} must not import {arrow[1]}: {len(modules)} modules do"
        if len(modules) > allowed:
            lines.append(f"{text}, {allowed} are allowed: {', '.join(modules)}")
        elif len(modules) < allowed:
            lines.append(f"{text}; lower its number in EXCEPTIONS from {allowed}")
    return lines


def files_of(root: Path, packages: Sequence[str] = PRODUCT) -> Iterator[Path]:
    """Every Python file of these packages."""
    for package in packages:
        yield from sorted((root / package).rglob("*.py"))


def long_modules(root: Path) -> list[str]:
    """Modules over the limit, one line each."""
    files = files_of(root, CHECKED_FOR_LENGTH)
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in files}
    return [
        f"{path.relative_to(root)} has {lines} lines; split it by subject"
        for path, lines in lengths.items()
        if lines > MOST_MODULE_LINES
    ]


def long_functions(root: Path) -> list[str]:
    """Functions over the limit that give no reason, and reasons of functions that are not; one line
    each. Decorators do not count."""
    found = []
    for path in files_of(root):
        text = path.read_text("utf-8")
        lines = text.splitlines()
        explained = {number for number, line in enumerate(lines, 1) if LONG.match(line)}
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            above = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
            if length > MOST_FUNCTION_LINES and above not in explained:
                found.append(f"{path.relative_to(root)}: {node.name} has {length} lines; split it")
            elif length > MOST_FUNCTION_LINES:
                explained.discard(above)
        found += [
            f"{path.relative_to(root)}:{number}: no long function follows; remove the comment"
            for number in sorted(explained)
        ]
    return found


@pytest.fixture(scope="module")
def imports() -> tuple[Import, ...]:
    return imports_of(ROOT)


def test_no_package_breaks_the_import_rules(imports: tuple[Import, ...]) -> None:
    assert violations(imports, EXCEPTIONS) == []


def test_modules_have_no_import_cycles(imports: tuple[Import, ...]) -> None:
    found = cycles(imports)
    assert [one for one in found if one not in KNOWN_CYCLES] == []
    assert [one for one in KNOWN_CYCLES if one not in found] == [], "remove it from KNOWN_CYCLES"


def test_no_module_is_too_long() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in files_of(ROOT, CHECKED_FOR_LENGTH)}
    assert found == set(CHECKED_FOR_LENGTH)
    assert long_modules(ROOT) == []


def test_no_function_is_too_long_without_a_reason() -> None:
    assert long_functions(ROOT) == [], "or put `# Long: <reason>` directly above it"


def test_every_package_has_a_docstring() -> None:
    missing = [name for name, text in package_folders(ROOT).items() if not text]
    assert missing == [], "give __init__.py a docstring"


def unnamed(page: str, folders: Sequence[str]) -> list[str]:
    """Folders that the page does not have as code, with a slash at the end."""
    return [folder for folder in folders if f"`{folder}/`" not in page]


def test_every_folder_is_named_on_the_page() -> None:
    folders = folders_of(ROOT, depth=2)
    assert {"ga", "tests/unit", "deploy/aws", ".ci"} <= set(folders)
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert unnamed(page, folders) == [], "add it to the table Other folders"


def test_generated_part_is_up_to_date() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert updated(page, generated(ROOT)) == page, "run: python -m tools.architecture"


def tree(folder: Path, files: Mapping[str, str]) -> Path:
    """A source tree of these files; every folder gets an ``__init__.py``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "import validation.gate",
        "from validation import gate",
        "from validation.gate import decide",
        "def late():\n    from validation.gate import decide\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import validation.gate\n",
        "class Late:\n    if True:\n        import validation\n",
    ],
)
def test_backward_import_is_found(text: str, tmp_path: Path) -> None:
    root = tree(tmp_path, {"ga/engine.py": text, "validation/gate.py": "import ga.engine\n"})
    (line,) = violations(imports_of(root), {})
    assert line.startswith("ga must not import validation: 1 modules do")
    assert line.endswith("ga.engine")


def test_exception_must_be_exact(tmp_path: Path) -> None:
    backward = {
        "validation/one.py": "import evolution_gate.reports.page\n",
        "reports/page.py": "",
    }
    root = tree(tmp_path, backward)
    allowed = {("validation", "reports"): 1}
    assert violations(imports_of(root), allowed) == []
    tree(tmp_path, {"validation/two.py": "from evolution_gate.reports import page\n"})
    (line,) = violations(imports_of(root), allowed)
    assert "2 modules do, 1 are allowed" in line
    tree(tmp_path, {"validation/one.py": "", "validation/two.py": ""})
    (line,) = violations(imports_of(root), allowed)
    assert "lower its number" in line


def test_cycle_is_found_unless_import_is_deferred(tmp_path: Path) -> None:
    files = {"ga/a.py": "from ga import b\n", "ga/b.py": "from . import c\n"}
    root = tree(tmp_path, {**files, "ga/c.py": "from .a import name\n"})
    assert cycles(imports_of(root)) == [("ga.a", "ga.b", "ga.c")]
    for text in (
        "def late():\n    from ga.a import name\n",
        "import typing\nif typing.TYPE_CHECKING:\n    from ga.a import name\n",
    ):
        (root / "ga/c.py").write_text(text)
        assert cycles(imports_of(root)) == []


def test_imported_name_resolves_to_its_module(tmp_path: Path) -> None:
    files = {
        "ga/ledger/store.py": "from ..market import Market\nfrom .. import clock\nimport json\n",
        "ga/market.py": "",
        "ga/clock.py": "",
    }
    found = {(one.source, one.target) for one in imports_of(tree(tmp_path, files))}
    assert found == {("ga.ledger.store", "ga.market"), ("ga.ledger.store", "ga.clock")}


def test_folder_that_is_nowhere_is_found() -> None:
    page = "`ga/` and `docs/ci/` and deploy/aws/"
    assert unnamed(page, ["ci", "deploy/aws", "docs/ci", "ga"]) == ["ci", "deploy/aws"]


@pytest.mark.parametrize("git", ["missing", "not a checkout"])
def test_folders_are_found_without_git(
    git: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if git == "missing":
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    files = ("a.py", "ga/deep/down/b.py", "x/__pycache__/c.pyc", "deploy/secrets/d", "y/secrets/e")
    for name in (*files, "data/f", "ga/data/g", ".git/h/i"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / ".gitignore").write_text("__pycache__\n\ndeploy/secrets/\n/data/\n*.pyc\n")
    assert folders_of(tmp_path, depth=2) == ["ga", "ga/data", "ga/deep", "y", "y/secrets"]
    assert "ga/deep/down" in folders_of(tmp_path, depth=3)


def test_package_without_docstring_is_found(tmp_path: Path) -> None:
    root = tree(tmp_path, {"ga/a.py": "", "ga/deep/b.py": ""})
    (root / "ga/__init__.py").write_text('"""The engine. It evolves."""\n')
    (root / "ga/deep/__init__.py").unlink()
    assert package_folders(root) == {"ga": "The engine.", "ga/deep": None}


@pytest.mark.parametrize("package", ["ga", "tests"])
def test_a_module_over_the_limit_is_found(package: str, tmp_path: Path) -> None:
    lines = "pass\n" * MOST_MODULE_LINES
    files = {f"{package}/at.py": lines, f"{package}/deep/over.py": f"{lines}pass\n"}
    (line,) = long_modules(tree(tmp_path, files))
    assert line.startswith(f"{package}/deep/over.py has 401 lines")


@pytest.mark.parametrize(
    ("above", "extra", "found"),
    [
        ("", 0, ""),
        ("", 1, "ga/a.py: long has 81 lines"),
        ("# Long: a table of the standard.\n", 1, ""),
        ("# Long:\n", 1, "ga/a.py: long has 81 lines"),
        ("# Long: a table of the standard.\n", 0, "ga/a.py:1: no long function follows"),
        ("# Long: a table of the standard.\n@decorated\n@twice(\n    1\n)\n", 1, ""),
        ("@decorated\n", 0, ""),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_over_the_limit_needs_a_reason(
    kind: str, above: str, extra: int, found: str, tmp_path: Path
) -> None:
    body = "    pass\n" * (MOST_FUNCTION_LINES - 1 + extra)
    lines = long_functions(tree(tmp_path, {"ga/a.py": f"{above}{kind} long():\n{body}"}))
    assert [line[: len(found)] for line in lines] == ([found] if found else [])


def test_methods_and_inner_functions_have_the_same_limit(tmp_path: Path) -> None:
    body = "            pass\n" * MOST_FUNCTION_LINES
    text = f"class A:\n    def outer(self):\n        def inner():\n{body}"
    assert len(long_functions(tree(tmp_path, {"tools/a.py": text}))) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One line", "One line"),
        ("Two\nlines. And more.", "Two lines."),
        ("A ``name`` | of.\n\nA paragraph.", r"A `name` \| of."),
        ("Is it? It is.", "Is it?"),
        ("Version 1.5 of it.", "Version 1.5 of it."),
    ],
)
def test_first_sentence_of_a_docstring(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


@pytest.mark.parametrize("files", [{}, {"ga/b.py": "class Evolution: ..."}])
def test_moved_or_ambiguous_name_is_an_error(files: dict[str, str], tmp_path: Path) -> None:
    text = "class Evolution: ..." if files else ""
    root = tree(tmp_path, {"ga/a.py": text, **files})
    with pytest.raises(OutdatedError, match="correct WHERE"):
        generated(root, [("breeds", "ga", "Evolution")])


def test_page_without_markers_is_an_error() -> None:
    assert updated(f"a\n{BEGIN}\nold\n{END}\nz\n", "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nz\n"
    with pytest.raises(OutdatedError, match="must have the lines"):
        updated(f"a\n{BEGIN}\n", "new")

"""The conventions of the tests, enforced over all of ``tests/``."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
MOST_WORDS = 8
OURS = ("ga", "validation", "evolution_gate", "tools", "examples", "tests")
"""Packages whose private names are private for the tests, too."""
FOREIGN = frozenset({"_actions", "_choices_actions", "_replace", "_asdict", "_fields"})
"""Private names of argparse that have no public counterpart, and public names of named tuples."""
BY_NAME = frozenset({"setattr", "delattr", "getattr", "hasattr", "patch", "object"})
"""Functions, also of ``monkeypatch`` and ``mock``, that take the name of an attribute as text."""
STARTERS = frozenset(
    {
        "subprocess",
        "multiprocessing",
        "playwright",
        "evolution_gate.fixtures.system.launch",
        "tests.support.evolving",
        "tests.support.promtools",
        "tests.support.service_process",
    }
)
"""Modules that a test imports to start programs."""
WAITING = Path("support/waiting.py")
"""The one file that may sleep."""

Rule = Callable[[Path, str], Iterator[str]]
"""Problems of a file: its path below ``tests/``, its source."""


def long_names(path: Path, source: str) -> Iterator[str]:
    """A test's name says the behaviour in at most eight words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            words = node.name.removeprefix("test_").split("_")
            if node.name.startswith("test_") and len(words) > MOST_WORDS:
                yield f"{path}:{node.lineno}: {node.name} has {len(words)} words"


def private_access(path: Path, source: str) -> Iterator[str]:
    """Tests use what is public: a private name may change without notice."""
    tree = ast.parse(source)
    foreign = _names_of_foreign(tree)
    for node in ast.walk(tree):
        for found in _private(node, foreign):
            yield f"{path}:{node.lineno}: {found} is private"  # type: ignore[attr-defined]


def _names_of_foreign(tree: ast.AST) -> set[str]:
    """What a file calls the modules of others, and what it imports from them."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [one for one in node.names if one.name.split(".")[0] not in OURS]
            found |= {one.asname or one.name.split(".")[0] for one in names}
        elif isinstance(node, ast.ImportFrom):
            ours = node.level > 0 or str(node.module).split(".")[0] in OURS
            found |= set() if ours else {one.asname or one.name for one in node.names}
    return found


def _private(node: ast.AST, foreign: set[str]) -> Iterator[str]:
    """What a node names that is private and ours."""
    match node:
        case ast.Attribute(value=ast.Name(id=base), attr=name):
            if base not in ("self", "cls", *foreign) and _is_private(name):
                yield f"{base}.{name}"
        case ast.Attribute(attr=name):
            if _is_private(name):
                yield name
        case ast.ImportFrom(module=str(module), names=names, level=0):
            dotted = [f"{module}.{one.name}" for one in names]
            yield from (one for one in dotted if _is_private_of_ours(one))
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[first, *rest]):
            if called in BY_NAME:
                if isinstance(first, ast.Constant) and _is_private_of_ours(first.value):
                    yield str(first.value)
                of_foreign = isinstance(first, ast.Name) and first.id in foreign
                named = [one.value for one in rest[:1] if isinstance(one, ast.Constant)]
                yield from (str(name) for name in named if _is_private(name) and not of_foreign)
        case ast.Constant(value=str(text)) if re.search(r"^\s*(?:import|from) ", text, re.M):
            yield from _private_in_program(text)


def _private_in_program(text: str) -> Iterator[str]:
    """The same of a program that a test starts; it may be a template, so it is not parsed."""
    spared = {"self", "cls"}
    for module, names in re.findall(r"(?:\bfrom ([\w.]+) )?\bimport ([\w., ]+)", text):
        tops = {name.split(".")[0] for name in re.split(r"[, ]+", names)}
        spared |= set() if module.split(".")[0] in OURS else tops - {*OURS}
    dotted = re.sub(r"\bfrom [\w.]+ import", "", text)
    for base, name in re.findall(r"\b(\w+)\.(_[a-zA-Z]\w*)", dotted):
        if base not in spared and _is_private(name):
            yield f"{base}.{name}"
    for module, names in re.findall(r"\bfrom ([\w.]+) import ([\w, ]+)", text):
        for name in re.findall(r"\w+", names):
            if _is_private_of_ours(f"{module}.{name}"):
                yield f"{module}.{name}"


def _is_private(name: object) -> bool:
    if not isinstance(name, str) or name in FOREIGN:
        return False
    return name.startswith("_") and not name.startswith("__")


def _is_private_of_ours(dotted: object) -> bool:
    if not isinstance(dotted, str) or dotted.split(".")[0] not in OURS:
        return False
    return any(_is_private(part) for part in dotted.split("."))


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{one.name}") for one in node.names)


def imports_of_tests(path: Path, source: str) -> Iterator[str]:
    """What two test files share is in ``tests/support``."""
    shared = ("tests", "support")
    for line, name in imports(source):
        parts = tuple(name.split("."))
        if name.startswith(".") or parts[0].startswith("test_") or (
            parts[0] == "tests" and parts[:2] != shared
        ):  # fmt: skip
            yield f"{path}:{line}: imports {name}; move what is shared to tests/support"


def programs_in_unit_tests(path: Path, source: str) -> Iterator[str]:
    """A test that starts a program or a stack is in ``tests/integration``."""
    if path.parts[0] != "unit":
        return
    for line, name in imports(source):
        if any(name == one or name.startswith(f"{one}.") for one in STARTERS):
            yield f"{path}:{line}: imports {name}; move the file to tests/integration"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("mark.stack"):
            yield f"{path}:{node.lineno}: has the marker stack; move it to tests/integration"


def sleeps(path: Path, source: str) -> Iterator[str]:
    """A test waits for a condition; one that must let time pass says why on the same line."""
    if path == WAITING:
        return
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    explained = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    imported = {name for _, name in imports(source)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.end_lineno not in explained:
            called = ast.unparse(node.func)
            if called == "time.sleep" or (called == "sleep" and "time.sleep" in imported):
                yield (
                    f"{path}:{node.lineno}: sleeps; use tests.support.waiting.wait_until,"
                    " or say why in a comment on the line"
                )


RULES: tuple[Rule, ...] = (
    long_names,
    private_access,
    imports_of_tests,
    programs_in_unit_tests,
    sleeps,
)


@pytest.mark.parametrize("rule", RULES)
def test_all_tests_follow_the_conventions(rule: Rule) -> None:
    problems = [
        problem
        # Without this file, whose texts are violations on purpose.
        for path in sorted({*TESTS.rglob("*.py")} - {Path(__file__)})
        for problem in rule(path.relative_to(TESTS), path.read_text(encoding="utf-8"))
    ]
    assert problems == [], f"{len(problems)} problems:\n" + "\n".join(problems)


UNIT, INTEGRATION = Path("unit/x/test_x.py"), Path("integration/x/test_x.py")
NINE = "test_one_two_three_four_five_six_seven_eight_nine"


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (long_names, f"def {NINE}(): ..."),
        (long_names, f"class TestIt:\n    async def {NINE}(self): ..."),
        (private_access, "import ga.cli\nga.cli._run()"),
        (private_access, "from ga import cli\ncli._run()"),
        (private_access, "def test_it(stack):\n    assert stack.nodes[0]._members"),
        (private_access, "from validation.mutation.runner import _run"),
        (private_access, "from validation._secret import run"),
        (private_access, "def test_it(monkeypatch):\n    monkeypatch.setattr(cli, '_run', 1)"),
        (private_access, "def test_it(monkeypatch):\n    monkeypatch.setattr('ga.cli._run', 1)"),
        (private_access, "getattr(cli, '_run')"),
        (private_access, "mock.patch.object(cli, '_run')"),
        (private_access, "PROGRAM = '''\nfrom ga import cli\ncli._run()\n'''"),
        (private_access, "PROGRAM = '''\nfrom ga.cli import _run\n'''"),
        (imports_of_tests, "from tests.unit.ga.test_ga_cache import store"),
        (imports_of_tests, "import tests.integration.ga.test_ga_run"),
        (imports_of_tests, "from tests import goldens"),
        (imports_of_tests, "from .test_other import helper"),
        (imports_of_tests, "from test_other import helper"),
        (programs_in_unit_tests, "import subprocess"),
        (programs_in_unit_tests, "def test_it():\n    from multiprocessing import Process"),
        (programs_in_unit_tests, "from playwright.sync_api import Page"),
        (programs_in_unit_tests, "from tests.support import promtools"),
        (programs_in_unit_tests, "import pytest\npytestmark = pytest.mark.stack"),
        (programs_in_unit_tests, "import pytest\npytest.param(1, marks=[pytest.mark.stack])"),
        (sleeps, "import time\ntime.sleep(1)"),
        (sleeps, "from time import sleep\nsleep(1)"),
        (sleeps, "import time\n# Not on its line.\ntime.sleep(1)"),
    ],
)
def test_violation_is_reported(rule: Rule, source: str) -> None:
    (problem,) = rule(UNIT, source)
    assert problem.startswith(f"{UNIT}:")


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (long_names, UNIT, f"def {NINE.removesuffix('_nine')}(): ..."),
        (long_names, UNIT, f"def {NINE.removeprefix('test_')}(): ..."),
        (private_access, UNIT, "import os\nos._exit(0)"),
        (private_access, UNIT, "from argparse import Action\nAction._get_kwargs"),
        (private_access, UNIT, "class Double:\n    def it(self):\n        self._count = 1"),
        (private_access, UNIT, "value.__dict__"),
        (private_access, UNIT, "PROGRAM = '''\nimport os\nos._exit(0)\n'''"),
        (imports_of_tests, UNIT, "from tests.support.waiting import wait_until"),
        (programs_in_unit_tests, INTEGRATION, "import subprocess"),
        (programs_in_unit_tests, UNIT, "import multiprocessing_helpers"),
        (sleeps, UNIT, "import time\ntime.sleep(1)  # The clock itself is tested."),
        (sleeps, WAITING, "import time\ntime.sleep(1)"),
        (sleeps, UNIT, "PROGRAM = 'import time; time.sleep(1)'"),
        (sleeps, UNIT, "clock.sleep(1)"),
    ],
)
def test_allowed_source_is_not_reported(rule: Rule, path: Path, source: str) -> None:
    assert list(rule(path, source)) == []

"""What voids certificates: another program does, another text of the same program does not."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validation import code_syntax
from validation.certificates import append, read_certificates, refused
from validation.code_hashes import code_hash, criterion_hash, hash_of
from validation.code_syntax import syntax
from validation.criteria.registry import CRITERIA
from validation.simulation.campaign import certificates

ROOT = Path(__file__).resolve().parents[3]
SOURCE = '''\
"""Of the module."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """Of the class."""

    seconds: float = 3.5
    """Of the field."""

    def exceeded(self, by: float, *, of: object = None) -> bool:
        """Of the function."""
        # A comment.
        return f"{by:.1f}" != "x" and by > self.seconds + 1
'''
BEFORE = syntax(ast.parse(SOURCE))


def project(root: Path) -> Path:
    """A project with one file of each sort that counts."""
    for name, content in {
        "validation/limit.py": SOURCE,
        "validation/soak/a.py": "A = 1\n",
        "fixtures/b.py": "B = 1\n",
        "deploy/rules.yml": "groups: []\n",
        "deploy/panel.json": "{}\n",
    }.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Of the module."""', '"""Another text."""'),
        ('"""Of the module."""', ""),
        ('    """Of the class."""\n', ""),
        ('"""Of the field."""', '"""Another text,\n    of two lines."""'),
        ('"""Of the function."""', "'Another text.'"),
        ("# A comment.", "# Another comment."),
        ("        # A comment.\n", ""),
        ("\n\n@", "\n\n\n\n@"),
        ("by: float, *, of", "\n        by: float,\n        *,\n        of"),
        ("(frozen=True)", "( frozen = True )"),
        ('"x"', "'x'"),
        ('"x"', '"" "x"'),
        ('"x"', 'u"x"'),
        ("3.5", "3.50"),
        ("self.seconds + 1", "(self.seconds + 1)"),
    ],
)  # fmt: skip
def test_layout_and_comments_keep_the_hash(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert syntax(ast.parse(SOURCE.replace(old, new))) == BEFORE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.5", "3.6"),
        ("seconds + 1", "seconds + 1.0"),
        ("seconds + 1", "seconds + True"),
        ('"x"', '"y"'),
        ('"x"', 'b"x"'),
        (".1f", ".2f"),
        ("by > self", "by >= self"),
        ("seconds + 1", "seconds - 1"),
        (" and ", " or "),
        ("!=", "=="),
        ("return ", ""),
        ("self.seconds", "self.minutes"),
        ("exceeded", "over"),
        ("= None", "= 0"),
        (" = None", ""),
        (" = 3.5", ""),
        ("*, of", "of"),
        ("frozen=True", "frozen=False"),
        ("@dataclass(frozen=True)\n", ""),
        ("@dataclass(frozen=True)", "@dataclass"),
        ("seconds: float", "seconds: int"),
        ("import dataclass\n", "import dataclass, field\n"),
        ("        return", "        return\n        return"),
    ],
)
def test_changed_program_changes_the_hash(old: str, new: str) -> None:
    assert SOURCE.count(old) == 1
    assert syntax(ast.parse(SOURCE.replace(old, new))) != BEFORE


CONSTANTS = st.one_of(
    st.none(), st.booleans(), st.integers(0), st.floats(0, allow_nan=False, allow_infinity=False),
    st.text(), st.binary(), st.just(...),
)  # fmt: skip


@given(one=CONSTANTS, other=CONSTANTS)
def test_only_equal_constants_have_equal_text(one: object, other: object) -> None:
    def text(value: object) -> str:
        return syntax(ast.parse(f"x = {value!r}"))

    assert (text(one) == text(other)) == ((type(one), repr(one)) == (type(other), repr(other)))


@pytest.mark.parametrize(
    "name", ["validation/c.py", "validation/soak/c.py", "fixtures/c.py", "deploy/c.yml"]
)
def test_added_file_changes_the_hash(name: str, tmp_path: Path) -> None:
    before = hash_of(project(tmp_path))
    (tmp_path / name).write_text("")
    assert hash_of(tmp_path) != before


@pytest.mark.parametrize(
    "name", ["validation/test_c.py", "fixtures/tests/c.py", "ga/c.py", "deploy/c.txt"]
)
def test_tests_and_other_packages_keep_the_hash(name: str, tmp_path: Path) -> None:
    before = hash_of(project(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("C = 1\n")
    assert hash_of(tmp_path) == before


def test_moved_file_and_edited_rule_change_hash(tmp_path: Path) -> None:
    before = hash_of(project(tmp_path))
    (tmp_path / "deploy/rules.yml").write_text("groups:  []\n")
    changed = hash_of(tmp_path)
    assert changed != before
    (tmp_path / "fixtures/b.py").rename(tmp_path / "fixtures/d.py")
    assert hash_of(tmp_path) not in (before, changed)


def test_unparsable_file_is_hashed_by_bytes(tmp_path: Path) -> None:
    (project(tmp_path) / "fixtures/b.py").write_text("B = (\n")
    before = hash_of(tmp_path)
    (tmp_path / "fixtures/b.py").write_text("B = (  \n")
    assert hash_of(tmp_path) != before


def pythons() -> list[str]:
    """Other Pythons of this machine that the project supports."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = [name for name in ("3.11", "3.12", "3.13") if name != ours]
    managed = [*Path.home().glob(".pyenv/versions/3.1[123].*/bin/python")]
    found = [str(p) for n in names for p in managed if p.parts[-3].startswith(f"{n}.")]
    return found or [path for name in names if (path := shutil.which(f"python{name}"))]


_HASH = """
import ast, hashlib, sys
from pathlib import Path
exec(sys.argv[1])
for file in sorted(Path(sys.argv[2]).rglob("*.py")):
    print(file.name, hashlib.sha256(syntax(ast.parse(file.read_bytes())).encode()).hexdigest())
"""


@pytest.mark.parametrize("python", pythons() or [""])
def test_every_python_gives_the_same_hash(python: str) -> None:
    if not python:
        pytest.skip("there is no other Python from 3.11 to 3.13 on this machine")
    # The file alone: another Python has none of the project's packages.
    code = Path(code_syntax.__file__).read_text()

    def lines(which: str) -> str:
        argv = [which, "-c", _HASH, code, str(ROOT / "validation")]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    assert lines(python) == lines(sys.executable) != ""


def test_code_hash_covers_this_project() -> None:
    assert code_hash() == hash_of(ROOT)


def criteria(root: Path) -> Path:
    """A project with three criteria: ``b`` imports ``a``, which imports ``shared``."""
    for name, content in {
        "validation/criteria/__init__.py": "",
        "validation/criteria/registry.py": "R = 1\n",
        "validation/criteria/shared.py": "S = 1\n",
        "validation/criteria/a.py": "from validation.criteria import shared\n",
        "validation/criteria/b.py": "def b():\n    from validation.criteria.a import shared\n",
        "validation/criteria/c.py": "C = 1\n",
    }.items():
        file = project(root) / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    return root


@pytest.mark.parametrize(
    ("changed", "voided"),
    [
        ("validation/criteria/a.py", "ab"),
        ("validation/criteria/b.py", "b"),
        ("validation/criteria/c.py", "c"),
        ("validation/criteria/new.py", ""),
        ("validation/criteria/shared.py", "ab"),
        ("validation/criteria/__init__.py", "abc"),
        ("validation/criteria/registry.py", "abc"),
        ("validation/criteria/part/deep.py", "abc"),
        ("validation/soak/a.py", "abc"),
        ("fixtures/b.py", "abc"),
        ("deploy/rules.yml", "abc"),
    ],
)
def test_change_voids_criteria_that_run_it(changed: str, voided: str, tmp_path: Path) -> None:
    before = {name: hash_of(criteria(tmp_path), name) for name in "abc"}
    whole = hash_of(tmp_path)
    (tmp_path / changed).parent.mkdir(exist_ok=True)
    (tmp_path / changed).write_text("import validation.criteria.shared\nX = 2\n")
    after = {name: hash_of(tmp_path, name) for name in "abc"}
    assert "".join(name for name in "abc" if after[name] != before[name]) == voided
    assert hash_of(tmp_path) != whole


@pytest.mark.parametrize(
    "line",
    [
        "from validation.criteria.c import C",
        "from validation.criteria import c",
        "import validation.criteria.c as other",
        "def late():\n    from validation.criteria.c import C",
        "from ..criteria import c",
        "from . import helpers",
        "from validation import criteria",
        "import validation.criteria",
    ],
)
def test_criterion_that_the_gate_imports_counts_for_all(line: str, tmp_path: Path) -> None:
    (criteria(tmp_path) / "validation/soak/a.py").write_text(line + "\n")
    before = hash_of(tmp_path, "a")
    (tmp_path / "validation/criteria/c.py").write_text("C = 2\n")
    assert hash_of(tmp_path, "a") != before


def test_name_without_file_has_the_whole_hash(tmp_path: Path) -> None:
    for name in ("mine", "", "registry", "__init__", "../soak/a", "\0"):
        assert hash_of(criteria(tmp_path), name) == hash_of(tmp_path), name


@pytest.mark.parametrize("criterion", [one.id for one in CRITERIA])
def test_built_in_criterion_has_its_own_hash(criterion: str) -> None:
    assert criterion_hash(criterion) == hash_of(ROOT, criterion) != code_hash()


def test_certificate_needs_the_hash_of_its_criterion(tmp_path: Path) -> None:
    path = tmp_path / "certificates.jsonl"
    mine, *_ = certificates(["speedup"])
    others = (code_hash(), criterion_hash("dashboard"), "0" * 64, "")
    for code in (mine.code, *others):
        append(path, replace(mine, code=code))
    assert [one.code for one in read_certificates(path)] == [mine.code]
    assert read_certificates(path, codes={"mine"}) == ()
    assert refused(path) == ("4 made with another version of the gate",)

"""Every entry point refuses a damaged file in one line, with a status that is never GO or NO-GO."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.support.damage import FILES, VALUES, public_folder, with_value, without_privileges
from tests.support.entry_points import ENTRIES, GATE, Entry, files_of_every_kind, fresh
from validation.cli import main as command
from validation.mutation import runner
from validation.reporting import reporters

PROGRAMS = {"truncated", "not UTF-8", "NUL bytes", "folder", "link to itself"}
"""Damages of a plug-in; the others are those of data. Another user might not start Python."""
LEFT_OUT = ('"code": ', '"dependencies": ')
"""Of a certificate: with another value it does not count."""
RANGED = ('"hours": ', '"faults": ')
"""Of a soak's plan: a loop would count by them."""
STARTED = "a stack or a certification would have started"
HARMLESS = {
    "text",
    "lone surrogate",
    "NUL",
    "path",
    "null",
    "truth",
    "list",
    "object",
    "huge integer",
    "largest number",
    "largest negative number",
}
"""Values that some of the fields may have; then there is no refusal."""


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder with one file of every kind."""
    with files_of_every_kind() as folder:
        yield folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory; neither a stack nor a certification can start."""

    def never(*_: object, **__: object) -> None:
        raise RuntimeError(STARTED)

    monkeypatch.setattr(runner, "run_in_copy", never)
    # Another user may not be allowed to read what is installed.
    installed = list(reporters())
    monkeypatch.setattr(command, "reporters", lambda: installed)
    monkeypatch.setattr("evolution_gate.fixtures.start_stack", never)
    with public_folder() as folder:
        monkeypatch.chdir(folder)
        yield made


def spares(name: str, damage: str) -> bool:
    """Whether the damage leaves a file that can be read: an empty list, or evidence without end."""
    evidence = {"gate", "gate, in JSON", "report", "diff", "gate, segment", "soak, segment"}
    if damage == "truncated" and name in evidence:
        return True
    lists = {"gate, certificates", "certify", "gate, campaign log", "gate, named log"}
    lists |= {"soak, campaign log", "schedule, campaign log"}
    if damage == "not UTF-8" and name in {"gate, public key", "gate, private key"}:
        # PEM may have text before it.
        return True
    # A last line that was cut counts as not written.
    return name in lists and damage in {"empty", "truncated"}


def run(entry: Entry, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    status = command.main(list(entry.argv))
    return (status, *capsys.readouterr())


def check(entry: Entry, capsys: pytest.CaptureFixture[str], *, spared: bool, what: str) -> None:
    status, said, why = run(entry, capsys)
    assert "Traceback" not in why, (what, why)
    assert "a defect of the gate" not in why, (what, why)
    if spared and STARTED in why:
        return
    errors = [line for line in why.splitlines() if line.startswith("error: ")]
    if entry.shown:
        assert status == entry.status or status == 2, (what, why)
        assert not errors, (what, errors)
        assert spared or entry.shown in said + why, what
        return
    if spared and not errors:
        assert status in (0, 2), (what, said, why)
        return
    assert status == entry.status or (spared and status == 2), (what, status, why)
    assert why.count("\n") == 1, (what, why)
    assert Path(entry.file).parts[0] in why, (what, why)
    assert len(why) < 1200, (what, len(why))
    assert said == "", what


@pytest.mark.parametrize("name", ENTRIES)
def test_damaged_file_is_refused_in_one_line(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = ENTRIES[name]
    for damage, change in FILES.items():
        if entry.file == "mine.py" and damage not in PROGRAMS:
            continue
        fresh(here, Path())
        change(Path(entry.file))
        with without_privileges() if damage == "no permission" else nullcontext():
            check(entry, capsys, spared=spares(name, damage), what=f"{name}: {damage}")


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.values])
def test_damaged_value_is_refused_in_one_line(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = ENTRIES[name]
    for pattern in entry.values:
        for damage, value in VALUES.items():
            fresh(here, Path())
            file = Path(entry.file)
            text = with_value(file.read_text("utf-8"), pattern, value, chained=entry.chained)
            file.write_text(text, encoding="utf-8")
            what = f"{name}: {damage} at {pattern}"
            spared = damage in HARMLESS or pattern in LEFT_OUT
            if pattern in RANGED and ("number" in damage or "integer" in damage):
                spared = False
            check(entry, capsys, spared=spared, what=what)


@pytest.mark.parametrize(
    "argv",
    [
        ("error-rates", "--seed", "-1"),
        ("error-rates", "--seed", "1" + "0" * 400),
        ("error-rates", "--healthy", "-1"),
        ("error-rates", "--healthy", "1" + "0" * 30),
        ("error-rates", "--defects", "1" + "0" * 30),
        ("error-rates", "--replay", "-1"),
        ("error-rates", "--replay-healthy", "1" + "0" * 30),
        (*GATE, "--max-age", "nan"),
        (*GATE, "--max-age", "-1"),
        (*GATE, "--max-age", "1e999"),
        ("soak", "--simulate", "--hours", "nan"),
        ("soak", "--simulate", "--hours", "1e999"),
        ("soak", "--simulate", "--hours", "1", "--seed", "1" + "0" * 400),
        ("soak", "--simulate", "--hours", "1", "--faults", "1e308"),
        ("certify", "speedup", "--time-budget", "nan"),
        ("certify", "speedup", "--shard", "0/0"),
        ("schedule", "--nodes", "-1"),
        ("schedule", "--seed", "1" + "0" * 400),
    ],
)
def test_number_out_of_range_is_refused(
    argv: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(here, Path())
    assert command.main(list(argv)) == 2
    said, why = capsys.readouterr()
    assert (said, why.count("\n")) == ("", 1)
    assert why.startswith("error: --")
    assert len(why) < 600


@pytest.mark.parametrize("argv", [("error-rates", "--seed", "x"), (*GATE, "--max-age", "x")])
def test_text_for_a_number_is_refused(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(list(argv))
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("value: 'x'")


LIMITED = """
import json, os, resource, sys
from validation.cli.main import main

size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**30, size + 2**30))
# Nobody waits that long: it ends what would never end.
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
for folder, argv in json.load(sys.stdin):
    os.chdir(folder)
    print("\\n" + folder, main(argv), flush=True)
"""
LARGE = {
    "deep nesting": VALUES["deep nesting"],
    "endless integer": VALUES["endless integer"],
    "million digits": "1" * 1_000_000,
    "millions of lists": "[" + "[]," * 2_500_000 + "[]]",
    "millions of objects": "[" + "{}," * 2_500_000 + "{}]",
    "long text": '"' + "x" * 7_000_000 + '"',
    "escaped text": '"' + "\\u0007" * 1_200_000 + '"',
}
"""JSON in place of one value, that is large in memory."""


def blank_lines(path: Path) -> None:
    path.write_bytes(b"\n" * (15 * 1024**2))


@pytest.mark.slow
def test_large_files_do_not_fill_the_memory(made: Path, tmp_path: Path) -> None:
    """1 GiB more than an idle process has."""
    cases: list[tuple[str, tuple[str, ...]]] = []
    # One for each kind of file: they have one reader.
    kinds = {one.file: one for one in ENTRIES.values() if one.values and one.argv[0] != "schedule"}
    for number, entry in enumerate(kinds.values()):
        for damage in ("300 MiB", "long line", "blank lines", *LARGE):
            folder = tmp_path / f"{number} {damage}"
            folder.mkdir()
            fresh(made, folder)
            file = folder / entry.file
            if damage in LARGE:
                text, (pattern, *_) = file.read_text("utf-8"), entry.values
                text = with_value(text, pattern, LARGE[damage], chained=entry.chained)
                file.write_text(text, encoding="utf-8")
            else:
                {**FILES, "blank lines": blank_lines}[damage](file)
            cases.append((str(folder), entry.argv))
    argv = [sys.executable, "-c", LIMITED]
    done = subprocess.run(argv, input=json.dumps(cases), capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    said = [line.rpartition(" ") for line in done.stdout.splitlines() if line.startswith("/")]
    found = {folder: int(status) for folder, _, status in said if status.isdigit()}
    assert found.keys() == {folder for folder, _ in cases}
    assert set(found.values()) <= {0, 2, 3}

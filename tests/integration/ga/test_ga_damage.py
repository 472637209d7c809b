"""Any damaged value of any column: one line and a documented exit status, never another result."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ga.cli import main
from ga.ledger import open_ledger
from ga.ledger.request_check import fingerprint_of
from tests.support.damages import COLUMNS, VALUES, damage, loosen, plausible
from tests.support.service_app import GOOD, Service

RUN = "0123456789ab"
MARKET = "synthetic:assets=1,bars=400,seed=1"
EVOLVE = [
    *("evolve", "--market", MARKET, "--mode", "local", "--workers", "1", "--json"),
    *("--population-size", "8", "--generations", "3", "--run-id", RUN),
    *("--families", "ema_crossover", "--folds", "2"),
]
COMMANDS = ("runs", "strategies", "show", "export", "signals", "verify", "backup", "resume")
ROUTES = ("", f"/{RUN}", f"/{RUN}/strategies", f"/{RUN}/strategies/KEY", f"/{RUN}/events")


class Stores:
    """A ledger with one run that ended, and one with the same run cut short.

    Each has a row in every table, and lets any value be stored.
    """

    def __init__(self, folder: Path) -> None:
        self.ended, self.cut = folder / "ledger.db", folder / "cut" / "ledger.db"
        self.cut.parent.mkdir()
        assert main.main([*EVOLVE, "--store", str(self.ended)]) == 0
        # What is compared with the run is left to it.
        request = {"market": GOOD["market"], "mode": "local"}
        body = json.dumps(request)
        with closing(sqlite3.connect(self.ended)) as there, there:
            self.key = there.execute("SELECT key FROM strategies WHERE rank = 0").fetchone()[0]
            last = there.execute("SELECT max(rowid) FROM evaluations").fetchone()[0]
            # The row that is damaged is the one that is shown.
            there.execute("UPDATE evaluations SET rowid = ? WHERE key = ?", (last + 1, self.key))
            there.execute(
                "INSERT INTO attempts VALUES (?, 0, 0, ?, 0, 'local', 'lost', 'why', 1.5)",
                (RUN, self.key),
            )
            there.execute("DELETE FROM nodes")
            there.execute(
                "INSERT INTO nodes VALUES (?, 'n', 'a', 'p', 1, ?, NULL, 1.5)", (RUN, self.key)
            )
            there.execute(
                "INSERT INTO requests VALUES (?, 'one', ?, ?, 'finished', 1, NULL, 1.5, 2.5)",
                (RUN, fingerprint_of(request), body),
            )
            there.execute("DELETE FROM anchors")
        with closing(open_ledger(str(self.ended), create=False)) as ledger:
            ledger.keep(RUN, ledger.strategies(RUN, 5))
        shutil.copy(self.ended, self.cut)
        with closing(sqlite3.connect(self.cut)) as there, there:
            for table in ("individuals", "generations", "evaluations"):
                there.execute(f"DELETE FROM {table} WHERE generation = 2")
            for table in ("anchors", "strategies"):
                there.execute(f"DELETE FROM {table}")
            there.execute("UPDATE runs SET finished_at = NULL")
        for file in (self.ended, self.cut):
            loosen(file)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return Stores(tmp_path_factory.mktemp("damaged"))


def arguments(command: str, key: str, folder: Path) -> list[str]:
    return {
        "runs": ["runs", "--json"],
        "strategies": ["strategies", RUN, "--json"],
        "show": ["show", key[:12], "--json"],
        "export": ["export", key[:12]],
        "signals": ["signals", key[:12], "--market", MARKET],
        "verify": ["verify", RUN, "--stored", "--json"],
        "backup": ["backup", str(folder / "backup"), "--json"],
        "resume": ["resume", RUN, "--workers", "1", "--json"],
    }[command]


def result(command: str, out: str) -> object:
    """What a command found, without times."""
    if command in ("export", "signals"):
        return out
    found = json.loads(out)
    if command == "resume":
        return {name: found[name] for name in ("digest", "best", "families", "edge")}
    if command == "runs":
        # The size is what the rows take, damaged ones, too.
        return [{name: value for name, value in one.items() if name != "bytes"} for one in found]
    return None if command == "backup" else found


Run = Callable[[str, Path], tuple[int, str, str]]


@pytest.fixture
def run(stores: Stores, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a ledger."""

    def go(command: str, file: Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main.main([*arguments(command, stores.key, tmp_path), "--store", str(file)])
        return (status, *capsys.readouterr())

    return go


def judge(run: Run, stores: Stores, tmp_path: Path, case: tuple[str, str, str, str]) -> None:
    """Damage a copy, and compare what the command says with what it said before."""
    command, table, column, value = case
    original = stores.cut if command == "resume" else stores.ended
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    whole, copy = folder / "whole.db", folder / "copy.db"
    for file in (whole, copy):
        shutil.copy(original, file)
    damage(copy, table, column, value)
    before, after = run(command, whole), run(command, copy)
    assert before[0] == 0, before
    status, out, err = after
    assert "Traceback" not in out + err
    if status == 0:
        known = plausible(table, column, value)
        undetected = known and (command == "resume" or table in ("evaluations", "requests"))
        assert undetected or result(command, out) == result(command, before[1]), after
        return
    assert status in (1, 2), after
    if command == "verify" and out:
        assert json.loads(out)["equal"] is False
        return
    told = [line for line in err.splitlines() if line.startswith("ga:")]
    lines = [line for line in told if "compiling kernels" not in line]
    assert (len(lines), out) == (1, ""), after
    assert err.splitlines()[-1] == lines[0]


@hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    case=st.tuples(
        st.sampled_from(COMMANDS), st.sampled_from(COLUMNS), st.sampled_from(sorted(VALUES))
    )
)
@example(case=("resume", ("evaluations", "genes"), "object"))
@example(case=("resume", ("evaluations", "family"), "text"))
@example(case=("strategies", ("evaluations", "fitness"), "NULL"))
@example(case=("runs", ("runs", "created_at"), "infinite"))
@example(case=("backup", ("strategies", "holdout"), "blob"))
def test_damaged_value_changes_no_result(run, stores, tmp_path, case):
    command, (table, column), value = case
    judge(run, stores, tmp_path, (command, table, column, value))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_every_damaged_value_changes_no_result(run, stores, tmp_path, command, table, column):
    for value in VALUES:
        judge(run, stores, tmp_path, (command, table, column, value))


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_service_answers_damage_with_problem(stores, tmp_path, table, column):
    (tmp_path / "service").mkdir()
    file = tmp_path / "service" / "ledger.db"
    shutil.copy(stores.ended, file)
    service = Service(file.parent)
    paths = [f"/v1/evolutions{route}".replace("KEY", stores.key) for route in ROUTES]
    before = [service.http.get(path) for path in paths]
    assert [one.status_code for one in before] == [200] * len(paths)
    for value in VALUES:
        shutil.copy(stores.ended, file)
        damage(file, table, column, value)
        for path, expected in zip(paths, before, strict=True):
            found = service.http.get(path)
            if found.status_code == 200:
                known = plausible(table, column, value) and table in ("evaluations", "requests")
                assert known or found.text == expected.text, (path, value)
            elif (table, column) == ("requests", "run"):
                assert found.status_code in (404, 500)
            else:
                assert found.status_code == 500, (path, value, found.text)
                assert found.headers["content-type"] == "application/problem+json"
                assert "damaged" in found.json()["detail"] or "altered" in found.json()["detail"]
    service.ledger.close()


def test_damage_is_named_with_run_and_remedy(run, stores, tmp_path):
    copy = shutil.copy(stores.ended, tmp_path / "copy.db")
    damage(copy, "evaluations", "genes", "list")
    status, _, err = run("strategies", copy)
    assert status == 1
    assert err == (
        f"ga: run {RUN}: table evaluations, column genes: [None] is not JSON of a list of 1 to 64"
        " numbers; the ledger is damaged: restore a backup into a new one\n"
    )

"""prune: what is old is removed whole, and nothing else is touched."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ga.cli import main, waiting
from ga.errors import LedgerError
from ga.evolution import GENESIS
from ga.ledger import open_ledger, ownership
from ga.ledger.retention import OldRun, old_runs, remove, shrink
from ga.ledger.schema import anchors, metadata, requests, runs
from tests.support.ledger_stores import PLAN, History, change, keys, rows
from tests.support.waiting import wait_until

DAY = 86_400.0


def made(store: str, history: History, committed: int = PLAN.generations) -> str:
    """A run with so many generations."""
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        history.digest = GENESIS
        for generation in range(committed):
            history.commit(ledger, run, generation)
    return run


def aged(store: str, run: str, days: float) -> None:
    """Move a run's times to so many days ago."""
    at = time.time() - days * DAY
    change(
        store,
        f"UPDATE runs SET created_at = {at - 9}, finished_at = CASE WHEN finished_at IS NULL"
        f" THEN NULL ELSE CAST({at} AS DOUBLE PRECISION) END WHERE run = '{run}'",
    )
    change(store, f"UPDATE generations SET finished_at = {at} WHERE run = '{run}'")


def request(store: str, run: str, days: float, *, ended: bool) -> None:
    at = time.time() - days * DAY
    end, state = (at, "finished") if ended else ("NULL", "running")
    change(
        store,
        f"INSERT INTO requests VALUES ('{run}', 'key of {run}', '{'0' * 64}', '{{}}', '{state}', 1,"
        f" NULL, {at - 20}, {end})",
    )


def everything(store: str) -> dict[str, dict[str, list[tuple[object, ...]]]]:
    """Run -> table -> its rows."""
    found: dict[str, dict[str, list[tuple[object, ...]]]] = {}
    for table in metadata.sorted_tables:
        at = list(table.columns).index(table.c.run)
        for row in rows(store, table):
            found.setdefault(str(row[at]), {}).setdefault(table.name, []).append(row)
    return found


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A ledger without rows, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    open_ledger(str(path), create=True).close()
    return path


@pytest.fixture
def ga(store, capsys, monkeypatch):
    """Run a command on the store; its status and outputs."""
    # PostgreSQL's URL has a password, which is refused on the command line.
    monkeypatch.setenv("GA_STORE", store)

    def call(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main.main(list(argv))
        return (status, *capsys.readouterr())

    return call


def test_old_ended_runs_are_removed_whole(store, history, ga):
    old, young, cut = made(store, history), made(store, history), made(store, history, 2)
    aged(store, old, 31)
    aged(store, cut, 31)
    request(store, old, 31, ended=True)
    before = everything(store)
    assert set(before[old]) >= {
        "runs", "generations", "evaluations", "individuals", "anchors", "requests"
    }  # fmt: skip
    status, out, _ = ga("prune", "--older-than", "30", "--json")
    listed = json.loads(out)
    assert (status, listed["dry_run"]) == (0, True)
    assert [one["run"] for one in listed["removed"]] == [old]
    assert listed["rows"] == sum(map(len, before[old].values()))
    assert [one["run"] for one in listed["kept"]] == [cut]
    assert everything(store) == before

    status, out, _ = ga("prune", "--older-than", "30", "--json", "--yes")
    done = json.loads(out)
    assert (status, done["dry_run"], done["removed"]) == (0, False, listed["removed"])
    del before[old]
    assert everything(store) == before
    with closing(open_ledger(store, create=False)) as ledger:
        assert ledger.anchored(young).altered == ()
        assert len(ledger.anchored(young).anchor) == 64
        history.digest = ledger.run(cut).digest
        history.commit(ledger, cut, 2)

    status, out, _ = ga("prune", "--older-than", "30", "--json", "--yes", "--unfinished")
    # Its last generation is new.
    assert (status, json.loads(out)["removed"]) == (0, [])
    aged(store, cut, 31)
    assert ga("prune", "--older-than", "30", "--yes", "--unfinished")[0] == 0
    assert set(everything(store)) == {young}


@seed(20)
@hypothesis_settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from([0.0, 9.9, 10.1, 50.0]),
            st.sampled_from([0, 1, PLAN.generations]),
            st.sampled_from([None, True, False]),
        ),
        max_size=3,
    ),
    unfinished=st.booleans(),
)
def test_exactly_the_expected_runs_are_removed(empty, history, tmp_path_factory, plan, unfinished):
    store = str(shutil.copy(empty, tmp_path_factory.mktemp("prune") / "ledger.db"))
    keeps = set()
    for days, committed, ended in plan:
        run = made(store, history, committed)
        aged(store, run, days)
        if ended is not None:
            request(store, run, days, ended=ended)
        finished = committed == PLAN.generations
        if days < 10 or ended is False or not (finished or unfinished):
            keeps.add(run)
    before = everything(store)
    more = ["--unfinished"] if unfinished else []
    assert main.main(["prune", "--older-than", "10", "--yes", "--store", store, *more]) == 0
    assert everything(store) == {run: found for run, found in before.items() if run in keeps}


def test_owned_run_is_kept(store, history, ga, monkeypatch):
    monkeypatch.setattr(ownership, "GRACE", 0.2)
    run = made(store, history)
    aged(store, run, 3)
    with closing(open_ledger(store, create=False)) as ledger, ledger.acquire(run):
        before = everything(store)
        for more in ([], ["--yes"]):
            status, out, _ = ga("prune", "--older-than", "2", "--json", *more)
            found = json.loads(out)
            assert (status, found["removed"]) == (0, [])
            assert found["kept"][0]["reason"] == "another process evolves it"
        assert everything(store) == before
        # Also if it was taken after it was listed.
        listed = OldRun(run=run, market="m", last_at=0.0, ended=True,
                        size=_only(ledger, 2).size, kept="")  # fmt: skip
        with (
            closing(open_ledger(store, create=False)) as other,
            pytest.raises(Exception, match="is being evolved by another process"),
        ):
            remove(other, listed, time.time())
        assert everything(store) == before
    assert ga("prune", "--older-than", "2", "--yes")[0] == 0
    assert everything(store) == {}


def _only(ledger, days: float) -> OldRun:
    (one,) = old_runs(ledger, time.time() - days * DAY)
    return one


def test_run_that_changed_since_is_kept(store, history):
    run = made(store, history)
    aged(store, run, 3)
    with closing(open_ledger(store, create=False)) as ledger:
        limit = time.time() - 2 * DAY
        listed = _only(ledger, 2)
        request(store, run, 3, ended=False)
        before = everything(store)
        with pytest.raises(LedgerError, match="was changed since it was listed"):
            remove(ledger, listed, limit)
        after = everything(store)
    # Its owner is not part of what it is.
    at = [list(runs.columns).index(runs.c[name]) for name in ("token", "owner")]
    for found in (before, after):
        found[run]["runs"] = [
            tuple(v for i, v in enumerate(row) if i not in at) for row in found[run]["runs"]
        ]
    assert before == after


def test_failed_removal_leaves_all_rows_of_the_run(store, history, ga):
    first, second = made(store, history), made(store, history)
    aged(store, first, 4)
    aged(store, second, 3)
    change(store, "CREATE TABLE holds (run VARCHAR(32) REFERENCES runs (run))")
    change(store, f"INSERT INTO holds VALUES ('{second}')")
    before = everything(store)
    status, out, err = ga("prune", "--older-than", "2", "--yes")
    assert status == 1
    assert out == ""
    assert "Traceback" not in err
    found = everything(store)
    # Each run is a transaction of its own: the first is gone, the second is whole.
    assert set(found) == {second}
    for table in ("generations", "evaluations", "individuals", "anchors"):
        assert found[second][table] == before[second][table]


def test_request_that_never_began_is_removed(store, ga):
    open_ledger(store, create=True).close()
    request(store, "0" * 12, 5, ended=True)
    request(store, "1" * 12, 5, ended=False)
    request(store, "2" * 12, 1, ended=True)
    assert ga("prune", "--older-than", "4", "--yes")[0] == 0
    assert {row[0] for row in rows(store, requests)} == {"1" * 12, "2" * 12}


def test_best_of_each_market_are_kept(store, history, ga):
    names = [made(store, history) for _ in range(5)]
    for number, run in enumerate(names):
        aged(store, run, 10 + number)
        change(store, f"UPDATE evaluations SET fitness = fitness + {number} WHERE run = '{run}'")
    other = "f" * 64
    for run in names[:2]:
        change(store, f"UPDATE runs SET market_hash = '{other}' WHERE run = '{run}'")
    assert ga("prune", "--older-than", "5", "--keep-best", "1", "--yes")[0] == 0
    assert {row[0] for row in rows(store, runs)} == {names[1], names[4]}


def test_space_is_returned_to_the_volume(tmp_path, history):
    store = tmp_path / "ledger.db"
    for _ in range(8):
        aged(str(store), made(str(store), history), 3)
    kept = made(str(store), history)
    # With a connection of another process, as of a service that has the ledger open.
    with closing(open_ledger(str(store), create=False)) as ledger:
        assert ledger.run(kept).committed == PLAN.generations
        before = store.stat().st_size
        assert main.main(["prune", "--older-than", "2", "--yes", "--store", str(store)]) == 0
        assert store.stat().st_size < before
        assert ledger.anchored(kept).altered == ()
        assert shrink(ledger.engine) is None


@pytest.mark.stack
def test_postgresql_gets_a_hint_only(postgres):
    with closing(open_ledger(postgres, create=True)) as ledger:
        assert "VACUUM FULL" in str(shrink(ledger.engine))


def test_sizes_add_up_to_the_ledger(store, history, ga):
    for committed in (PLAN.generations, 2):
        made(store, history, committed)
    status, out, _ = ga("runs", "--json")
    found = {one["run"]: one for one in json.loads(out)}
    expected = {r: sum(map(len, of.values())) for r, of in everything(store).items()}
    assert (status, {run: one["rows"] for run, one in found.items()}) == (0, expected)
    total = sum(one["bytes"] for one in found.values())
    if store.startswith("sqlite"):
        file = Path(store.removeprefix("sqlite:///"))
        free = "freelist_count"
        with closing(open_ledger(store, create=False)) as ledger, ledger.engine.connect() as there:
            page, pages = (
                there.exec_driver_sql(f"PRAGMA {n}").scalar_one() for n in ("page_size", free)
            )
        assert 0 <= file.stat().st_size - page * pages - total < len(found)
    assert total > 0
    status, out, _ = ga("runs")
    assert out.splitlines()[-1].startswith("ledger: ")


@pytest.mark.parametrize("argv", [
    [], ["--older-than", "-1"], ["--older-than", "nan"], ["--older-than", "x"],
    ["--older-than", "1", "--keep-best", "-1"],
])  # fmt: skip
def test_wrong_options_are_refused_in_one_line(tmp_path, capsys, argv):
    store = tmp_path / "ledger.db"
    open_ledger(str(store), create=True).close()
    capsys.readouterr()
    assert main.main(["prune", *argv, "--store", str(store)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)


def test_damaged_time_is_refused(tmp_path, history, capsys):
    store = str(tmp_path / "ledger.db")
    run = made(store, history)
    change(store, f"UPDATE runs SET finished_at = 'soon' WHERE run = '{run}'")
    before = {t.name: _raw(store, t) for t in metadata.sorted_tables}
    assert main.main(["prune", "--older-than", "0", "--yes", "--store", store]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert {t.name: _raw(store, t) for t in metadata.sorted_tables} == before
    assert len(rows(store, anchors)) == 1


def _raw(store: str, table: sa.Table) -> int:
    with closing(open_ledger(store, create=False)) as ledger, ledger.engine.connect() as there:
        return int(there.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@seed(22)
@hypothesis_settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(
        st.tuples(st.sampled_from([None, -1.5, 0.0, 0.25, 3.5]), st.integers(0, 1)),
        min_size=PLAN.population_size,
        max_size=PLAN.population_size,
    ),
    limit=st.integers(1, 30),
    one=st.booleans(),
)
def test_best_strategies_are_those_of_all_rows(
    empty, history, tmp_path_factory, values, limit, one
):
    store = str(shutil.copy(empty, tmp_path_factory.mktemp("best") / "ledger.db"))
    names = [made(store, history, 1) for _ in range(2)]
    for key, (fitness, trades) in zip(keys(0), values, strict=True):
        value, error = ("NULL", "'x'") if fitness is None else (fitness, "NULL")
        change(
            store,
            f"UPDATE evaluations SET fitness = {value}, error = {error}, trades = {trades}"
            f" WHERE key = '{key}'",
        )
    run = names[0] if one else None
    # One of each run, fitness, trades: the first key. The best first, then by key.
    firsts: dict[tuple[object, ...], str] = {}
    for name in [run] if run else names:
        for key, (fitness, trades) in sorted(zip(keys(0), values, strict=True)):
            if fitness is not None:
                firsts.setdefault((name, fitness, trades), key)
    expected = sorted((-of[1], key) for of, key in firsts.items())[:limit]
    with closing(open_ledger(store, create=False)) as ledger:
        found = ledger.strategies(run, limit)
    assert [(-one.outcome.fitness, one.outcome.key) for one in found] == expected


def test_only_large_ledger_is_announced(empty, monkeypatch, capsys):
    said: list[str] = []

    def announced() -> bool:
        said.append(capsys.readouterr().err)
        return "".join(said).count("reading a ledger of ") >= 2

    monkeypatch.setattr(waiting, "PAUSE", 0.01)
    before = threading.active_count()
    with closing(open_ledger(str(empty), create=False)) as ledger:
        with waiting.announced_if_large(ledger):
            assert threading.active_count() == before
        monkeypatch.setattr(waiting, "LARGE", 0)
        with waiting.announced_if_large(ledger):
            wait_until(announced, seconds=30, what="the ledger is announced")
        assert threading.active_count() == before


def test_resume_announces_what_it_reads(tmp_path, monkeypatch):
    store, reading = str(tmp_path / "ledger.db"), []

    @contextmanager
    def announced(ledger):
        reading.append(ledger.engine.url.database)
        yield
        reading.append("read")

    argv = ["--store", store, "--mode", "local", "--workers", "1", "--top", "0"]
    begin = ["--market", "synthetic:assets=1,bars=300", "--families", "ema_crossover"]
    size = ["--population-size", "4", "--generations", "1", "--run-id", "0" * 12]
    assert main.main(["evolve", *begin, *size, *argv]) == 0
    monkeypatch.setattr(main, "announced_if_large", announced)
    assert reading == []
    assert main.main(["resume", "0" * 12, *argv]) == 0
    assert reading == [store, "read"]

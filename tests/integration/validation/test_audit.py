"""The audit must see each way in which a ledger can be wrong."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from ga.cli.main import main
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.genome import Genome
from ga.sources import load_market
from validation.evidence.records_ledger import Audit
from validation.scripts.evaluate_again import Stored, evaluate_again
from validation.stages.evolve_process import WorkloadSpec
from validation.stages.ledger_audit import (
    audit,
    find_run,
    forget,
    read_generations,
    read_places,
)
from validation.stages.ledger_history import (
    SAMPLE,
    Place,
    StoredEvaluation,
    StoredHistory,
    choose,
    sample_seed,
)

ROOT = Path(__file__).resolve().parents[3]
SPEC = WorkloadSpec(
    seed=3, market="synthetic:assets=1,bars=400,seed=2", population_size=12, generations=4
)


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    arguments = ["evolve", "--market", SPEC.market, "--seed", "3", "--mode", "local"]
    arguments += ["--workers", "1", "--population-size", "12", "--generations", "4"]
    assert main([*arguments, "--store", url, "--json"]) == 0
    return url


def run_of(store: str) -> str:
    run = find_run(store, since=0.0)
    assert run is not None
    return run


def look(store: str) -> Audit:
    return audit(store, run_of(store), "w", SPEC, seed=1)


def distinct(store: str) -> dict[str, str]:
    """Key and family of each evaluation."""
    engine = sa.create_engine(store)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT key, family FROM evaluations")).all()
    engine.dispose()
    return {str(key): str(family) for key, family in rows}


def damage(store: str, statement: str) -> None:
    engine = sa.create_engine(store)
    with engine.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount > 0
    engine.dispose()


def test_sound_ledger_has_no_findings(store: str) -> None:
    found = look(store)
    assert (found.expected, found.committed) == (48, 48)
    assert (found.lost, found.doubled, found.failed, found.mismatched) == (0, 0, 0, 0)
    assert found.digest == found.recomputed_digest
    assert found.witnesses == ()
    # Of few evaluations all are repeated, those with an independent path on it.
    assert found.sampled == len(distinct(store))
    learned = sum(family in found.without_path for family in distinct(store).values())
    assert found.independent == found.sampled - learned > 20
    assert (found.independent_differing, found.undecided, found.irregular) == (0, 0, 0)
    assert found.final_strategies == 5
    assert 4 <= found.winners < found.sampled
    assert found.from_cache == 0


def test_missing_individual_is_lost_and_named(store: str) -> None:
    damage(store, 'DELETE FROM individuals WHERE generation = 2 AND "index" = 5')
    found = look(store)
    assert found.lost == 1
    assert "generation 2 index 5" in found.witnesses[0]
    assert found.digest != found.recomputed_digest


def test_missing_evaluation_is_lost(store: str) -> None:
    damage(store, "DELETE FROM evaluations WHERE key IN (SELECT key FROM evaluations LIMIT 1)")
    assert look(store).lost >= 1


def test_extra_individual_is_doubled(store: str) -> None:
    damage(
        store,
        "INSERT INTO individuals SELECT run, generation, 12, key FROM individuals"
        ' WHERE generation = 1 AND "index" = 0',
    )
    found = look(store)
    assert found.doubled == 1
    assert found.committed == found.expected


def test_evaluation_without_individual_is_doubled(store: str) -> None:
    damage(
        store,
        "INSERT INTO evaluations (run, key, family, genes, trades, max_drawdown, generation,"
        " attempts) SELECT run, 'ff', family, genes, trades, max_drawdown, generation, attempts"
        " FROM evaluations LIMIT 1",
    )
    assert look(store).doubled == 1


def test_changed_fitness_breaks_digest_and_sample(store: str) -> None:
    damage(store, "UPDATE evaluations SET fitness = fitness + 1e-12")
    found = look(store)
    assert found.digest != found.recomputed_digest
    assert found.mismatched == found.sampled
    # So little is within the tolerance of the independent path.
    assert found.independent_differing == 0


@pytest.mark.parametrize(
    ("statement", "independent"),
    [
        ("UPDATE evaluations SET trades = trades + 1", True),
        ("UPDATE evaluations SET max_drawdown = max_drawdown + 1e-6", True),
        ("UPDATE evaluations SET fitness = fitness + 1e-6", True),
        ("UPDATE strategies SET holdout = in_sample", True),
        ("UPDATE strategies SET out_of_sample = out_of_sample + 1e-6", True),
        ("UPDATE strategies SET in_sample = in_sample + 1e-15", False),
        ("UPDATE evaluations SET max_drawdown = max_drawdown + 1e-17", False),
        ("UPDATE evaluations SET genes = json_set(genes, '$[0]', 11.5)", False),
    ],
)
def test_any_changed_column_is_found_twice(store: str, statement: str, independent: bool) -> None:
    before = look(store)
    damage(store, statement)
    found = look(store)
    assert found.content != before.content
    assert found.mismatched > 0
    if independent:
        assert found.independent_differing > 0
    assert found.witnesses


def test_left_out_columns_do_not_change_the_content(store: str) -> None:
    before = look(store)
    damage(store, "UPDATE evaluations SET attempts = attempts + 1")
    damage(store, "UPDATE generations SET seconds = 9, finished_at = finished_at + 1")
    damage(store, "UPDATE runs SET mode = 'distributed', created_at = 1, token = 8")
    found = look(store)
    assert (found.content, found.irregular) == (before.content, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE evaluations SET attempts = 0",
        "UPDATE runs SET mode = 'elsewhere'",
        "UPDATE generations SET seconds = -1",
        "UPDATE nodes SET processor = ''",
        "INSERT INTO attempts SELECT run, 9, 0, key, 0, 'n', 'lost', NULL, 1.0 FROM individuals"
        " LIMIT 1",
        "INSERT INTO attempts SELECT run, 1, 0, 'ff', 0, 'n', 'lost', NULL, 1.0 FROM runs",
    ],
)
def test_impossible_value_of_left_out_column_is_irregular(store: str, statement: str) -> None:
    damage(store, statement)
    found = look(store)
    assert found.irregular > 0
    assert any(text.startswith("irregular: ") for text in found.witnesses)


def test_sample_differs_between_runs_but_holds_the_winners() -> None:
    names = [f"{number:064x}" for number in range(1000)]
    evaluations = {
        key: StoredEvaluation(
            key=key,
            family="ema_crossover",
            genes=(1.0,),
            fitness=float(number),
            trades=1,
            drawdown=0.0,
            error=None,
        )
        for number, key in enumerate(names)
    }
    history = StoredHistory(
        rows=tuple(
            Place(generation=n // 100, index=n % 100, key=key, evaluation=evaluations[key])
            for n, key in enumerate(names)
        ),
        evaluations=evaluations,
        stray=0,
        digests={},
        strategies={names[5]: (0.1, 0.2, 0.3)},
        settings={},
    )
    first, second = (choose(history, sample_seed(7, run)) for run in ("one", "two"))
    # The last of each hundred is the best of its generation; the one kept is a winner, too.
    best = {*names[99::100], names[5]}
    assert {one.key for one in first.winners} == {one.key for one in second.winners} == best
    drawn = [{one.key for one in chosen.drawn} for chosen in (first, second)]
    assert [len(keys) for keys in drawn] == [SAMPLE, SAMPLE]
    assert drawn[0] != drawn[1]
    assert not (drawn[0] | drawn[1]) & best
    assert choose(history, sample_seed(7, "one")) == first


def test_failed_evaluation_is_counted_and_named(store: str) -> None:
    damage(store, "UPDATE evaluations SET fitness = NULL, error = 'boom' WHERE generation = 3")
    found = look(store)
    assert found.failed > 0
    assert any("boom" in witness for witness in found.witnesses)


def test_generations_are_read_with_their_individuals(store: str) -> None:
    damage(store, 'DELETE FROM individuals WHERE generation = 2 AND "index" = 5')
    generations = read_generations(store, run_of(store), "w")
    assert [g.individuals for g in generations] == [12, 12, 11, 12]


def test_places_match_the_ledger(store: str) -> None:
    damage(store, 'DELETE FROM individuals WHERE generation = 2 AND "index" IN (0, 5, 6)')
    damage(
        store,
        "INSERT INTO individuals SELECT run, generation, 12, key FROM individuals"
        ' WHERE generation = 1 AND "index" = 0',
    )
    places = read_places(store, run_of(store), "w", SPEC, acknowledged={0, 1, 2})
    assert [(p.generation, p.found, p.again, p.acknowledged) for p in places] == [
        (0, "0-11", "", True),
        (1, "0-12", "", True),
        (2, "1-4,7-11", "", True),
        (3, "0-11", "", False),
    ]


def test_store_without_tables_has_no_run(tmp_path: Path) -> None:
    assert find_run(f"sqlite:///{tmp_path / 'empty.db'}", since=0.0) is None


def test_forget_deletes_the_whole_run(store: str) -> None:
    """Also from a database that minds its references, as PostgreSQL does: a soak ended by it."""
    forget(store)
    engine = sa.create_engine(store)
    tables = sa.MetaData()
    with engine.connect() as connection:
        tables.reflect(connection)
        rows = {
            name: len(connection.execute(table.select()).all())
            for name, table in tables.tables.items()
        }
    engine.dispose()
    assert rows.pop("alembic_version") == 1
    assert {"runs", "strategies", "individuals"} <= rows.keys()
    assert set(rows.values()) == {0}
    assert find_run(store, since=0.0) is None
    # The ledger can be used again.
    argv = ["evolve", "--market", SPEC.market, "--mode", "local", "--workers", "1", "--json"]
    argv += ["--population-size", "4", "--generations", "1", "--store", store]
    assert main(argv) == 0


def test_harness_loads_neither_kernels_nor_compiler() -> None:
    code = (
        "import pkgutil, sys, importlib, validation\n"
        "for found in pkgutil.walk_packages(validation.__path__, 'validation.'):\n"
        "    if not found.name.rpartition('.')[2].startswith(('test_', '__main__')):\n"
        "        if not found.name.startswith('validation.scripts.'):\n"
        "            importlib.import_module(found.name)\n"
        "print([name for name in ('numba', 'ga.backtest.kernel') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_unrepeatable_evaluations_are_an_error() -> None:
    settings = dataclasses.asdict(Settings(folds=3))
    genes = (8.0, 25.0, 0.01, 0.5, 0.01)
    stored = Stored(family="ema_crossover", genes=genes, fitness=1.0, trades=1, drawdown=0.1)
    with pytest.raises(RuntimeError, match=r"not repeated: .*no such market"):
        evaluate_again("no such market", settings, [stored])
    market = "synthetic:assets=1,bars=900,seed=5"
    (found,) = evaluate_again(market, settings, [stored])
    seen = visible(load_market(market), Settings(folds=3))
    (outcome,) = evaluate(seen, Settings(folds=3), [Genome("ema_crossover", genes)])
    assert (found.key, found.fitness, found.trades) == (
        outcome.key,
        outcome.fitness,
        outcome.trades,
    )
    assert found.apart

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
from validation.scripts.evaluate_again import evaluate_again
from validation.stages.evolve_process import WorkloadSpec
from validation.stages.ledger_audit import (
    audit,
    find_run,
    forget,
    read_generations,
    read_places,
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
    assert found.sampled == 24
    assert found.witnesses == ()


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
    with pytest.raises(RuntimeError, match=r"not repeated: .*no such market"):
        evaluate_again("no such market", settings, [("ema_crossover", (8.0, 20.0, 0.0, 0.5, 0.0))])
    market = "synthetic:assets=1,bars=900,seed=5"
    genes = (8.0, 25.0, 0.01, 0.5, 0.01)
    ((key, fitness),) = evaluate_again(market, settings, [("ema_crossover", genes)])
    seen = visible(load_market(market), Settings(folds=3))
    (outcome,) = evaluate(seen, Settings(folds=3), [Genome("ema_crossover", genes)])
    assert (key, fitness) == (outcome.key, outcome.fitness)

"""The Python API: the same runs as the command line, from scripts of every kind."""

from __future__ import annotations

import gc
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

import ga
from ga.analysis.holdout import equity
from ga.cli import main
from ga.evaluation.folds import visible
from ga.genome import Genome
from ga.sources import synthetic

MARKET = "synthetic:bars=600"
FAMILIES = ("ema_crossover", "rsi_filter")
SMALL = {"seed": 7, "population_size": 20, "generations": 3, "families": FAMILIES, "workers": 1}
OPTIONS = (
    "--seed", "7", "--population-size", "20", "--generations", "3",
    "--families", ",".join(FAMILIES), "--workers", "1",
)  # fmt: skip


def evolve(market: object = MARKET, **changed: object) -> ga.Run:
    return ga.evolve(market, **{"progress": False, **SMALL, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run() -> ga.Run:
    return evolve()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the command line prints of the same run."""
    store = tmp_path_factory.mktemp("printed") / "ga.db"
    done = subprocess.run(
        [sys.executable, "-m", "ga", "evolve", "--market", MARKET, *OPTIONS, "--json",
         "--store", str(store)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def command(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    status = main.main(argv)
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


def test_run_equals_that_of_command_line(run: ga.Run, printed: dict[str, object]) -> None:
    assert run.digest == printed["digest"]
    best = printed["best"]
    assert isinstance(best, list)
    assert [s.key for s in run.ranking] == [row["key"] for row in best]
    assert run.best.genes == best[0]["genes"]
    sharpes = (run.best.in_sample, run.best.out_of_sample, run.best.holdout)
    parts = ("in_sample", "out_of_sample", "holdout")
    assert sharpes == tuple(best[0][f"{part}_sharpe"] for part in parts)
    assert dict(run.families_at_end) == printed["families"]
    edge = printed["edge"]
    assert isinstance(edge, dict)
    assert run.edge is not None
    assert (run.edge.shown, run.edge.deflated) == (edge["shown"], edge["deflated"])
    assert str(run.edge).startswith(("evidence", "no evidence"))


def test_strategies_have_columns_of_command_line(
    run: ga.Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = str(tmp_path / "ga.db")
    kept = evolve(store=store)
    lines = command(capsys, "strategies", "--limit", "1", "--store", store).splitlines()
    sharpes, statistics = (at for at, line in enumerate(lines) if line.split()[-1:] in
                           (["hold-out"], ["trades"]))  # fmt: skip
    columns = [*lines[sharpes].split(), *lines[statistics].split()[1:]]
    assert list(run.strategies.columns) == columns
    row = run.strategies.iloc[0]
    first = lines[sharpes + 1].split()
    assert first[:2] == [row["key"], row["family"]]
    numbers = [row[name] for name in columns[2:6]]
    assert [float(text) for text in first[2:]] == [round(number, 3) for number in numbers]
    first = lines[statistics + 1].split()
    assert first[0] == row["key"]
    assert float(first[4]) == round(row["turnover"], 1)
    assert int(first[6]) == row["trades"]
    assert kept.strategies.equals(run.strategies)


def test_in_sample_is_sharpe_ratio_and_not_fitness(run: ga.Run) -> None:
    for strategy, (_, row) in zip(run.ranking, run.strategies.iterrows(), strict=True):
        assert row["fitness"] == strategy.fitness
        assert row["in-sample"] == strategy.in_sample
        assert row["hold-out"] == strategy.holdout
    assert any(one.fitness != one.in_sample for one in run.ranking)


def test_benchmarks_are_next_to_strategies(run: ga.Run) -> None:
    held = run.benchmarks.set_index("name").loc["buy and hold"]
    curve = run.equity["buy and hold"]
    returns = curve.pct_change()[(run.equity["part"] == "hold-out").to_numpy()]
    per_year = run.market.bars_per_year
    growth = (1 + returns).prod() ** (per_year / len(returns)) - 1
    assert held["CAGR"] == pytest.approx(growth, rel=1e-9)
    assert held["volatility"] == pytest.approx(returns.std() * per_year**0.5, rel=1e-9)
    assert (held["position"], held["exposure"], held["turnover"]) == (1.0, 1.0, 0.0)
    names = set(run.statistics["name"])
    assert names == {*run.strategies["key"], "buy and hold", "constant position"}
    assert len(run.statistics) == 3 * len(names)


def test_strategies_are_distinct_unless_requested() -> None:
    few = evolve(families="ema_crossover,rsi_filter", top=10)
    returns = pd.DataFrame(
        {one.key: _returns(few, one) for one in few.ranking}
    ).corr().to_numpy()  # fmt: skip
    # A strategy that never trades correlates with none.
    returns = np.where(np.isnan(returns), 0.0, returns)
    assert (returns[~np.eye(len(returns), dtype=bool)] < 0.7).all()
    assert few.strategies["family"].value_counts().max() <= 2
    every = evolve(families="ema_crossover,rsi_filter", top=10, distinct=False)
    assert every.digest == few.digest
    assert every.best == few.best
    assert len(every.ranking) == 10
    fitness = [one.fitness for one in every.ranking]
    assert fitness == sorted(fitness, reverse=True)


def _returns(run: ga.Run, strategy: ga.Strategy) -> np.ndarray:
    """Returns before the hold-out, by the reference account."""
    genome = Genome(strategy.family, tuple(strategy.genes.values()))
    curve = equity(visible(run.market, run.settings), run.settings, genome).mean(axis=1)
    return np.diff(curve, prepend=1.0) / np.concatenate([[1.0], curve[:-1]])


def test_equity_is_that_of_best_strategy(run: ga.Run) -> None:
    curves = run.equity
    assert list(curves.columns) == ["strategy", "buy and hold", "part"]
    assert len(curves) == run.market.bars
    assert str(curves.index.tz) == "UTC"
    assert curves.index[0].value == run.market.times[0]
    parts = curves["part"].value_counts()
    assert parts["hold-out"] == 120
    assert (curves["part"] == "hold-out").iloc[-120:].all()
    assert 250 < parts["in-sample"] < 350
    # Bought at the second open, net of fee and slippage.
    market, costs = run.market, run.settings.costs
    paid = market.open[:, 1] * (1 + costs.slippage)
    expected = np.mean(market.close[:, -1] / paid)
    assert curves["buy and hold"].iloc[-1] == pytest.approx(expected, rel=3 * costs.fee)
    assert curves["buy and hold"].iloc[0] == 1.0


def test_signals_are_those_of_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = str(tmp_path / "ga.db")
    best = evolve(store=store).best
    other = ga.load_market("synthetic:bars=700,seed=9")
    signals = best.signals(other)
    assert signals.shape == (700, 2)
    assert list(signals.columns) == list(other.assets)
    assert signals.abs().to_numpy().max() <= 1.0
    argv = ("signals", best.key[:10], "--market", "synthetic:bars=700,seed=9", "--store", store)
    told = json.loads(command(capsys, *argv, "--json"))
    assert told["now"] == signals.iloc[-1].to_dict()
    moves = signals[signals.diff().fillna(signals).any(axis=1)]
    assert len({change["time"] for change in told["changes"]}) == len(moves) > 0
    short = ga.load_market(synthetic_frame(200))
    lasting = evolve("synthetic:bars=1200", families="sma_trend_filter").best
    with pytest.raises(ga.InputError, match="needs more than"):
        lasting.signals(short)


def test_series_are_those_of_the_export(tmp_path: Path) -> None:
    store = str(tmp_path / "ga.db")
    run = evolve(store=store)
    out = tmp_path / "series.parquet"
    argv = ("export", "--all", "--limit", str(len(run.ranking)), "--out", str(out))
    assert main.main([*argv, "--store", store]) == 0
    pd.testing.assert_frame_equal(run.series, pd.read_parquet(out))
    assert set(run.series["strategy"]) == {one.key for one in run.ranking}


def synthetic_frame(bars: int) -> pd.DataFrame:
    made = synthetic(assets=1, bars=bars, seed=3)
    names = ("open", "high", "low", "close", "volume")
    index = pd.DatetimeIndex(made.times, tz="UTC")
    return pd.DataFrame({name: getattr(made, name)[0] for name in names}, index=index)


def test_plot_draws_both_curves_and_holdout(run: ga.Run, tmp_path: Path) -> None:
    figure = run.plot()
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [run.best.name, "buy and hold", "hold-out"]
    figure.savefig(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 5000
    assert DisplayFormatter().format(figure)[0]["image/png"]
    assert run.plot(axes) is figure
    assert len(axes.lines) == 4


def test_plot_without_matplotlib_names_the_extra() -> None:
    text = f"""
import sys
sys.modules["matplotlib.figure"] = None
import ga
run = ga.evolve({MARKET!r}, progress=False, **{SMALL!r})
try:
    run.plot()
except ga.InputError as error:
    print(error)
"""
    done = script_of("-c", text)
    assert done.stdout.startswith("plot: needs matplotlib")
    assert done.stdout.endswith("install it: pip install 'evolution-gate[plot]'\n")


def test_frames_with_store_can_be_verified(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = tmp_path / "ga.db"
    frames = {"BTC/USD": synthetic_frame(600), "ETH": synthetic_frame(600)}
    market = ga.load_market(frames)
    run = evolve(market, store=store)
    assert evolve(market).digest == run.digest
    assert f"equal; history digest {run.digest}" in command(
        capsys, "verify", run.id, "--store", str(store)
    )
    out = command(capsys, "resume", run.id, "--store", str(store), "--json")
    assert json.loads(out)["digest"] == run.digest
    loaded = ga.load_run(store, run.id[:6])
    assert loaded.digest == run.digest
    assert loaded.ranking == run.ranking
    assert loaded.edge == run.edge
    assert loaded.equity.equals(run.equity)
    assert evolve(loaded.market).digest == run.digest
    with pytest.raises(ga.InputError, match="cannot be written next to store"):
        evolve({"a,b": synthetic_frame(600)}, store=store)


def test_interrupt_ends_workers_and_is_resumable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, run: ga.Run
) -> None:
    store = tmp_path / "ga.db"
    text = f"""
import multiprocessing, os, signal
import ga
def stop(progress):
    if progress.generation == 1:
        os.kill(os.getpid(), signal.SIGINT)
try:
    ga.evolve({MARKET!r}, progress=stop, store={str(store)!r}, **{SMALL!r})
except KeyboardInterrupt as error:
    print(multiprocessing.active_children(), *error.__notes__)
"""
    done = script_of("-c", text)
    assert done.stdout.startswith("[] continue with: python -m ga resume "), done.stderr
    found, _, rest = done.stdout.split("resume ")[1].partition(" --store ")
    assert rest == f"{store}\n"
    with pytest.raises(
        ga.InputError, match=r"of 3 generations are done; finish it with: python -m"
    ):
        ga.load_run(store, found)
    out = command(capsys, "resume", found, "--store", str(store), "--json", "--workers", "1")
    assert json.loads(out)["digest"] == run.digest


def test_run_without_store_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: ga.Run
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gc.unfreeze()
    assert evolve().digest == run.digest
    assert run.store is None
    assert gc.get_freeze_count() == 0
    assert list(tmp_path.iterdir()) == []


def test_progress_calls_function_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[ga.Progress] = []
    evolve(progress=seen.append)
    assert seen[-1].generation == 2
    assert seen[-1].done == 20
    assert all(isinstance(one, ga.Progress) for one in seen)
    evolve()
    assert capfd.readouterr() == ("", "")
    evolve(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("market synthetic:assets=2,bars=600,")
    assert "generation 1/3" in err


BAD: dict[str, tuple[dict[str, object], str]] = {
    "seed": ({"seed": -1}, "seed must be"),
    "population": ({"population_size": 0}, "population_size must be"),
    "family": ({"families": "no_such"}, "no_such"),
    "mode": ({"mode": "fast"}, "mode fast: give one of auto, local, distributed"),
    "workers": ({"workers": 0}, "workers must be 1..4096"),
    "top": ({"top": -1}, "top must be"),
    "fee": ({"fee": 0.7}, "fee must be a fraction"),
    "store": ({"store": "mysql://x/y"}, "store: mysql is not supported"),
    "market": ({"market": "no/such.csv"}, "^market no/such.csv: no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_by_name(case: str) -> None:
    changed, message = BAD[case]
    with pytest.raises(ga.InputError, match=message) as refused:
        evolve(**changed)
    assert "\n" not in str(refused.value)
    assert multiprocessing.active_children() == []


def test_ledger_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ga.InputError, match=r"^store .*no such file; run an evolution first"):
        ga.load_run(tmp_path / "none.db", "1f0c")


_CHEAP = """
import sys
before = set(sys.modules)
import ga
import json
print(json.dumps(sorted(set(sys.modules) - before)))
print(ga.InputError.__name__, "numba" in sys.modules)
"""


def test_import_loads_no_other_module() -> None:
    first, second = script_of("-c", _CHEAP).stdout.splitlines()
    assert not {"numpy", "pandas", "numba", "ga.api", "ga.errors"} & set(json.loads(first))
    assert second == "InputError True"


SCRIPT = f"""
import ga
print("begun")
run = ga.evolve({MARKET!r}, progress=False, **{{**{SMALL!r}, "workers": 2}})
print(run.digest)
"""
"""Without ``if __name__ == "__main__"``: a worker that loaded it would evolve, too."""


def script_of(
    *argv: str, text: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        input=text, capture_output=True, text=True, check=False, timeout=300, cwd=cwd,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "stdin", "-c", "module"])
def test_script_needs_no_main_guard(kind: str, tmp_path: Path, run: ga.Run) -> None:
    path = tmp_path / "my_script.py"
    path.write_text(SCRIPT)
    given = {
        "file": lambda: script_of(str(path)),
        "stdin": lambda: script_of("-", text=SCRIPT),
        "-c": lambda: script_of("-c", SCRIPT),
        "module": lambda: script_of("-m", "my_script", cwd=tmp_path),
    }
    done = given[kind]()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"begun\n{run.digest}\n"

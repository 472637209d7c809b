"""The command line as a user meets it: its JSON, its tables, and resuming."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ga import workflow
from ga.cli import main
from ga.execution.auto import Cost, make_evaluator
from ga.families import FAMILIES
from ga.ledger import Ledger
from tests.support.command_line import MARKET, ONE, SMALL, CommandLine, evolved


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ga(store, capsys, monkeypatch, tmp_path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GA_STORE", raising=False)
    return CommandLine(store, capsys)


def test_evolve_prints_one_json_object(ga):
    status, out, err = ga("evolve", "--market", MARKET, *ONE, "--json", "--top", "3")
    assert status == 0
    assert out.count("\n") == 1
    found = json.loads(out)
    for name, kind in {
        "run": str,
        "digest": str,
        "mode": str,
        "workers": int,
        "evaluations": int,
        "seconds": float,
        "evaluations_per_second": float,
        "best": list,
    }.items():
        assert isinstance(found[name], kind), name
    assert len(found["digest"]) == 64
    assert (found["mode"], found["workers"]) == ("local", 1)
    assert 12 < found["evaluations"] <= 36
    assert len(found["best"]) == 3
    for strategy in found["best"]:
        assert set(strategy["genes"]) == {g.name for g in FAMILIES[strategy["family"]].genes}
    fitness = [s["fitness"] for s in found["best"]]
    assert fitness == sorted(fitness, reverse=True)
    assert "2 assets, 600 bars" in err
    assert "local" in err


def test_seed_determines_digest(ga):
    one = evolved(ga)
    two = evolved(ga, "--workers", "1")
    assert one["run"] != two["run"]
    assert one["digest"] == two["digest"]
    assert one["best"] == two["best"]
    assert evolved(ga, "--seed", "8")["digest"] != one["digest"]


def test_two_workers_give_same_digest_as_one(ga):
    assert evolved(ga, "--workers", "2")["digest"] == evolved(ga)["digest"]


def test_holdout_prices_do_not_change_history(ga, tmp_path, write_csv):
    """0.2 of 400 bars are held out: the last 80."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))
    digests, holdouts = [], []
    for first in (400, 320, 319):
        price = close.copy()
        price[first:] *= 1.5
        table = pd.DataFrame(
            {
                "time": pd.date_range("2024-01-01", periods=400, freq="1h").astype(str),
                **dict.fromkeys(("open", "high", "low", "close"), price),
            }
        )
        path = write_csv(f"asset{first}.csv", table=table)
        target = tmp_path / f"folder{first}"
        target.mkdir()
        path.rename(target / "asset.csv")
        status, out, _ = ga("evolve", "--market", str(target), *ONE, "--json")
        assert status == 0
        found = json.loads(out)
        digests.append(found["digest"])
        holdouts.append([s["holdout_sharpe"] for s in found["best"]])
    assert digests[0] == digests[1] != digests[2]
    assert holdouts[0] != holdouts[1]


def test_interrupted_run_resumes_to_same_digest(ga, monkeypatch):
    whole = evolved(ga)["digest"]
    shown = main.ProgressLine.show

    def interrupt(self, progress):
        if progress.generation == 1 and progress.done > 4:
            raise KeyboardInterrupt
        shown(self, progress)

    with monkeypatch.context() as patched:
        patched.setattr(main.ProgressLine, "show", interrupt)
        status, _, err = ga("evolve", "--market", MARKET, *ONE)
    assert status == 130
    assert "resume" in err
    status, out, _ = ga("runs", "--json")
    unfinished = next(r for r in json.loads(out) if r["state"] == "unfinished")
    assert unfinished["generations"] == "1/3"
    status, out, _ = ga("resume", unfinished["run"], "--mode", "local", "--workers", "1", "--json")
    assert status == 0
    assert json.loads(out)["digest"] == whole
    # Resuming what is done changes nothing.
    status, out, _ = ga("resume", unfinished["run"], "--mode", "local", "--workers", "1", "--json")
    assert (json.loads(out)["digest"], json.loads(out)["evaluations"]) == (whole, 0)


def test_crashed_run_resumes_to_same_digest(ga, monkeypatch):
    whole = evolved(ga)["digest"]
    commit, calls = Ledger.commit, []

    def crash(self, *args, **kwargs):
        calls.append(kwargs["generation"])
        if kwargs["generation"] == 2:
            raise OSError("planted: disk full")
        commit(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "commit", crash)
        status, _, err = ga("evolve", "--market", MARKET, *ONE)
    assert status == 1
    assert err.splitlines()[-1] == "ga: planted: disk full"
    assert calls == [0, 1, 2]
    _, out, _ = ga("runs", "--json")
    run = next(r["run"] for r in json.loads(out) if r["state"] == "unfinished")
    _, out, _ = ga("resume", run, "--mode", "local", "--workers", "1", "--json")
    assert json.loads(out)["digest"] == whole


def test_commands_print_tables(ga):
    status, out, _ = ga("evolve", "--market", MARKET, *ONE)
    assert status == 0
    assert "history digest" in out
    for command in (("runs",), ("strategies",), ("families",)):
        status, out, _ = ga(*command)
        assert status == 0
        assert out.strip()
    status, out, _ = ga("strategies", "--json", "--limit", "2")
    assert len(json.loads(out)) == 2
    status, out, _ = ga("families", "--json")
    assert [f["name"] for f in json.loads(out)] == list(FAMILIES)


def test_auto_mode_without_cluster_is_local(ga):
    status, out, err = ga("evolve", "--market", MARKET, *SMALL[:-2], "--workers", "1", "--json")
    assert status == 0
    assert json.loads(out)["mode"] == "local"
    assert "no --address" in err


def test_choice_of_mode_is_logged(ga, tmp_path, monkeypatch):
    costs = {"distributed": Cost(fixed=0.5, each=0.25), "local": Cost(fixed=0.0, each=0.125)}

    def make(*argv, **options):
        return replace(make_evaluator(*argv, **options), reason="numbers", costs=costs)

    monkeypatch.setattr(workflow, "make_evaluator", make)
    log = tmp_path / "log"
    run = evolved(ga, "--log", str(log))["run"]
    first = json.loads(log.read_text().splitlines()[0])
    assert (first["event"], first["run"]) == ("choice", run)
    assert (first["mode"], first["reason"]) == ("local", "numbers")
    assert first["costs"] == {
        "distributed": {"fixed": 0.5, "each": 0.25},
        "local": {"fixed": 0.0, "each": 0.125},
    }


def test_final_strategies_are_stored_with_sharpe_ratios(ga):
    found = evolved(ga, "--top", "3")
    _, out, _ = ga("strategies", found["run"], "--json", "--limit", "5", "--all")
    listed = json.loads(out)
    assert [one["holdout_sharpe"] is None for one in listed] == [False] * 3 + [True] * 2
    assert found["best"][0].items() > {k: v for k, v in listed[0].items() if k != "run"}.items()
    _, out, _ = ga("strategies", found["run"], "--all")
    assert f"{listed[0]['holdout_sharpe']:.3f}" in out


def test_strategies_lists_what_evolve_printed(ga):
    found = evolved(ga, "--top", "3")
    _, out, _ = ga("strategies", found["run"], "--json", "--limit", "3")
    same = {"run": found["run"], "benchmarks": found["benchmarks"]}
    assert json.loads(out) == [one | same for one in found["best"]]
    for one in (*found["best"], *found["benchmarks"]):
        assert set(one["statistics"]) == {"in-sample", "out-of-sample", "hold-out"}
    for one in found["best"]:
        assert one["statistics"]["hold-out"]["sharpe"] == one["holdout_sharpe"]
    assert [b["name"] for b in found["benchmarks"]] == ["buy and hold", "constant position"]


def test_listing_changes_nothing_that_is_stored(ga, store):
    found = evolved(ga, "--top", "3")
    _, before, _ = ga("verify", found["run"], "--json")
    other = evolved(ga, "--top", "3", "--all")
    _, after, _ = ga("verify", other["run"], "--json")
    assert json.loads(before)["digest"] == json.loads(after)["digest"]
    with closing(sqlite3.connect(store)) as db:
        query = "SELECT rank, key, in_sample, out_of_sample, holdout FROM strategies WHERE run = ?"
        one, two = (db.execute(query, (r["run"],)).fetchall() for r in (found, other))
    assert one == two
    assert [row[1] for row in two] == [s["key"] for s in other["best"]]


def test_runs_on_one_market_share_a_list(ga):
    one, two = evolved(ga), evolved(ga, "--seed", "9")
    _, out, _ = ga("strategies", "--json")
    listed = json.loads(out)
    keys = [s["key"] for s in listed]
    assert len(set(keys)) == len(keys)
    families = [s["family"] for s in listed]
    assert max(families.count(name) for name in families) <= 2
    assert {s["run"] for s in listed} <= {one["run"], two["run"]}
    best = max(one["best"] + two["best"], key=lambda s: s["fitness"])
    assert listed[0]["key"] == best["key"]


def test_missing_market_names_option_that_lists_without_it(ga, write_csv):
    path = write_csv("prices.csv")
    status, out, _ = ga("evolve", "--market", str(path), *ONE, "--json")
    assert status == 0
    run = json.loads(out)["run"]
    path.unlink()
    status, out, err = ga("strategies", run)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "strategies --all" in err
    status, out, err = ga("strategies")
    assert status == 0
    assert "left out" in err
    status, out, _ = ga("strategies", run, "--all")
    assert status == 0
    assert "fitness" in out


def test_gaps_of_folder_market_are_reported(ga, tmp_path, make_frame):
    folder = tmp_path / "coins"
    folder.mkdir()
    table = make_frame(500, freq="5min")
    table.drop(index=range(100, 120)).to_csv(folder / "one.csv", index=False)
    table.drop(index=range(300, 303)).to_csv(folder / "two.csv", index=False)
    status, out, err = ga("evolve", "--market", str(folder), *ONE, "--json")
    assert status == 0
    assert json.loads(out)["market"]["missing_bars"] == 23
    assert "2 gaps, 23 bars missing" in err
    assert "one: 20 bars between" in err


@pytest.mark.stack
def test_own_cluster_gives_local_digest(ga):
    local = evolved(ga)["digest"]
    status, out, _ = ga(
        "evolve", "--market", MARKET, *SMALL[:-1], "distributed", "--workers", "1", "--json"
    )
    assert status == 0
    found = json.loads(out)
    assert (found["mode"], found["fallbacks"]) == ("distributed", 0)
    assert found["digest"] == local


def test_compile_prints_duration(capsys):
    assert main.main(["compile", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["families"] == len(FAMILIES)
    assert found["seconds"] > 0.0

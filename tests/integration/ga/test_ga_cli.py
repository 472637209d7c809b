"""The command line as a user meets it: what it promises in JSON, and how it refuses."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ga.cli import main
from ga.evolution import SEARCH_VERSION
from ga.execution.auto import Cost, make_evaluator
from ga.families import FAMILIES, KERNEL_VERSION

SMALL = ("--population-size", "12", "--generations", "3", "--seed", "7", "--mode", "local")
ONE = (*SMALL, "--workers", "1")
MARKET = "synthetic:assets=2,bars=600,seed=1"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ga(store, capsys, monkeypatch, tmp_path):
    """Runs a command on a store of its own; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GA_STORE", raising=False)

    def run(command: str, *argv: str, at: str | None = None) -> tuple[int, str, str]:
        stored = () if command == "families" else ("--store", at or str(store))
        status = main.main([command, *argv, *stored])
        return (status, *capsys.readouterr())

    return run


def evolved(ga, *argv: str) -> dict:
    status, out, _ = ga("evolve", "--market", MARKET, *ONE, "--json", *argv)
    assert status == 0
    return json.loads(out)


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
    commit, calls = main.Ledger.commit, []

    def crash(self, *args, **kwargs):
        calls.append(kwargs["generation"])
        if kwargs["generation"] == 2:
            raise OSError("planted: disk full")
        commit(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(main.Ledger, "commit", crash)
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

    monkeypatch.setattr(main, "make_evaluator", make)
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
    shown = [{"run": found["run"], **one} for one in found["best"]]
    assert all(one["holdout_sharpe"] is not None for one in shown)
    _, out, _ = ga("strategies", found["run"], "--json", "--limit", "5")
    listed = json.loads(out)
    assert listed[:3] == shown
    assert [one["holdout_sharpe"] for one in listed[3:]] == [None, None]
    _, out, _ = ga("strategies", found["run"])
    assert f"{shown[0]['holdout_sharpe']:.3f}" in out


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


# --- bad input ---------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bad_market(name: str, tmp_path: Path, make_frame) -> str:
    table = make_frame()
    path = tmp_path / "bad.csv"
    if name == "missing file":
        return str(tmp_path / "bad.csv")
    if name == "empty file":
        path.write_text("")
        return str(path)
    if name == "wrong columns":
        table = table.rename(columns={"close": "last"})
    elif name == "unsorted":
        table.loc[[7, 8]] = table.loc[[8, 7]].to_numpy()
    elif name == "repeated time":
        table.loc[8, "time"] = table.loc[7, "time"]
    elif name == "nan price":
        table.loc[8, "close"] = np.nan
    elif name == "negative price":
        table.loc[8, "low"] = -1.0
    elif name == "high below low":
        table.loc[8, "high"] = table.loc[8, "low"] / 2
    elif name == "one bar":
        table = table.head(1)
    elif name == "mixed time zones":
        table["time"] += np.where(np.arange(len(table)) < 8, "Z", "+01:00")
    elif name == "line break in a column's name":
        table = table.rename(columns={"close": "clo\nse"})
    table.to_csv(path, index=False)
    return str(path)


BAD_MARKETS = {
    "missing file": ["bad.csv", "no such file"],
    "empty file": ["bad.csv", "empty"],
    "wrong columns": ["bad.csv", "column close is missing", "rename"],
    "unsorted": ["bad.csv", "row 10", "column time", "earlier"],
    "repeated time": ["bad.csv", "row 10", "column time", "repeats"],
    "nan price": ["bad.csv", "row 10", "column close"],
    "negative price": ["bad.csv", "row 10", "column low"],
    "high below low": ["bad.csv", "row 10", "column high"],
    "one bar": ["bad.csv", "1 bar", "longer"],
    "mixed time zones": ["bad.csv", "row 10", "column time", "UTC"],
    "line break in a column's name": ["bad.csv", "column close"],
}

BAD_OPTIONS = {
    "population 0": (["--population-size", "0"], ["--population-size"]),
    "negative generations": (["--generations", "-2"], ["--generations"]),
    "no number": (["--generations", "many"], ["--generations"]),
    "unknown family": (["--families", "rsi_filter,astrology"], ["astrology", "rsi_filter"]),
    "unknown mode": (["--mode", "magic"], ["--mode"]),
    "unknown option": (["--colour", "red"], ["--colour"]),
    "negative seed": (["--seed", "-1"], ["--seed"]),
    "no workers": (["--workers", "0"], ["--workers"]),
    "no folds": (["--folds", "0"], ["folds"]),
    "too many folds": (["--folds", "90"], ["folds"]),
    "negative fee": (["--fee", "-1"], ["fee"]),
    "nan slippage": (["--slippage", "nan"], ["slippage"]),
    "negative top": (["--top", "-1"], ["--top"]),
    "dead address": (["--mode", "distributed", "--address", "127.0.0.1:{port}"], ["--address"]),
    "dead address, auto": (["--mode", "auto", "--address", "127.0.0.1:{port}"], ["--address"]),
    "no address": (["--mode", "distributed", "--address", "nowhere"], ["--address", "HOST:PORT"]),
    "bad port": (["--mode", "distributed", "--address", "a:99999"], ["--address"]),
    "log in no folder": (["--log", "no/such/log"], ["--log", "no/such/log"]),
}

BAD_STORES = {
    "no/such/folder/ledger.db": "folder",
    "sqlite:////": "cannot be opened",
    "mysql://u@h/db": "not supported",
    "postgresql://u@127.0.0.1:{port}/db": "cannot be opened",
    "postgresql://u:secret@127.0.0.1:{port}/db": "GA_STORE",
    "postgresql://u@h:abc/db": "not a URL",
    "://": "not a URL",
    " ": "empty",
    "text.db": "not a database",
}


def refused(result: tuple[int, str, str], words: list[str], store: Path, before: bytes | None):
    status, out, err = result
    assert status == 2
    assert out == ""
    assert err.startswith("ga: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert (store.read_bytes() if store.exists() else None) == before
    assert not store.with_name("ga.db").exists()


@pytest.mark.parametrize("name", BAD_MARKETS)
def test_invalid_market_is_one_line_error(ga, store, tmp_path, make_frame, name):
    spec = _bad_market(name, tmp_path, make_frame)
    refused(ga("evolve", "--market", spec, *ONE), BAD_MARKETS[name], store, None)


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_invalid_option_is_one_line_error(ga, store, name):
    options, words = BAD_OPTIONS[name]
    options = [o.format(port=_free_port()) for o in options]
    refused(ga("evolve", "--market", MARKET, *ONE, *options), words, store, None)


@pytest.mark.parametrize("spec", BAD_STORES)
@pytest.mark.parametrize("command", ["evolve", "runs", "resume"])
def test_unreadable_store_is_one_line_error(ga, store, tmp_path, spec, command):
    text = "not a ledger " * 20
    (tmp_path / "text.db").write_text(text)
    argv = {"evolve": ("--market", MARKET, *ONE), "runs": (), "resume": ("abc",)}[command]
    words = ["--store"]
    if command == "evolve":
        words.append(BAD_STORES[spec])
    result = ga(command, *argv, at=spec.format(port=_free_port()))
    refused(result, words, store, None)
    assert "secret" not in result[2]
    assert (tmp_path / "text.db").read_text() == text


def test_invalid_input_leaves_ledger_unchanged(ga, store, tmp_path, make_frame):
    evolved(ga)
    before = store.read_bytes()
    # One for each place that refuses: which inputs are bad is tried above.
    spec = _bad_market("nan price", tmp_path, make_frame)
    refused(ga("evolve", "--market", spec, *ONE), [], store, before)
    for name in ("no number", "too many folds", "dead address", "log in no folder"):
        options, words = BAD_OPTIONS[name]
        options = [o.format(port=_free_port()) for o in options]
        refused(ga("evolve", "--market", MARKET, *ONE, *options), words, store, before)
    refused(ga("resume", "nonsense"), ["nonsense", "runs"], store, before)
    refused(ga("strategies", "--limit", "0"), ["--limit"], store, before)


def test_changed_market_is_not_resumed(ga, store, tmp_path, make_frame):
    path = tmp_path / "coin.csv"
    make_frame(400).to_csv(path, index=False)
    _, out, _ = ga("evolve", "--market", str(path), *ONE, "--json")
    before = store.read_bytes()
    make_frame(400, seed=1).to_csv(path, index=False)
    result = ga("resume", json.loads(out)["run"], "--mode", "local")
    refused(result, ["coin.csv", "has changed"], store, before)
    run = json.loads(out)["run"]
    for gone in (False, True):
        if gone:
            path.unlink()
        refused(ga("verify", run), ["coin.csv", "verify --stored"], store, before)
        assert ga("verify", run, "--stored")[0] == 0


@pytest.mark.parametrize(
    "made_by",
    [
        None,
        {"kernels": 1, "search": 2},
        {"kernels": KERNEL_VERSION, "search": 1},
        {"kernels": KERNEL_VERSION, "search": SEARCH_VERSION, "of a later one": 1},
    ],
)
def test_run_of_other_version_is_not_resumed(ga, store, made_by, monkeypatch):
    """Its history would be one that no version makes."""
    over = evolved(ga)["run"]

    def interrupt(_, progress):
        if progress.generation == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(main.ProgressLine, "show", interrupt)
        assert ga("evolve", "--market", MARKET, *ONE)[0] == 130
    _, out, _ = ga("runs", "--json")
    run = next(r["run"] for r in json.loads(out) if r["state"] == "unfinished")
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE runs SET made_by = ?", [made_by and json.dumps(made_by)])
    before = store.read_bytes()
    said = ", ".join(f"{k} {v}" for k, v in (made_by or {}).items()) or "unknown"
    result = ga("resume", run, "--mode", "local")
    words = [f"another version ({said}; this one: kernels"]
    refused(result, [run, *words], store, before)
    # Not "different": what it is compared with would be another engine's.
    refused(ga("verify", over), [over, *words, "verify --stored"], store, before)
    status, out, _ = ga("verify", over, "--stored")
    assert (status, "not bred again" in out, "equal;" in out) == (0, True, True)
    # Nothing is left to evolve, but its strategies would be measured again.
    refused(ga("resume", over, "--mode", "local"), [over, *words], store, before)


@pytest.mark.parametrize("command", ["show", "export", "signals"])
def test_strategy_of_other_kernels_is_not_reevaluated(ga, store, command):
    """Its figures would not be those that it was kept for, and the export's stamp a lie."""
    key = evolved(ga)["best"][0]["key"]
    argv = [command, key, *(("--market", MARKET) if command == "signals" else ())]
    for made_by, allowed in (
        ({"kernels": KERNEL_VERSION, "search": 1}, True),
        ({"kernels": 1, "search": 2}, False),
    ):
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("UPDATE runs SET made_by = ?", [json.dumps(made_by)])
        before, result = store.read_bytes(), ga(*argv)
        if allowed:
            assert result[0] == 0, result
        else:
            said = ["another version (kernels 1; this one: kernels", "which evaluates differently"]
            refused(result, said, store, before)


def test_invalid_input_exits_two_without_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ga", "evolve", "--market", "no.csv", "--generations", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    refused((done.returncode, done.stdout, done.stderr), ["no.csv"], tmp_path / "ga.db", None)


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

"""Invalid input on the command line: one line that names the cause, and nothing is written."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ga.cli import main
from ga.evolution import SEARCH_VERSION
from ga.families import KERNEL_VERSION
from ga.ledger.anchor import write_anchor
from tests.support.command_line import MARKET, ONE, CommandLine, evolved


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ga(store, capsys, monkeypatch, tmp_path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GA_STORE", raising=False)
    return CommandLine(store, capsys)


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
    "no host": (["--metrics-port", "0", "--metrics-host", "x" * 70], ["--metrics-host"]),
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


def renew_anchor(store: Path, run: str) -> None:
    """Write the anchor again, as that of a version that wrote the changed row."""
    engine = sa.create_engine(f"sqlite:///{store}")
    with engine.begin() as session:
        write_anchor(session, run, earlier=False)
    engine.dispose()


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
    renew_anchor(store, over)
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
    found = evolved(ga)
    run, key = found["run"], found["best"][0]["key"]
    argv = [command, key, *(("--market", MARKET) if command == "signals" else ())]
    for made_by, allowed in (
        ({"kernels": KERNEL_VERSION, "search": 1}, True),
        ({"kernels": 1, "search": 2}, False),
    ):
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("UPDATE runs SET made_by = ?", [json.dumps(made_by)])
        renew_anchor(store, run)
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

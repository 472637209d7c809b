"""show, export and signals; selections and families that lack data."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

from ga.analysis.holdout import positions
from ga.cli import main
from ga.cli.equity_page import sparkline
from ga.families import FAMILIES
from ga.genome import Genome
from ga.sources import load_market

MARKET = "synthetic:assets=2,bars=700,seed=4"
EVOLVE = (
    "--mode", "local", "--workers", "1", "--population-size", "24", "--generations", "2",
    "--families", "ema_crossover,rsi_filter", "--json",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("strategies")


@pytest.fixture
def ga(folder, monkeypatch, capsys):
    """Run one command in a folder of its own; (status, stdout, stderr)."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GA_STORE", raising=False)

    def run(*argv):
        status = main.main([str(a) for a in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def best(ga):
    status, out, _ = ga("evolve", "--market", MARKET, "--seed", "5", *EVOLVE)
    assert status == 0
    return json.loads(out)["best"][0]


def test_show_has_every_section_and_html(ga, best, folder):
    key = best["key"][:10]
    status, out, _ = ga("show", key, "--json")
    assert status == 0
    found = json.loads(out)
    assert set(found["sharpe"]) == {"in-sample", "out-of-sample", "hold-out"}
    assert found["sharpe"]["in-sample"] == pytest.approx(best["in_sample_sharpe"])
    assert len(found["measured"]) == 2 * (4 + 4 + 1)
    assert found["equity"][0]["equity"] == 1.0
    for part, value in found["sharpe"].items():
        assert found["statistics"][part]["sharpe"] == value
    assert [b["name"] for b in found["benchmarks"]] == ["buy and hold", "constant position"]
    assert found["benchmarks"][0]["statistics"]["hold-out"]["exposure"] == 1.0
    status, out, err = ga("show", key, "--out", "page.html")
    assert status == 0
    assert "written: page.html" in err
    assert sparkline(np.array([0.0, 1.0])) == "▁█"
    page = (folder / "page.html").read_text()
    assert "<svg" in page
    assert "http" not in page
    assert best["family"] in page
    for label in ("Equity", "Drawdown", "Rolling Sharpe ratio"):
        assert f'aria-label="{label} over time"' in page
    assert page.count('class="shaded"') == 3
    assert "buy and hold" in page
    assert "<script" not in page
    months = re.search(r"<h2>Return by month.*?</table>", page, re.DOTALL)
    assert months is not None
    assert months[0].count("<tr>") == 2  # The heading, and the only year.
    status, _, err = ga("show", key, "--out", "page.bmp")
    assert (status, err.count("\n")) == (2, 1)
    assert ".html" in err


def test_tables_of_strategies_fit_80_columns(ga, best):
    for command in (("strategies",), ("strategies", "--all"), ("show", best["key"][:10])):
        status, out, _ = ga(*command)
        assert status == 0
        # Genes and the curve are no tables.
        rows = [line for line in out.splitlines() if "  " in line]
        assert rows
        assert max(map(len, rows)) <= 80
    widest = max(FAMILIES, key=len)
    assert len(widest) <= len("linear_svc_classifier")


def test_exported_strategy_gives_same_signals(ga, best, folder):
    key = best["key"][:10]
    assert ga("export", key, "--out", "one.json")[0] == 0
    document = json.loads((folder / "one.json").read_text())
    assert document["genes"] == best["genes"]
    assert document["format"] == "evolution-gate/strategy/1"
    assert document["statistics"]["hold-out"]["sharpe"] == document["sharpe"]["hold-out"]
    assert len(document["benchmarks"]) == 2
    status, out, _ = ga("signals", key, "--market", MARKET)
    assert status == 0
    status, again, _ = ga("signals", "one.json", "--market", MARKET, "--store", "missing.db")
    assert (status, again) == (0, out)
    rows = list(csv.DictReader(io.StringIO(out)))
    market = load_market(MARKET)
    genes = tuple(best["genes"][g.name] for g in FAMILIES[best["family"]].genes)
    targets = positions(market, Genome(best["family"], genes))
    assert len(rows) == int((np.diff(targets, axis=0, prepend=0.0) != 0).sum())
    status, out, _ = ga("signals", key, "--market", MARKET, "--json")
    assert json.loads(out)["now"] == dict(zip(market.assets, targets[-1].tolist(), strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a strategy of format"),
        ({"kernel_version": 1}, "kernels of version 1"),
        ({"family": "astrology"}, "unknown family"),
        ({"genes": {}}, "genes must be"),
        ({"genes": "worst"}, "outside"),
    ],
)
def test_damaged_export_is_one_line_error(ga, best, folder, change, message):
    ga("export", best["key"][:10], "--out", "good.json")
    document = json.loads((folder / "good.json").read_text())
    if change.get("genes") == "worst":
        change = {"genes": {**document["genes"], next(iter(document["genes"])): 1e9}}
    (folder / "bad.json").write_text(json.dumps({**document, **change}))
    status, out, err = ga("signals", "bad.json", "--market", MARKET)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    (folder / "bad.json").write_text("{")
    assert ga("signals", "bad.json", "--market", MARKET)[0] == 2


def test_unknown_and_ambiguous_strategies_are_refused(ga, best):
    for key in ("ffffffffffff", best["key"][:1], "%"):
        status, _, err = ga("show", key)
        assert (status, err.count("\n")) == (2, 1)
        assert "list their keys with" in err


def test_market_too_short_for_signals_is_refused(ga, best):
    status, _, err = ga("signals", best["key"][:10], "--market", MARKET, "--end", "2020-01-02")
    assert (status, err.count("\n")) == (2, 1)


def test_market_selection_is_stored_for_resume(ga):
    options = ("--assets", "SYN001", "--start", "2020-01-03", "--timeframe", "2h")
    big = "synthetic:assets=2,bars=1500,seed=4"
    status, out, err = ga("evolve", "--market", big, *options, *EVOLVE)
    assert status == 0, err
    found = json.loads(out)
    assert found["market"]["assets"] == ["SYN001"]
    assert found["market"]["bars"] == 726
    status, out, _ = ga("resume", found["run"], "--mode", "local", "--workers", "1", "--json")
    assert status == 0
    assert json.loads(out)["digest"] == found["digest"]


def test_families_without_data_are_skipped_and_reported(ga):
    argv = [a for a in EVOLVE if a not in ("--families", "ema_crossover,rsi_filter")]
    status, out, err = ga("evolve", "--market", "goog", "--population-size", "16", *argv)
    assert status == 0, err
    assert "family left out: funding_rate_carry needs a market with a funding column" in err
    assert "funding_rate_carry" not in json.loads(out)["families"]
    status, _, err = ga("evolve", "--market", "goog", "--families", "funding_rate_carry")
    assert (status, err.count("\n")) == (2, 1)
    assert "leave it out" in err
    short = "synthetic:assets=1,bars=400"
    status, _, err = ga("evolve", "--market", short, "--families", "sma_trend_filter")
    assert (status, err.count("\n")) == (2, 1)
    assert "needs 600 bars" in err


def test_result_reports_overfitting_statistics(ga):
    status, out, _ = ga("evolve", "--market", MARKET, "--seed", "5", *EVOLVE[:-1])
    assert status == 0
    assert "evidence of an edge (probabilities: deflated Sharpe" in out
    assert "families at the end: " in out

"""The error rates that bounds state hold: each over 10,000 simulated experiments (verdicts: 3,000).

A criterion passes only when such a bound reaches its target, so the share of wrong bounds is the
share of false passes of a system that just misses it; at the end the same of whole verdicts, from
evidence. The simulated truth is printed with its seed.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from tests.support.evidence_builders import evidence
from tests.support.evidence_records import Timed, ledger, receipt, recovery, workload
from validation import statistics
from validation.criteria.registry import CRITERIA
from validation.criteria.speedup import decided
from validation.evidence.records_ledger import Fallback, Generation
from validation.verdict import Status, judge

VERDICTS = {criterion.id: criterion.verdict for criterion in CRITERIA}

pytestmark = pytest.mark.slow
RUNS = 10_000
ALPHA = 0.05
VERDICT_RUNS = 3_000
"""Of whole verdicts, which take longer than bounds."""


def reach(runs: int) -> float:
    """Three standard errors of a rate of 5 % over ``runs`` runs."""
    return 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def dice(seed: int) -> np.random.Generator:
    print(f"seed {seed}, {RUNS} runs")
    return np.random.default_rng(seed)


def exact(wrong: int) -> None:
    """The stated rate, neither more nor much less."""
    assert wrong / RUNS == pytest.approx(ALPHA, abs=reach(RUNS))


def at_most(wrong: int, rate: float = ALPHA, runs: int = RUNS) -> None:
    assert wrong / runs <= rate + reach(runs)


@pytest.mark.parametrize("count", [3, 12])
def test_mean(count: int) -> None:
    data = dice(1).normal(10, 3, (RUNS, count))
    bounds = [statistics.mean(row) for row in data.tolist()]
    exact(sum(b.upper < 10 for b in bounds))
    exact(sum(b.lower > 10 for b in bounds))


@pytest.mark.parametrize("pairs", [3, 19])
def test_speedup(pairs: int) -> None:
    """Pairs of a cluster that is just 2 times as fast, 10 % noise an arm."""
    arms = dice(2).normal(0, 0.1, (RUNS, pairs, 2))
    ratios = 2 * np.exp(arms[..., 0] - arms[..., 1])
    exact(sum(statistics.geometric_mean(row).lower >= 2 for row in ratios.tolist()))


@pytest.mark.parametrize("count", [299, 600])
def test_quantile(count: int) -> None:
    """Order statistics bound the 99th percentile of whatever distribution; one of two tails."""
    # In order already: to sort is what takes longest.
    data = np.sort(dice(31).pareto(1.5, (RUNS, count)))
    truth = 0.01 ** (-1 / 1.5) - 1
    bounds = [statistics.quantile_bounds(row, 0.99) for row in data.tolist()]
    at_most(sum(b.upper < truth for b in bounds))
    at_most(sum(b.lower > truth for b in bounds))


@pytest.mark.parametrize("count", [4, 30])
def test_recovery(count: int) -> None:
    """5 % of recoveries take 120 s or longer."""
    centre = math.log(120) - 0.4 * float(stats.norm.ppf(0.95))
    data = dice(3).lognormal(centre, 0.4, (RUNS, count))
    exact(sum(statistics.tolerance_upper(row) < 120 for row in data.tolist()))


@pytest.mark.parametrize("rate", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("trials", [20, 60, 400])
def test_rate(rate: float, trials: int) -> None:
    """Exact bounds are conservative: counts are whole numbers."""
    counts = Counter(dice(4).binomial(trials, rate, RUNS).tolist())
    bounds = {k: statistics.proportion(k, trials) for k in counts}
    at_most(sum(n for k, n in counts.items() if bounds[k].lower > rate))
    at_most(sum(n for k, n in counts.items() if bounds[k].upper < rate))


@pytest.mark.parametrize("trials", [5, 59, 3000])
def test_zero_counts(trials: int) -> None:
    """Where the true rate is the bound, nothing is seen in 5 % of runs: the bound is tight."""
    rate = statistics.zero_count_upper(trials)
    exact(int((dice(5).binomial(trials, rate, RUNS) == 0).sum()))


@pytest.mark.parametrize(("blocks", "alike"), [(9, 0.0), (20, 0.3)])
def test_trend(blocks: int, alike: float) -> None:
    """No slope at all, neighbours correlated: a slope is claimed in at most 5 % of runs."""
    noise = dice(6).normal(0, 1, (RUNS, blocks))
    for block in range(1, blocks):
        noise[:, block] = alike * noise[:, block - 1] + math.sqrt(1 - alike**2) * noise[:, block]
    x = 10.0 * np.arange(blocks)
    at_most(sum(statistics.slope(x, row).lower > 0 for row in noise))


def outages(seed: int, share: float, mean_s: float, hours: float) -> list[list[float]]:
    """Lengths of the outages that end within ``hours`` hours up, for a given availability."""
    random = dice(seed)
    expected = 3600 * hours * (1 / share - 1) / mean_s
    counts = random.poisson(expected, RUNS)
    lengths = random.exponential(mean_s, int(counts.sum())).tolist()
    ends = np.cumsum(counts).tolist()
    return [lengths[end - n : end] for end, n in zip(ends, counts.tolist(), strict=True)]


@pytest.mark.parametrize("mean_s", [15.0, 120.0])
@pytest.mark.parametrize("hours", [48.0, 80.0])
def test_availability(mean_s: float, hours: float) -> None:
    """A cluster available for just 99 % of the time, with short and long outages."""
    found = [
        statistics.availability(lengths, 3600 * hours + math.fsum(lengths), unseen_s=120)
        for lengths in outages(7, 0.99, mean_s, hours)
    ]
    at_most(sum(f.share.lower >= 0.99 for f in found))
    at_most(sum(f.share.upper < 0.99 for f in found))
    between = 3600 * hours / (3600 * hours * (1 / 0.99 - 1) / mean_s)
    at_most(sum(f.between.lower > between for f in found))
    at_most(sum(f.between.upper < between for f in found))
    repairs = [f.repair for f in found if f.repair is not None]
    at_most(sum(r.lower > mean_s for r in repairs))
    at_most(sum(r.upper < mean_s for r in repairs))


def test_healthy_cluster_is_not_failed() -> None:
    """False alarms: 99.9 % available, 3 times as fast, 99.9 % of cycles complete."""
    found = [
        statistics.availability(lengths, 48 * 3600.0, unseen_s=120)
        for lengths in outages(8, 0.999, 60.0, 48.0)
    ]
    at_most(sum(f.share.upper < 0.99 or f.observed < 0.99 for f in found), 0.001)
    arms = dice(9).normal(0, 0.1, (RUNS, 4, 2))
    gains = 3 * np.exp((arms[..., 0] - arms[..., 1]).mean(axis=1))
    at_most(int((gains < 2).sum()), 0.001)
    at_most(int((dice(10).binomial(60, 0.999, RUNS) < 57).sum()), 0.001)


def said(criterion: str, events: list[Timed]) -> Status:
    return judge(VERDICTS[criterion], [evidence(events)]).status


def pairs(ratios: list[float]) -> list[Timed]:
    """Equal work on one node and on four, by turns, one pair for each ratio of their speeds."""
    events: list[Timed] = []
    for pair, ratio in enumerate(ratios):
        for place, arm in enumerate(("local", "distributed")):
            size = 1 if arm == "local" else 4
            done = workload(
                f"{pair}-{arm}", 200 * pair + 100 * place, 60 if arm == "local" else 60 / ratio,
                arm=arm, pair=pair, nodes=size, workers=size,
            )  # fmt: skip
            events += [(done.finished_at, record) for record in (done, *ledger(done))]
    return events


def recoveries(totals: list[float]) -> list[Timed]:
    events: list[Timed] = []
    for number, total in enumerate(totals):
        work = workload(f"recovery-{number}", 900 * number, 800, purpose="recovery")
        at = work.started_at + 5
        events += [
            (at, receipt("kill", "node-1", at, work.id)),
            (at + 120, recovery(work, "node-1", at, total)),
            (work.finished_at, work),
        ]
    return events


@pytest.mark.parametrize(("truth", "status", "rate"), [(2.0, "PASS", ALPHA), (3.0, "FAIL", 0.001)])
def test_error_rates_of_the_speedup_verdict(truth: float, status: str, rate: float) -> None:
    """Three pairs, and three more if these leave it open, with 10 % noise an arm."""
    arms = dice(21).normal(0, 0.1, (VERDICT_RUNS, 6, 2))
    ratios = truth * np.exp(arms[..., 0] - arms[..., 1])
    sequential = [row[: 3 if decided(row[:3]) else 6] for row in ratios.tolist()]
    wrong = sum(said("speedup", pairs(row)) is Status(status) for row in sequential)
    at_most(wrong, rate, VERDICT_RUNS)
    # The simulation can be told from one that decides nothing.
    right = Status.FAIL if status == "PASS" else Status.PASS
    assert any(said("speedup", pairs(row)) is right for row in sequential[:200])


@pytest.mark.parametrize(("slow", "status", "rate"), [(0.05, "PASS", ALPHA), (1e-9, "FAIL", 0.001)])
def test_error_rates_of_the_recovery_verdict(slow: float, status: str, rate: float) -> None:
    """Four recoveries, of which that share takes 120 s or longer."""
    centre = math.log(120) + 0.25 * float(stats.norm.ppf(slow))
    data = dice(22).lognormal(centre, 0.25, (VERDICT_RUNS, 4))
    wrong = sum(said("worker_recovery", recoveries(row)) is Status(status) for row in data.tolist())
    at_most(wrong, rate, VERDICT_RUNS)
    right = Status.FAIL if status == "PASS" else Status.PASS
    assert any(said("worker_recovery", recoveries(row)) is right for row in data[:200].tolist())


@pytest.mark.parametrize(
    ("rate", "status", "limit"), [(0.95, "PASS", ALPHA), (0.9995, "FAIL", 0.001)]
)
@pytest.mark.parametrize("cycles", [60, 120])
def test_error_rates_of_the_cycle_verdict(
    rate: float, status: str, limit: float, cycles: int
) -> None:
    counts = Counter(dice(23).binomial(cycles, rate, RUNS).tolist())
    work = workload("w", 0, 600, generations=cycles, purpose="recovery")

    def verdict(completed: int) -> Status:
        generations: list[Timed] = [
            (
                work.started_at + number,
                Generation(
                    workload="w", generation=number, seconds=1.0, individuals=500,
                    failed=int(number >= completed), finished_at=work.started_at + number,
                ),
            )
            for number in range(cycles)
        ]  # fmt: skip
        done = Fallback(workload="w", count=0, generations=(), at=())
        end = work.finished_at
        return said("cycle_completion", [*generations, (end, done), (end, work)])

    at_most(sum(n for k, n in counts.items() if verdict(k) is Status(status)), limit)
    assert verdict(cycles) is Status.PASS
    assert verdict(cycles // 2) is Status.FAIL

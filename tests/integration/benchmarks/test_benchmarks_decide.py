"""The decision of a comparison, by simulated samples; baselines that must be refused."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from evolution_gate.benchmarks import baselines
from evolution_gate.benchmarks.__main__ import main
from evolution_gate.benchmarks.baselines import BaselineError, changes, history, keep, read_stored
from evolution_gate.benchmarks.compare import LOOKS, tree_of
from evolution_gate.benchmarks.decide import (
    ERROR,
    Answer,
    change_point,
    difference,
    differences,
    overall,
    shifts,
)
from ga.capacity.calibration_file import this_machine

FAMILIES = 14


def simulated(seed: int, *, noise: float, slower: float = 1.0) -> tuple[Answer, int]:
    """One comparison as ``compare`` does it, look after look; one family is slower.

    Noise has heavy tails: one pair in twenty is off by three times as much.
    """
    dice = np.random.Generator(np.random.Philox(seed))
    wide = np.where(dice.random((FAMILIES, LOOKS[-1])) < 0.05, 3.0, 1.0)
    ratios = np.exp(noise * wide * dice.standard_normal((FAMILIES, LOOKS[-1])))
    ratios[0] *= slower
    for look in LOOKS:
        said = overall(
            differences(
                {str(n): row[:look].tolist() for n, row in enumerate(ratios)}, looks=len(LOOKS)
            )
        )
        if said is not Answer.UNKNOWN:
            break
    return said, look


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.035])
def test_equal_code_is_reported_as_same(noise: float) -> None:
    answers = Counter(simulated(seed, noise=noise)[0] for seed in range(400))
    assert answers[Answer.SAME] >= 0.95 * 400, answers


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.03])
def test_ten_percent_in_one_family_is_found(noise: float) -> None:
    answers = Counter(simulated(seed, noise=noise, slower=1.1)[0] for seed in range(400))
    assert answers[Answer.SLOWER] >= 0.95 * 400, answers
    assert not answers[Answer.SAME]


def test_noise_gives_no_answer() -> None:
    answers = Counter(simulated(seed, noise=0.3)[0] for seed in range(200))
    assert answers[Answer.UNKNOWN] >= 0.9 * 200
    assert answers[Answer.SLOWER] + answers[Answer.FASTER] <= ERROR * 200 + 5


def test_difference_within_the_margin_is_same() -> None:
    assert difference([1.02, 1.021, 1.02, 1.019, 1.02], error=0.05).answer is Answer.SAME
    assert difference([1.2, 1.21, 1.2, 1.19, 1.2], error=0.05).answer is Answer.SLOWER
    assert difference([0.8, 0.81, 0.8, 0.79, 0.8], error=0.05).answer is Answer.FASTER
    assert difference([1.2, 0.8, 1.2, 0.8, 1.0], error=0.05).answer is Answer.UNKNOWN
    assert difference([1.2] * 4, error=0.05).answer is Answer.UNKNOWN
    with pytest.raises(ValueError, match="finite"):
        difference([1.0, 1.0, 1.0, 1.0, float("nan")], error=0.05)
    with pytest.raises(ValueError, match="positive"):
        difference([1.0, 1.0, 1.0, 1.0, 0.0], error=0.05)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ((1.0, 1.0), Answer.SAME),
        ((1.0, 1.3), Answer.SLOWER),
        ((1.0, 0.7), Answer.FASTER),
        ((0.7, 1.3), Answer.SLOWER),
    ],
)
def test_overall_answer_is_the_worst_family(levels: Sequence[float], said: Answer) -> None:
    found = differences({str(n): [level] * 8 for n, level in enumerate(levels)}, looks=1)
    assert overall(found) is said


def test_nothing_compared_gives_no_answer() -> None:
    assert overall({}) is Answer.UNKNOWN


def series(seed: int, before: int, after: int, step: float) -> list[float]:
    dice = np.random.Generator(np.random.Philox(seed))
    level = np.r_[np.ones(before), np.full(after, step)]
    return (level * np.exp(0.02 * dice.standard_normal(before + after))).tolist()


def test_level_change_is_located() -> None:
    at = [change_point(series(seed, 12, 8, 1.2), error=0.05) for seed in range(40)]
    assert all(shift is not None and abs(shift.at - 12) <= 1 for shift in at)


@pytest.mark.slow
def test_false_changes_are_rare() -> None:
    found = sum(
        change_point(series(seed, 15, 5, 1.0), error=0.05) is not None for seed in range(200)
    )
    assert found <= 0.08 * 200
    assert change_point([1.0] * 20, error=0.05) is None
    assert change_point([1.0, 1.0, 1.0, 2.0, 2.0], error=0.05) is None
    assert change_point([1.0] * 8 + [float("nan")] * 8, error=0.05) is None


def test_changes_need_at_least_eight_runs() -> None:
    assert change_point([1.0, 1.1, 1.2, 2.0, 2.1, 2.2], error=0.05) is None
    assert change_point([1.0, 1.1, 1.2, 1.3, 2.0, 2.1, 2.2, 2.3], error=0.05) is not None


def test_shift_below_the_margin_is_not_reported() -> None:
    small, large = series(1, 15, 15, 1.04), series(1, 15, 15, 1.2)
    assert change_point(small, error=0.01) is not None
    assert set(shifts({"small": small, "large": large})) == {"large"}


def summary(stamp: str, median: float = 1.0, **changes: object) -> dict[str, object]:
    return {
        "format": baselines.FORMAT,
        "stamp": stamp,
        "machine": dataclasses.asdict(this_machine()),
        "environment": {"commit": "0" * 40, "effort": "quick"},
        "measurements": [{"suite": "kernels", "name": "one", "median": median}],
        **changes,
    }


def test_changes_are_found_per_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path))
    for number, median in enumerate(series(3, 10, 10, 1.5)):
        keep(summary(f"20260101-0000{number:02}", median))
    keep(summary("20260101-000099", 1.0, environment={"commit": "x", "effort": "full"}))
    runs = history(this_machine())
    assert len(runs) == 21
    (name, (shift, stamp)), *others = changes(runs, "quick").items()
    assert (name, others) == ("kernels: one", [])
    assert stamp in ("20260101-000009", "20260101-000010", "20260101-000011")
    assert shift.after / shift.before == pytest.approx(1.5, rel=0.05)
    assert changes(runs, "full") == {}
    assert history(dataclasses.replace(this_machine(), cores=999)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machine": {**dataclasses.asdict(this_machine()), "cores": 999}}, "cores 999 instead"),
        ({"machine": {**dataclasses.asdict(this_machine()), "kernels": 1}}, "kernels 1 instead"),
        ({"machine": {**dataclasses.asdict(this_machine()), "python": "2.7"}}, "python 2.7"),
        ({"format": 99}, "is not a baseline"),
        ({"measurements": 5}, "is not a baseline"),
        ({"environment": {"commit": "0" * 40, "effort": "full"}}, "not in this checkout"),
        (
            {"environment": {"commit": "0" * 40 + " changed", "effort": "full"}},
            "cannot be run",
        ),
    ],
)
def test_unusable_baseline_is_refused_with_the_reason(
    tmp_path: Path,
    changes: dict[str, object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary("20260101-000000", **changes)))
    for arguments in (["compare", str(tmp_path)], ["--compare", str(tmp_path / "summary.json")]):
        assert main(arguments) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert len(error.splitlines()) == 1


def test_missing_baseline_error_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(tmp_path / "none.json")]) == 2
    assert "python -m evolution_gate.benchmarks" in capsys.readouterr().err
    assert main(["compare"]) == 2
    assert main(["compare", "--aa", "0"]) == 2


def test_tree_of_has_the_files_of_the_commit(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(
        json.dumps(summary("1", environment={"commit": "HEAD", "effort": "full"}))
    )
    with tree_of(read_stored(tmp_path)) as tree:
        assert (tree / "ga" / "market.py").is_file()
        kept = tree
    assert not kept.exists()


def test_unmeasurable_tree_is_reported(tmp_path: Path) -> None:
    from evolution_gate.benchmarks.compare import compare

    (tmp_path / "ga").mkdir()
    (tmp_path / "ga" / "__init__.py").write_text("raise SystemExit(7)\n")
    with pytest.raises(BaselineError, match="ended with 7"):
        compare(tmp_path, tmp_path, seed=1)

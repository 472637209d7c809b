"""Options of pytest that select, repeat and judge, with a campaign that only writes evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# Before pytester first looks which modules are there: numpy cannot be loaded a second time.
import validation.decision  # noqa: F401
from tests.support.evidence_builders import passing, shifted
from tests.support.evidence_builders.extra import write
from tests.support.evidence_records import T0
from validation.campaigns import run as campaign
from validation.campaigns.log import FILE as LOG
from validation.campaigns.log import read_logs
from validation.campaigns.run import Gathered, Options, Step
from validation.evidence.records_load import Load

pytest_plugins = ["pytester"]
TESTS = """
import pytest
from validation.campaigns.lists import FULL

@pytest.mark.parametrize("name", ["service_load", "speedup"])
def test_it(judge, name):
    judge(name)
"""
Run = Callable[..., tuple[pytest.RunResult, list[tuple[Options, list[str]]]]]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the gate; the first attempt has no load test. Returns the attempts, too."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile(TESTS)
    made: list[tuple[Options, list[str]]] = []

    def run_campaign(_target: object, steps: Sequence[Step], options: Options) -> Gathered:
        made.append((options, [step.stage for step in steps]))
        events = [(at, record) for at, record in passing() if at < T0 + 1200]
        if len(made) == 1:
            events = [(at, record) for at, record in events if not isinstance(record, Load)]
        events = shifted(events, 3600.0 * len(made))
        file = write(options.folder / "evidence.jsonl", events, run=options.run)
        return Gathered(evidence=file, secrets={})

    def run(*arguments: str) -> tuple[pytest.RunResult, list[tuple[Options, list[str]]]]:
        monkeypatch.setattr(campaign, "run_campaign", run_campaign)
        made.clear()
        options = ("-p", "no:cacheprovider", "--seed=7", "-ra", *arguments)
        return pytester.runpytest_inprocess(*options), made

    return run


def result_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "result.json").read_text())
    return found


def test_what_is_open_is_repeated_and_judged_together(run: Run, pytester: pytest.Pytester) -> None:
    result, made = run("--attempts=3")
    (first, whole), (second, again) = made
    assert "speedup" in whole
    assert "service" in again
    assert "speedup" not in again
    assert (first.seed, second.seed) == (7, 8)
    assert "--only service_load" in second.replay
    result.assert_outcomes(passed=2)
    # The report on both is in the folder of the last one.
    folder = second.folder
    found = result_of(pytester.path / folder)
    sources = found["sources"]
    assert isinstance(sources, list)
    assert [one["run"] for one in sources] == [first.run, second.run]
    log = read_logs([pytester.path / "reports" / "out" / LOG])
    assert [one.run for one in log.campaigns] == [first.run, second.run]
    assert all(one.ended is not None for one in log.campaigns)


def test_no_repeat_that_would_end_after_the_budget(run: Run) -> None:
    result, made = run("--time-budget=0.5")
    assert len(made) == 1
    result.assert_outcomes(passed=1, skipped=0)
    result.stdout.fnmatch_lines(["INCONCLUSIVE  service_load*", "*still open for GO*"])
    result.stderr.fnmatch_lines(["*no attempt 2 for service_load*of the time budget are left*"])


def test_pull_request_leaves_out_what_does_not_fit(run: Run) -> None:
    result, ((_, stages),) = run("--gate=pull-request", "--time-budget=7")
    assert "speedup" not in stages
    assert "recovery" in stages
    result.stderr.fnmatch_lines(["*left out for the time budget: *speedup*"])
    assert result.ret == 0


def test_budget_too_short_for_any_stage_is_refused(run: Run) -> None:
    result, made = run("--gate=pull-request", "--time-budget=0.5")
    assert made == []
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*--time-budget 0.5: no stage fits*"])


def test_only_runs_the_stages_of_a_criterion(run: Run) -> None:
    _, made = run("--only=speedup", "--only=network_latency")
    ((options, stages),) = made
    assert stages == ["network", "actors", "speedup"]
    assert options.replay.endswith("--only speedup --only network_latency")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--only=speedupp", "*no such criterion*"),
        ("--only=uptime", "*python -m validation soak*"),
        ("--attempts=0", "*--attempts must be at least 1*"),
        ("--thresholds=none.toml", "*none.toml*No such file*"),
    ],
)
def test_bad_option_is_refused_before_anything_is_started(
    run: Run, option: str, words: str
) -> None:
    result, made = run(option)
    assert made == []
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in said
    result.stdout.fnmatch_lines([words])


def test_log_holds_verdicts_by_the_plan(run: Run, pytester: pytest.Pytester) -> None:
    strict = '[speedup]\nfactor = { value = 99, unit = "×" }\n'
    (pytester.path / "team.toml").write_text(strict, encoding="utf-8")
    result, ((options, _),) = run("--thresholds=team.toml")
    result.assert_outcomes(failed=1)
    named = "speedup factor 99 × (plan: 2 ×; stricter)"
    assert f"NO-GO against team.toml's targets, which differ from the plan's in {named}" in (
        result.stdout.str()
    )
    assert options.replay.endswith("--thresholds team.toml")
    (one,) = read_logs([pytester.path / "reports" / "out" / LOG]).campaigns
    assert one.ended is not None
    assert one.ended.verdicts["speedup"] == "PASS"

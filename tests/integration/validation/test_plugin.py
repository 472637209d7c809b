"""pytest says what the gate said: FAIL fails, INCONCLUSIVE has a letter, --gate sets the status."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest

# Before pytester first looks which modules are there: numpy cannot be loaded a second time.
import validation.decision  # noqa: F401
from evolution_gate.fixtures.protocols import StackError
from validation import pytest_plugin
from validation.campaigns import run as campaign

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process of pytest would spend seconds on plugins that no test here needs."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


CONFTEST = """
from pathlib import Path
import pytest
from validation.decision import Decision, GateResult
from validation.thresholds import Targets, Tier
from validation.verdict import Status, Verdict

pytest_plugins = ["validation.pytest_plugin"]

@pytest.fixture(scope="session")
def gate_result(request):
    from validation.pytest_plugin import publish

    statuses = {statuses!r}
    verdicts = {{
        name: Verdict(status=Status(s), measured="1", reason="because " + name)
        for name, s in statuses.items()
    }}
    result = GateResult(
        decision=Decision({decision!r}), criteria=(), verdicts=verdicts, sources=(),
        targets=Targets(name="", values={{}}, tiers={{"w": Tier.WARN, "i": Tier.INFORMATIONAL}}),
    )
    return publish(request.config, result, Path("out"))
"""

TESTS = """
import pytest

@pytest.mark.parametrize("criterion", {names!r})
def test_it(criterion, judge):
    judge(criterion)
"""


def run(
    pytester: pytest.Pytester, decision: str, *arguments: str, **statuses: str
) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST.format(statuses=statuses, decision=decision))
    pytester.makepyfile(TESTS.format(names=list(statuses)))
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_inconclusive_is_counted_separately_without_failure(pytester: pytest.Pytester) -> None:
    result = run(pytester, "INCONCLUSIVE", a="PASS", b="INCONCLUSIVE")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*test_inconclusive*.py .I*", "*gate: INCONCLUSIVE*"])
    result.stdout.fnmatch_lines(["*1 passed, 1 inconclusive*"])
    result.stdout.fnmatch_lines(["INCONCLUSIVE  b*because b", "report: out/report.html"])


def test_fail_verdict_fails_its_test(pytester: pytest.Pytester) -> None:
    result = run(pytester, "NO-GO", a="FAIL", b="PASS")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*a: 1 -- because a*", "*1 failed, 1 passed*"])


@pytest.mark.parametrize("tier", ["w", "i"])
def test_fail_of_lower_tier_fails_no_test(pytester: pytest.Pytester, tier: str) -> None:
    result = run(pytester, "GO", "--gate=phase2", "-rx", a="PASS", **{tier: "FAIL"})
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [f"*its tier is *: {tier}: 1 -- because {tier}", "*1 passed, 1 xfailed*"]
    )


@pytest.mark.parametrize(
    ("decision", "status", "code"), [("GO", "PASS", 0), ("INCONCLUSIVE", "INCONCLUSIVE", 2)]
)
def test_gate_option_sets_the_exit_status(
    pytester: pytest.Pytester, decision: str, status: str, code: int
) -> None:
    assert run(pytester, decision, "--gate=phase2", a=status).ret == code


def test_no_go_exits_with_status_1(pytester: pytest.Pytester) -> None:
    assert run(pytester, "NO-GO", "--gate=phase2", a="FAIL").ret == 1


def test_missing_verdict_is_inconclusive(pytester: pytest.Pytester) -> None:
    assert run(pytester, "GO", "--gate=phase2", "-k", "nothing", a="PASS").ret == 2


@pytest.mark.parametrize(
    ("decision", "status", "code"),
    [("GO", "PASS", 0), ("INCONCLUSIVE", "INCONCLUSIVE", 0), ("NO-GO", "FAIL", 1)],
)
def test_pull_request_fails_only_for_no_go(
    pytester: pytest.Pytester, decision: str, status: str, code: int
) -> None:
    result = run(pytester, decision, "--gate=pull-request", a=status)
    assert result.ret == code
    said = result.stdout.str()
    warned = "warning: INCONCLUSIVE, 1 of 1 criteria are open: it fails no pull request" in said
    assert warned == (decision == "INCONCLUSIVE")


def test_crash_in_pull_request_keeps_its_status(pytester: pytest.Pytester) -> None:
    assert run(pytester, "GO", "--gate=pull-request", "-k", "nothing", a="PASS").ret == 5
    pytester.makepyfile(test_broken="import nothing_of_that_name")
    assert run(pytester, "GO", "--gate=pull-request", a="PASS").ret == 2


def test_other_failed_test_prevents_status_0(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_broken():\n    assert False\n")
    assert run(pytester, "GO", "--gate=phase2", a="PASS").ret == 1


@pytest.mark.parametrize("seed", ["-1", "x", str(2**63)])
def test_bad_seed_is_refused(pytester: pytest.Pytester, seed: str) -> None:
    result = run(pytester, "GO", f"--seed={seed}", a="PASS")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*seed must be a whole number*"])


XDIST = """
from pathlib import Path
import pytest
import validation.pytest_plugin as plugin
from validation.run_folder import OUT
from evolution_gate.fixtures.protocols import StackError
from validation.decision import Decision, GateResult
from validation.verdict import Status, Verdict

pytest_plugins = ["validation.pytest_plugin"]

def gather(config):
    with Path("campaigns").open("a") as file:
        file.write("one\\n")
    if {fails}:
        raise StackError("no engine answers: start one")
    folder = OUT / "run"
    folder.mkdir(parents=True)
    return folder

def decide(_config, folder):
    assert folder.name == "run"
    verdicts = {{name: Verdict(status=Status.FAIL, measured="1", reason="bad") for name in "abcd"}}
    return GateResult(decision=Decision.NO_GO, criteria=(), verdicts=verdicts, sources=())

plugin.gather_evidence, plugin.decide_from = gather, decide
"""


@pytest.mark.parametrize("fails", [False, True])
def test_xdist_workers_share_one_campaign(pytester: pytest.Pytester, *, fails: bool) -> None:
    pytester.makeconftest(XDIST.format(fails=fails))
    pytester.makepyfile(TESTS.format(names=list("abcd")))
    result = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "xdist", "-n", "2", "--gate=phase2")
    )
    assert (pytester.path / "campaigns").read_text() == "one\n"
    assert not list((pytester.path / "reports" / "out").glob(".campaign*"))
    assert result.ret == (2 if fails else 1)
    if fails:
        said = result.stdout.str() + result.stderr.str()
        assert "Traceback" not in said
        assert "gather(config)" not in said
        result.assert_outcomes(errors=4)
    else:
        result.stdout.fnmatch_lines(["*gate: NO-GO*", "FAIL *a*bad", "report: reports/out/run/*"])


def no_stack(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    around: AbstractContextManager[object],
    *criteria: str,
) -> pytest.RunResult:
    def gather(_config: pytest.Config) -> None:
        with around:
            raise StackError("no engine answers: start one")

    monkeypatch.setattr(pytest_plugin, "gather_evidence", gather)
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile(TESTS.format(names=list(criteria)))
    return pytester.runpytest_inprocess("-p", "no:cacheprovider")


def test_failed_stack_start_is_reported_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = no_stack(pytester, monkeypatch, nullcontext(), "a", "b", "c")
    said = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in said
    assert "raise StackError" not in said
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said.count("no engine answers: start one") == 1


def test_failed_stack_start_leaves_no_folder(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/nobody")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_it(gate_result): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--stack=containers")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no container engine answers" in result.stdout.str() + result.stderr.str()
    assert list(pytester.path.glob("reports/out/*-*")) == []


def test_stack_failure_in_campaign_shows_its_place(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = no_stack(pytester, monkeypatch, campaign.fail_with_context(), "a")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*raise StackError(*", "*was aborted: no engine answers*"])

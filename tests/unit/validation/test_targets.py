"""Targets of a campaign: what the options select, and stages that a target cannot be used for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evolution_gate.fixtures.backends.compose import deployment
from evolution_gate.fixtures.capabilities import FAULTS, Capability
from evolution_gate.fixtures.protocols import StackError
from tests.support.compose_double import NAME, Engine
from tests.support.evidence_builders import evidence, passing
from validation.campaigns.lists import FULL
from validation.campaigns.run import Step, not_run, possible
from validation.contract import Stage
from validation.criteria.registry import CRITERIA
from validation.decision import decide
from validation.deployed_targets import ComposeTarget
from validation.evidence.records import Recovery
from validation.evidence.records_network import Drain
from validation.evidence.records_target import NotRun
from validation.safety.plan import fault_plan
from validation.stages.registry import STAGES
from validation.targets import OwnStack, TargetOptions, target_of
from validation.verdict import Status

pytest_plugins = ["pytester"]


def compose(**options: Any) -> TargetOptions:
    return TargetOptions(target="compose", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            TargetOptions(target="ray:mine"),
            "no such target; choose stack, compose, compose:FILE, k",
        ),
        (TargetOptions(target="kubernetes:mine"), "name it as CONTEXT/NAMESPACE/CLUSTER"),
        (TargetOptions(target="compose2"), "no such target"),
        (TargetOptions(target="compose:/nowhere.yml"), "/nowhere.yml: No such file"),
        (compose(address="h:1"), "are two targets; choose one"),
        (compose(), f"add --allow-faults all --confirm {NAME}"),
        (compose(allow_faults="all"), f"add --confirm {NAME}"),
        (compose(allow_faults="all", confirm="other"), f"the target is {NAME!r}"),
        (compose(allow_faults="fire", confirm=NAME), "--allow-faults fire: no such fault"),
        (compose(allow_faults="fire", dry_run=True), "--allow-faults fire: no such fault"),
        (TargetOptions(allow_faults="all"), "need --target compose"),
        (TargetOptions(confirm="x"), "need --target compose"),
        (TargetOptions(other_jobs=True), "need --target compose"),
        (TargetOptions(alert_webhook="127.0.0.1:9"), "need --target compose"),
        (compose(alert_webhook="9099"), "--alert-webhook 9099: it must be HOST:PORT"),
        (compose(alert_webhook="h:0"), "it must be HOST:PORT"),
        (TargetOptions(dashboard="http://h"), "need --address"),
    ],
)
def test_bad_options_are_refused_before_anything(
    monkeypatch: pytest.MonkeyPatch, options: TargetOptions, words: str
) -> None:
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    # Nobody may ask an engine before the options are right.
    monkeypatch.setattr(deployment, "connect", None)
    with pytest.raises(StackError) as failed:
        target_of(options)
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "nothing"], "no such target"),
        (["--target", "compose"], "is broken without consent"),
        (["--target", "compose", "--allow-faults", "all", "--confirm", "x"], "--confirm x"),
    ],
)
def test_bad_target_ends_pytest_with_its_line(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_it(gate_result): pass")
    said = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    said.stdout.fnmatch_lines([f"*{words}*"])
    assert said.ret == pytest.ExitCode.USAGE_ERROR
    assert not (pytester.path / "reports").exists()


def test_dry_run_prints_plan_and_breaks_nothing(
    engine: Engine, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_it(gate_result): pass")
    said = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--target=compose", "--dry-run")
    said.stderr.fnmatch_lines(
        [
            f"*plan of faults on {NAME}; nothing is broken now",
            "*recovery: kill, SIGKILL of one worker node; * again; about 3 min",
            "*preemption: drain, *",
            "*rollback: cluster, SIGKILL of the head and of all nodes at once*",
            "*not alert: alerts: its Alertmanager sends alerts elsewhere*--alert-webhook HOST:PORT",
            "*replaced by Docker's restart policy; about * in all",
        ]
    )
    said.stdout.fnmatch_lines(["*dry run: nothing was broken*"])
    assert said.ret == pytest.ExitCode.OK
    assert engine.calls == []
    assert not (pytester.path / "reports").exists()


def test_own_stack_lacks_nothing() -> None:
    target = target_of(TargetOptions())
    assert isinstance(target, OwnStack)
    assert possible(target, FULL) == (list(FULL), [])
    assert not any("not " in line for line in fault_plan(target, list(STAGES.values())))


def test_deployed_target_states_what_it_can(engine: Engine) -> None:
    target = target_of(compose(allow_faults="kill,drain", confirm=NAME))
    assert isinstance(target, ComposeTarget)
    assert target.option == f"--target compose --allow-faults kill,drain --confirm {NAME}"
    assert (target.name, target.cpus_per_node) == (NAME, 1.0)
    (record,) = target.records
    said = record.data()
    assert said["consent"] == ("drain", "kill")
    assert said["replaced_by"] == "Docker's restart policy"
    assert not {*said["capabilities"]} & {*said["missing"]}  # type: ignore[misc]
    assert engine.calls == []


def test_stage_without_capability_is_left_out(engine: Engine) -> None:
    del engine
    target = target_of(compose(allow_faults="drain", confirm=NAME))
    steps, left_out = possible(target, FULL)
    names = [step.stage for step in steps]
    assert "rollback" not in names
    # Without a kill the same work is done undisturbed.
    assert "recovery" not in names
    assert "cluster" in names
    # What ran alongside goes on without it.
    assert "bad input" in names
    assert next(step for step in steps if step.stage == "backup").alongside == ()
    missing = {one.stage: dict(one.missing) for one in left_out}
    assert missing["recovery"] == {"kill": "--allow-faults does not name it"}
    assert missing["autoscaling"] == {"autoscaler": "a Compose project has no autoscaler"}
    assert set(missing["alert"]) == {"alerts", "kill", "partition"}


def test_stage_of_plugin_states_its_needs(engine: Engine) -> None:
    del engine
    target = target_of(compose(allow_faults="kill", confirm=NAME))
    mine = Stage(name="mine", run=print, feeds=("own",), needs=(Capability.PAUSE,))
    left_out = not_run(target, mine)
    assert left_out is not None
    assert (left_out.stage, left_out.criteria) == ("mine", ("own",))
    assert not_run(target, replace(mine, needs=(Capability.KILL_NODE,))) is None


def test_step_without_replacement_disappears(engine: Engine) -> None:
    del engine
    target = target_of(compose(allow_faults="none"))
    steps, left_out = possible(target, [Step(stage="recovery"), Step(stage="population")])
    assert [step.stage for step in steps] == ["population"]
    assert [one.criteria for one in left_out] == [STAGES["recovery"].feeds]


def test_other_jobs_are_refused_before_work(engine: Engine) -> None:
    engine.jobs = [{"job_id": "theirs", "status": "RUNNING", "driver_info": None}]
    target = target_of(compose(allow_faults="kill", confirm=NAME))
    with pytest.raises(StackError, match="another job runs on evolution-gate"):
        target.start(alert_webhook="", say=lambda _: None)
    assert engine.calls == []


def test_verdict_names_the_missing_capability() -> None:
    why = "at most one node\nat a time"
    lacks = NotRun(stage="recovery", criteria=("worker_recovery",), missing={"kill": why})
    events = [event for event in passing() if not isinstance(event[1], Recovery | Drain)]
    result = decide([evidence([*events, (events[-1][0] + 1, lacks)])])
    verdict = result.verdict("worker_recovery")
    assert verdict.status is Status.INCONCLUSIVE
    expected = "stage 'recovery' was not run, for the target lacks 'kill': at most one node at a"
    assert expected in verdict.reason
    # Another criterion without evidence is not explained by it.
    other = result.verdict("preemption")
    assert other.status is Status.INCONCLUSIVE
    assert "was not run" not in other.reason
    # What was measured all the same is not touched.
    whole = decide([evidence([*passing(), (passing()[-1][0] + 1, lacks)])])
    assert "was not run" not in whole.verdict("worker_recovery").reason
    assert all("was not run" not in whole.verdict(c.id).reason for c in CRITERIA)


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("processes", "by the gate itself"),
        ("compose", "by Docker's restart policy"),
        ("kubernetes", "by the KubeRay operator"),
    ],
)
def test_recovery_says_who_replaced_nodes(backend: str, words: str) -> None:
    found = decide([evidence(passing(), backend=backend)]).verdict("worker_recovery")
    assert f"each replacement started {words}" in found.reason


def test_faults_of_stages_need_consent() -> None:
    """A stage that breaks something says so, or consent would not cover it."""
    breaking = {name for name, stage in STAGES.items() if set(stage.needs) & FAULTS.keys()}
    assert breaking == {
        *("alert", "alerts at work", "head alert", "recovery", "preemption", "rollback", "safety"),
    }
    assert Stage(name="x", run=lambda _: None).needs == ()
    assert Capability.LIMITS not in FAULTS

"""pytest: options, the campaign as one fixture, and INCONCLUSIVE as an outcome of its own.

The tests of the gate only read verdicts. The first one that asks for them makes the campaign run:
stack, workloads and faults, evidence closed, verdicts computed from the file, report written.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from fixtures.attached import AttachedStack
    from validation.gate import GateResult
    from validation.own import Own

NODES: Final = 4
CPUS_PER_NODE: Final = 0.4
STEADY_SECONDS: Final = 60.0
OUT: Final = Path("reports") / "out"

_INCONCLUSIVE = pytest.StashKey[str]()
_MARK: Final = "inconclusive"
"""Attribute of a test report; it must live there to reach the terminal from xdist's workers."""
_RESULT = pytest.StashKey["GateResult"]()
_FOLDER = pytest.StashKey[Path]()
_TEST_RUN = pytest.StashKey[str]()
_OUTPUT: Final = "gate"
"""Where a worker of xdist says which run it decided from."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the gate."""
    group = parser.getgroup("gate", "the validation gate (pytest -m validation)")
    group.addoption("--stack", choices=["auto", "processes", "containers"], default="auto")
    group.addoption(
        "--seed", type=_seed, help="fixes workloads and faults (default: random, printed)"
    )
    group.addoption("--replay", type=_seed, metavar="SEED", help="repeat the campaign of that seed")
    group.addoption(
        "--gate",
        choices=["phase2"],
        help="exit with the gate's status: 0 GO, 1 NO-GO, 2 INCONCLUSIVE",
    )
    group.addoption(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster that you started: it is given work and watched, and never broken;"
        " GA_STORE, GA_CACHE_URL and RAY_AUTH_TOKEN_PATH say the rest",
    )
    group.addoption("--dashboard", metavar="URL", help="of that cluster (default: its port 8265)")
    group.addoption("--prometheus", metavar="URL", help="that scrapes that cluster")
    group.addoption(
        "--with",
        action="append",
        default=[],
        dest="own_files",
        metavar="FILE",
        help="criteria of your own beside the gate's, see docs/extending.md; may be given again",
    )
    group.addoption("--short", action="store_true", help="less evidence, in about half the time")


class BrokenOffError(Exception):
    """The stack failed in the middle of the campaign, where no fault of ours explains it."""


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**63:
        raise pytest.UsageError(f"seed must be a whole number 0..2^63-1, not {text!r}")
    return int(text)


@pytest.fixture(scope="session")
def gate_result(request: pytest.FixtureRequest) -> GateResult:
    """Run the whole campaign once and decide from its file."""
    from fixtures.stack import StackError
    from validation.once import FailedElsewhereError, once

    config = request.config
    worker = getattr(config, "workerinput", None)
    try:
        folder = once(worker, OUT, lambda: _gather(config))
    except FailedElsewhereError:
        pytest.fail("the campaign did not reach its end in another worker", pytrace=False)
    except StackError as error:
        if worker is not None:
            pytest.fail(str(error), pytrace=False)
        # Said once, and not again by every test that there is no stack for.
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    return publish(config, _decide(config, folder), folder)


def _owns(config: pytest.Config) -> list[Own]:
    from ga.errors import InputError
    from validation.own import load

    try:
        return [load(Path(file)) for file in config.getoption("own_files")]
    except InputError as error:
        raise pytest.UsageError(f"--with {error}") from error


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests of criteria of one's own are there where such criteria are."""
    ours = collection_path == Path(__file__).with_name("test_own.py")
    return True if ours and not config.getoption("own_files") else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every criterion of one's own."""
    if "own_criterion" in metafunc.fixturenames:
        criteria = [c.id for own in _owns(metafunc.config) for c in own.criteria]
        metafunc.parametrize("own_criterion", criteria)


def _decide(config: pytest.Config, folder: Path) -> GateResult:
    from validation.evidence import FILE, read_evidence
    from validation.gate import decide
    from validation.own import kept, together
    from validation.sabotage import CERTIFICATES

    owns = _owns(config)
    evidence = read_evidence(folder / FILE)
    return decide([evidence], criteria=together(owns), certificates=kept(CERTIFICATES, owns))


@contextmanager
def under_way() -> Generator[None]:
    """The stack is up: what it cannot do from here on is shown with where that was.

    Raises:
        BrokenOffError: for a ``StackError``.
    """
    from fixtures.stack import StackError

    try:
        yield
    except StackError as error:
        raise BrokenOffError(f"the campaign broke off: {error}") from error


def _gather(config: pytest.Config) -> Path:
    """Run the campaign and write its report; the folder of both."""
    # Imported here: this plugin is loaded for every pytest run, the engine and its compiler are
    # needed for the gate alone.
    import fixtures
    import reports
    from validation import attached
    from validation.campaign import FULL, SHORT, Campaign
    from validation.deaths import died
    from validation.drills import Drills
    from validation.elasticity import autoscale, preempt
    from validation.environment import environment
    from validation.evidence import FILE, EvidenceWriter, read_evidence
    from validation.exposure import search, secrets_of, survey, withdraw
    from validation.faults import plant_alert
    from validation.memory import evictions
    from validation.network import actor_round_trips, round_trips
    from validation.own import Ground
    from validation.probes import Observe, Outages, Watch, Webhook, ask_all
    from validation.progress import STAGES, Progress
    from validation.records import Environment, Note
    from validation.service import service_load

    seed = config.getoption("--replay")
    if seed is None:
        seed = config.getoption("--seed")
    if seed is None:
        seed = secrets.randbelow(2**31)
    say = _speaker(config)
    run = time.strftime("%Y%m%d-%H%M%S") + f"-{seed}"
    folder = OUT / run
    scale = SHORT if config.getoption("--short") else FULL
    backend = config.getoption("--stack")
    theirs = _theirs(config)
    where = f"--stack={backend}" if theirs is None else f"--address {theirs.endpoints.ray}"
    replay = f"pytest -m validation {where} --replay {seed}"
    if scale is SHORT:
        replay += " --short"
    owns = _owns(config)
    replay += "".join(f" --with {own.file}" for own in owns)
    say(f"seed {seed}; evidence goes to {folder}")
    progress = Progress(say, stages=STAGES if theirs is None else attached.STAGES)
    progress.begin("start")
    evidence = folder / FILE
    with (
        # Beside the stack's start: under a node's quota it would take minutes.
        subprocess.Popen(
            [sys.executable, "-m", "ga", "compile"], stdout=subprocess.DEVNULL
        ) as compiling,
        Webhook() as webhook,
        theirs
        or fixtures.start_stack(
            nodes=NODES,
            cpus_per_node=CPUS_PER_NODE,
            backend=backend,
            alert_webhook=webhook.url,
            on_progress=say,
        ) as stack,
        under_way(),
        # It makes the folder: a stack that could not be started leaves none.
        EvidenceWriter(
            evidence,
            run=run,
            seed=seed,
            backend=stack.backend,
            nodes=len(stack.nodes),
            cpus_per_node=CPUS_PER_NODE if theirs is None else theirs.cpus_per_node,
            replay=replay,
        ) as writer,
        Observe(stack, writer),
    ):
        writer.add(Environment(values=environment()))
        outages = Outages()
        watch = Watch(stack, writer, outages)
        say("waiting for a steady state: every Prometheus target up")
        if not watch.steady(STEADY_SECONDS):
            writer.add(Note(text=f"not every target was up after {STEADY_SECONDS:.0f} s"))
        if compiling.wait():
            pytest.fail("the engine's kernels could not be compiled; see above", pytrace=False)

        def campaign_on(stack: fixtures.Stack, folder: Path) -> Campaign:
            return Campaign(
                stack, writer, seed=seed, scale=scale, folder=folder, outages=outages, say=say
            )

        campaign = campaign_on(stack, folder)
        drills = Drills(campaign, stack, writer, folder=folder, say=say)
        if theirs is not None:
            attached.look(
                writer, watch, campaign, drills, times=scale.recoveries, progress=progress, say=say
            )
        else:
            # In a quiet moment, before anything is done.
            round_trips(stack, writer, say=say)
            actor_round_trips(stack, writer, say=say)
            survey(stack, writer, say=say)
            began = time.time()
            with watch, ThreadPoolExecutor(1) as aside:
                # The cluster has no work during the reference: its alert costs no time.
                alert = aside.submit(
                    plant_alert, stack, writer, outages, webhook, seed=seed, say=say
                )
                progress.begin("reference")
                campaign.reference(drills.back_up)
                alert.result()
                progress.begin("recoveries")
                campaign.recoveries()
                progress.begin("preemption")
                preempt(campaign, stack, writer, outages, say=say)
                progress.begin("populations")
                campaign.populations()
                for own in owns:
                    say(f"what {own.file} gathers")
                    own.gather(
                        Ground(
                            stack=stack,
                            writer=writer,
                            outages=outages,
                            folder=folder,
                            seed=seed,
                            say=say,
                        )
                    )
                if stack.endpoints.prometheus is not None:
                    say("every panel of every dashboard")
                    ask_all(
                        writer,
                        prometheus=stack.endpoints.prometheus,
                        grafana=os.environ.get("GA_GRAFANA_URL") or stack.endpoints.grafana,
                        since=began,
                    )
                progress.begin("speedup")
                campaign.speedup()
            evictions(stack.endpoints.prometheus, writer, since=began)
            for notification in webhook.notifications:
                writer.add(notification)
            died(stack, writer)
            for line in stack.unexpected_exits:
                # For the reader; container_stability judges what the watch saw.
                say(f"unexpected exit: {line}")
                writer.add(Note(text=f"unexpected exit: {line}"))
            # Afterwards there is no cluster; what follows needs none, or makes its own.
            progress.begin("rollback")
            with ThreadPoolExecutor(1) as aside:
                # Most of that is waiting. Beside the backup of a run they would make it late.
                refusals = aside.submit(drills.bad_input)
                drills.rollback()
                refusals.result()
            progress.begin("autoscaling")
            with ThreadPoolExecutor(1) as aside:
                # Reading two histories is work of the gate's own: not beside what it measures.
                restores = aside.submit(drills.restore)
                autoscale(writer, folder=folder, say=say, make=campaign_on)
                restores.result()
            progress.begin("service")
            service_load(writer, folder=folder, say=say)
            search(stack, writer, folder)
            told = secrets_of(stack.endpoints)
    pages = reports.write(_decide(config, folder), [read_evidence(evidence)], folder, runs=OUT)
    if leaked := withdraw(pages, told):
        pytest.fail(
            f"a secret stood in pages, which were removed: {'; '.join(leaked)}", pytrace=False
        )
    return folder


def _theirs(config: pytest.Config) -> AttachedStack | None:
    """The cluster of ``--address``, found to be there; ``None`` when we start one of our own."""
    from fixtures.attached import AttachedStack
    from fixtures.stack import StackError

    address = config.getoption("--address")
    dashboard, prometheus = config.getoption("--dashboard"), config.getoption("--prometheus")
    if address is None:
        if dashboard or prometheus:
            raise StackError("--dashboard and --prometheus need --address HOST:PORT")
        return None
    return AttachedStack(address, dashboard=dashboard, prometheus=prometheus)


def publish(config: pytest.Config, result: GateResult, folder: Path) -> GateResult:
    """Make a decision the one that this pytest run reports and, with ``--gate``, exits by."""
    config.stash[_RESULT] = result
    config.stash[_FOLDER] = folder
    if hasattr(config, "workeroutput"):
        config.workeroutput[_OUTPUT] = str(folder)
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of xdist ended: its decision is that of the whole run, which is said here."""
    config: pytest.Config = node.config
    config.stash[_TEST_RUN] = node.workerinput["testrunuid"]
    folder = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if folder is not None and _RESULT not in config.stash:
        publish(config, _decide(config, Path(folder)), Path(folder))


def _speaker(config: pytest.Config) -> Callable[[str], None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        line = f"[{minutes:02}:{seconds:02}] {text}\n"
        if capture is None:
            sys.stderr.write(line)
            return
        with capture.global_and_fixture_disabled():
            sys.stderr.write(line)
            sys.stderr.flush()

    return say


@pytest.fixture
def judge(gate_result: GateResult, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Turn one criterion's verdict into the outcome of a test."""

    from validation.verdicts import Status

    def check(criterion: str) -> None:
        verdict = gate_result.verdict(criterion)
        if verdict.status is Status.FAIL:
            pytest.fail(f"{criterion}: {verdict.measured} -- {verdict.reason}", pytrace=False)
        if verdict.status is Status.INCONCLUSIVE:
            request.node.stash[_INCONCLUSIVE] = verdict.reason
            pytest.skip(f"{criterion}: INCONCLUSIVE, {verdict.reason}")

    return check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Mark the reports of inconclusive criteria."""
    report = yield
    if _INCONCLUSIVE in item.stash and call.when == "call":
        setattr(report, _MARK, item.stash[_INCONCLUSIVE])
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Give INCONCLUSIVE its own letter and its own count in the summary line."""
    if getattr(report, _MARK, None) is not None:
        return "inconclusive", "I", ("INCONCLUSIVE", {"yellow": True})
    return None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The gate's decision, every verdict in a line, and where the report is."""
    result = config.stash.get(_RESULT, None)
    if result is None:
        return
    from validation.checks.observer import doubts
    from validation.verdicts import bounds, explained

    units = {criterion.id: criterion.unit for criterion in result.criteria}
    terminalreporter.section(f"gate: {result.decision.value}")
    for criterion, verdict in result.verdicts.items():
        between = bounds(verdict, units.get(criterion, ""))
        measured = f"{verdict.measured} ({between})" if between else verdict.measured
        terminalreporter.write_line(
            f"{verdict.status.value:<13} {criterion:<22} {measured} -- {explained(verdict)}"
        )
    for line in doubts(result.observer):
        terminalreporter.write_line(f"observer: {line}")
    folder = config.stash[_FOLDER]
    terminalreporter.write_line(f"report: {folder / 'report.html'}")
    terminalreporter.write_line(f"all runs: {folder.parent / 'index.html'}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With ``--gate``, the exit status is that of the gate; no verdict is never a GO."""
    if _TEST_RUN in session.config.stash:
        from validation.once import forget

        forget(OUT, session.config.stash[_TEST_RUN])
    if session.config.getoption("--gate") is None:
        return
    result = session.config.stash.get(_RESULT, None)
    status = 2 if result is None else result.exit_code
    # Any other failed test of the session still counts.
    if status == 0 and session.exitstatus != 0:
        status = int(session.exitstatus)
    session.exitstatus = status

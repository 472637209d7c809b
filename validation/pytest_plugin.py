"""pytest: options, the campaign as one fixture, and INCONCLUSIVE as an outcome of its own.

The tests of the gate only read verdicts. The first one that asks for them makes the campaign run:
stack, workloads and faults, evidence closed, verdicts computed from the file, report written.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from validation.decision import GateResult
    from validation.extension import Own

OUT: Final = Path("reports") / "out"

_INCONCLUSIVE = pytest.StashKey[str]()
_MARK: Final = "inconclusive"
"""Attribute of a test report; it must live there to reach the terminal from xdist's workers."""
_RESULT = pytest.StashKey["GateResult"]()
_FOLDER = pytest.StashKey[Path]()
_TEST_RUN = pytest.StashKey[str]()
_ENDED = pytest.StashKey[int]()
"""The signal that ended the campaign."""
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
    group.addoption(
        "--keep-files",
        action="store_true",
        help="leave ledgers, backups and their copies in the folder of the run, about 110 MB",
    )
    group.addoption("--short", action="store_true", help="less evidence, in about half the time")


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**63:
        raise pytest.UsageError(f"seed must be a whole number 0..2^63-1, not {text!r}")
    return int(text)


@pytest.fixture(scope="session")
def gate_result(request: pytest.FixtureRequest) -> GateResult:
    """Run the whole campaign once and decide from its file."""
    from fixtures.protocols import StackError
    from fixtures.system import termination
    from validation.run_once import FailedElsewhereError, once

    config = request.config
    worker = getattr(config, "workerinput", None)
    try:
        with termination.by_signal():
            if worker is not None:
                termination.with_parent()
            folder = once(worker, OUT, lambda: _gather(config))
    except termination.EndedError as ended:
        config.stash[_ENDED] = ended.number
        raise
    except FailedElsewhereError:
        pytest.fail("the campaign did not reach its end in another worker", pytrace=False)
    except StackError as error:
        if worker is not None:
            pytest.fail(str(error), pytrace=False)
        # Said once, and not again by every test that there is no stack for.
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    return publish(config, decide_from(config, folder), folder)


def owns_of(config: pytest.Config) -> list[Own]:
    """What ``--with`` names."""
    from ga.errors import InputError
    from validation.extension import load

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
        criteria = [c.id for own in owns_of(metafunc.config) for c in own.criteria]
        metafunc.parametrize("own_criterion", criteria)


def decide_from(config: pytest.Config, folder: Path) -> GateResult:
    """The verdicts on a run's evidence, with the options' criteria of one's own."""
    from validation.decision import decide
    from validation.evidence.log import FILE, read_evidence
    from validation.extension import kept, together
    from validation.mutation.runner import CERTIFICATES

    owns = owns_of(config)
    evidence = read_evidence(folder / FILE)
    return decide([evidence], criteria=together(owns), certificates=kept(CERTIFICATES, owns))


def _gather(config: pytest.Config) -> Path:
    # Imported here: this plugin is loaded for every pytest run, the engine and its compiler are
    # needed for the gate alone.
    from validation.campaigns.full import gather

    return gather(config)


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
        publish(config, decide_from(config, Path(folder)), Path(folder))


@pytest.fixture
def judge(gate_result: GateResult, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Turn one criterion's verdict into the outcome of a test."""

    from validation.verdict import Status

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
    from validation.self_check import doubts
    from validation.verdict import bounds, explained

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
        from validation.run_once import forget

        forget(OUT, session.config.stash[_TEST_RUN])
    ended = session.config.stash.get(_ENDED, None)
    if ended is not None and ended != signal.SIGINT:
        # As a shell has it; of Ctrl-C pytest has a status of its own.
        session.exitstatus = 128 + ended
        return
    if session.config.getoption("--gate") is None:
        return
    result = session.config.stash.get(_RESULT, None)
    status = 2 if result is None else result.exit_code
    # Any other failed test of the session still counts.
    if status == 0 and session.exitstatus != 0:
        status = int(session.exitstatus)
    session.exitstatus = status

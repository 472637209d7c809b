"""pytest plug-in: options, the campaign as a fixture, and INCONCLUSIVE as a separate outcome.

The tests of the gate only read verdicts. The first test that needs them starts the campaign: stack,
workloads and faults, evidence closed, verdicts computed from the file, report written.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from validation.exit_policy import Policy, exit_status, warning
from validation.pytest_options import add_options

if TYPE_CHECKING:
    from validation.decision import GateResult
    from validation.signing.keys import PrivateKey

_TESTS: Final = "validation.test_criteria"
_INCONCLUSIVE = pytest.StashKey[str]()
_MARK: Final = "inconclusive"
"""Attribute of a test report; on the report it reaches the terminal also from xdist's workers."""
_RESULT = pytest.StashKey["GateResult"]()
_FOLDER = pytest.StashKey[Path]()
_TEST_RUN = pytest.StashKey[str]()
_SIGNER: pytest.StashKey[PrivateKey] = pytest.StashKey()
"""The key of ``--sign``, which is read once, before anything starts."""
_ENDED = pytest.StashKey[int]()
"""The signal that ended the campaign."""
_OUTPUT: Final = "gate"
"""Key under which a worker of xdist reports the run that it decided from."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the gate."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, also where this project's configuration is not read."""
    text = "validation: starts the real stack, injects faults, and gathers evidence for the gate"
    config.addinivalue_line("markers", text)


@pytest.fixture(scope="session")
def gate_result(request: pytest.FixtureRequest) -> GateResult:
    """Run the whole campaign once and decide from its file."""
    from evolution_gate.fixtures.protocols import StackError
    from evolution_gate.fixtures.system import termination
    from ga.errors import InputError
    from validation.evidence.errors import EvidenceError, in_one_line
    from validation.run_folder import OUT
    from validation.run_once import FailedElsewhereError, once
    from validation.signing.state import SignatureError

    config = request.config
    worker = getattr(config, "workerinput", None)
    try:
        _read_key(config)
        with termination.by_signal():
            if worker is not None:
                termination.with_parent()
            folder = once(worker, OUT, lambda: gather_evidence(config))
        return publish(config, decide_from(config, folder), folder)
    except termination.EndedError as ended:
        config.stash[_ENDED] = ended.number
        raise
    except FailedElsewhereError:
        pytest.fail("the campaign did not reach its end in another worker", pytrace=False)
    except StackError as error:
        message = str(error)
    except (EvidenceError, InputError, SignatureError) as error:
        message = in_one_line(error)
    except OSError as error:
        # Without a file's name it is a defect, whose trace is needed.
        if error.filename is None:
            raise
        message = in_one_line(error)
    if worker is not None:
        pytest.fail(message, pytrace=False)
    # Reported once, not by every test that needs the stack.
    pytest.exit(message, returncode=pytest.ExitCode.USAGE_ERROR)


def _read_key(config: pytest.Config) -> None:
    """Read the key of ``--sign``: before minutes of work, and before a program inherits its
    password.
    """
    named = config.getoption("--sign")
    if named is not None and _SIGNER not in config.stash:
        from validation.signing.keys import PrivateKey

        config.stash[_SIGNER] = PrivateKey(named)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for every registered criterion, built-in or custom."""
    if "criterion" in metafunc.fixturenames and metafunc.module.__name__ == _TESTS:
        from ga.errors import InputError
        from validation.campaigns.selection import require_known
        from validation.extension import all_criteria
        from validation.plugin_process import describe

        try:
            found = all_criteria(describe(metafunc.config.getoption("own_files")))
        except InputError as error:
            raise pytest.UsageError(f"--with {error}") from error
        only = metafunc.config.getoption("--only")
        try:
            require_known(only, found)
        except InputError as error:
            raise pytest.UsageError(str(error)) from error
        ids = [criterion.id for criterion in found if criterion.id in only or not only]
        metafunc.parametrize("criterion", ids)


def decide_from(config: pytest.Config, folder: Path) -> GateResult:
    """The verdicts on a run's evidence, with the options' custom criteria.

    With ``--sign`` the signature is checked with the key that made it.
    """
    from dataclasses import replace

    from validation.campaigns.attempts import attempts_of
    from validation.pytest_campaign import judged_runs
    from validation.signing.attestation import require_place, said, verified

    judged, signer = judged_runs(config, attempts_of(folder)), config.stash.get(_SIGNER, None)
    place = require_place([folder], None)
    if signer is not None:
        return verified(judged, place, signer.public)
    return replace(judged.result, signature=said(place))


def gather_evidence(config: pytest.Config) -> Path:
    """Run the campaign and write its report; returns the folder of both.

    Raises:
        InputError: an option cannot be used.
        StackError: the stack cannot be started, or the cluster of ``--address`` is not reachable.
        CampaignAbortedError: it failed later.
    """
    # Imported here: this plugin is loaded for every pytest run.
    from validation.pytest_campaign import run_attempts

    return run_attempts(config, config.stash.get(_SIGNER, None), _progress_printer(config))


def _progress_printer(config: pytest.Config) -> Callable[[str], None]:
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


def publish(config: pytest.Config, result: GateResult, folder: Path) -> GateResult:
    """Set the decision that this pytest run reports and, with ``--gate``, uses as exit status."""
    config.stash[_RESULT] = result
    config.stash[_FOLDER] = folder
    if hasattr(config, "workeroutput"):
        config.workeroutput[_OUTPUT] = str(folder)
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """When a worker of xdist ends, report its decision, which is that of the whole run."""
    config: pytest.Config = node.config
    config.stash[_TEST_RUN] = node.workerinput["testrunuid"]
    folder = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if folder is not None and _RESULT not in config.stash:
        from ga.errors import InputError
        from validation.evidence.errors import EvidenceError, in_one_line
        from validation.signing.state import SignatureError

        try:
            _read_key(config)
            publish(config, decide_from(config, Path(folder)), Path(folder))
        except (EvidenceError, InputError, SignatureError, OSError) as error:
            # Without a decision the status of --gate is never that of GO.
            print(f"error: {in_one_line(error)}", file=sys.stderr)


@pytest.fixture
def judge(gate_result: GateResult, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Turn one criterion's verdict into the outcome of a test.

    A FAIL of a criterion that is not required, by ``--thresholds``, fails no test (``xfailed``).
    """
    from validation.thresholds import Tier
    from validation.verdict import Status

    def check(criterion: str) -> None:
        verdict, tier = gate_result.verdict(criterion), gate_result.targets.tier(criterion)
        said = f"{criterion}: {verdict.measured} -- {verdict.reason}"
        if verdict.status is Status.FAIL and tier is Tier.REQUIRED:
            pytest.fail(said, pytrace=False)
        if verdict.status is Status.FAIL:
            pytest.xfail(f"its tier is {tier.value}: {said}")
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
    from validation.cli.output import open_lines, reservation_lines
    from validation.verdict import bounds, format_explanation

    units = {criterion.id: criterion.unit for criterion in result.criteria}
    terminalreporter.section(f"gate: {result.decision_text}")
    for line in result.not_undone:
        terminalreporter.write_line(f"!!! {line}", red=True, bold=True)
    for criterion, verdict in result.verdicts.items():
        between = bounds(verdict, units.get(criterion, ""))
        measured = f"{verdict.measured} ({between})" if between else verdict.measured
        terminalreporter.write_line(
            f"{verdict.status.value:<13} {criterion:<22} {result.system_id} {measured} --"
            f" {format_explanation(verdict)}"
        )
    terminalreporter.write_line(f"system {result.system_id}: {result.system}")
    terminalreporter.write_line(f"signature: {result.signature.text}")
    policy = config.getoption("--gate")
    if policy is not None and (said := warning(result)) and not exit_status(result, Policy(policy)):
        terminalreporter.write_line(f"warning: {said}", yellow=True)
    for line in reservation_lines(result):
        terminalreporter.write_line(line)
    for line in open_lines(result):
        terminalreporter.write_line(line)
    folder = config.stash[_FOLDER]
    terminalreporter.write_line(f"report: {folder / 'report.html'}")
    terminalreporter.write_line(f"all runs: {folder.parent / 'index.html'}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With ``--gate``, the exit status is that of the policy. Without a verdict it is never 0."""
    if _TEST_RUN in session.config.stash:
        from validation.run_folder import OUT
        from validation.run_once import forget

        forget(OUT, session.config.stash[_TEST_RUN])
    ended = session.config.stash.get(_ENDED, None)
    if ended is not None and ended != signal.SIGINT:
        # As in a shell; for Ctrl-C pytest has its own status.
        session.exitstatus = 128 + ended
        return
    policy = session.config.getoption("--gate")
    if policy is None:
        return
    result = session.config.stash.get(_RESULT, None)
    if result is None:
        # No verdict is no GO. A crash has a status of its own, which is never that of NO-GO.
        ended = int(session.exitstatus) if policy == Policy.PULL_REQUEST else 0
        session.exitstatus = max(2, ended)
        return
    status = exit_status(result, Policy(policy))
    # Other failed tests of the session still count.
    if status == 0 and session.exitstatus != 0:
        status = int(session.exitstatus)
    session.exitstatus = status

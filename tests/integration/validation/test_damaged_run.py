"""``pytest -m validation``: damaged files end it in one line, and a run can be signed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.damage import FILES, VALUES, with_value
from tests.support.evidence_builders import passing, write
from tests.support.signing import PASSWORD, key_files
from validation.campaigns import run as campaign
from validation.campaigns.run import Gathered, Options
from validation.cli import main as command
from validation.signing.keys import PrivateKey, PublicKey
from validation.signing.state import State

pytest_plugins = ["pytester"]
LOG = "campaigns.jsonl"


@pytest.fixture
def run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Run the gate's own test with a campaign that only writes evidence."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_one(judge): judge('bad_input')\ndef test_two(gate_result): pass")
    out = pytester.path / "reports/out"
    out.mkdir(parents=True)

    def gather(change: Callable[[Path], object]) -> Callable[..., Gathered]:
        def run_campaign(_target: object, _steps: object, options: Options) -> Gathered:
            file = write(options.folder / "evidence.jsonl", passing(), run=options.run)
            change(options.folder)
            return Gathered(evidence=file, secrets={})

        return run_campaign

    def run(*arguments: str, change: Callable[[Path], object] = str) -> pytest.RunResult:
        monkeypatch.setattr(campaign, "run_campaign", gather(change))
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--seed=1", *arguments)

    return run


def refused(result: pytest.RunResult, *, status: int) -> str:
    said = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in said
    assert "raise " not in said
    assert result.ret == status
    (line,) = [line for line in said.splitlines() if line.startswith("!")]
    return line


@pytest.mark.parametrize("damage", ["folder", "link to itself", "not UTF-8", "number", "300 MiB"])
@pytest.mark.parametrize("gate", [(), ("--gate=phase2",)])
def test_damaged_log_ends_the_run(
    damage: str,
    gate: tuple[str, ...],
    run: Callable[..., pytest.RunResult],
    pytester: pytest.Pytester,
) -> None:
    log = pytester.path / "reports/out" / LOG
    log.write_text("x\n")
    FILES[damage](log)
    assert LOG in refused(run(*gate), status=2 if gate else pytest.ExitCode.USAGE_ERROR)


@pytest.mark.parametrize(
    "damage", ["folder", "link to itself", "pipe", "empty", "not UTF-8", "deep nesting", "NaN"]
)
def test_damaged_evidence_ends_the_run(damage: str, run: Callable[..., pytest.RunResult]) -> None:
    def change(folder: Path) -> None:
        file = folder / "evidence.jsonl"
        if damage in FILES:
            FILES[damage](file)
        else:
            text = with_value(file.read_text(), '"seed":', VALUES[damage], chained=True)
            file.write_text(text)

    assert "evidence.jsonl" in refused(run("--gate=phase2", change=change), status=2)


def test_damaged_certificates_end_the_run(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    (pytester.path / "reports/out/certificates.jsonl").write_text("[1]\n")
    assert "certificates.jsonl, line 1" in refused(run("--gate=phase2"), status=2)


def test_run_is_signed_at_its_end(
    run: Callable[..., pytest.RunResult],
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key_files(pytester.path, password=PASSWORD)
    monkeypatch.setenv("GA_SIGN_PASSWORD", PASSWORD)
    seen = []

    def change(folder: Path) -> None:
        seen.append("GA_SIGN_PASSWORD" in os.environ)
        assert folder.is_dir()

    result = run("--sign=key.pem", change=change)
    result.stdout.fnmatch_lines(["signature: signed by *, verified"])
    assert seen == [False]
    assert PASSWORD not in result.stdout.str() + result.stderr.str()
    (folder,) = (pytester.path / "reports/out").glob("*-1")
    for name in ("report.html", "summary.md"):
        assert "Signature: signed by" in (folder / name).read_text(encoding="utf-8")
    assert json.loads((folder / "result.json").read_text())["signature"]["state"] == State.SIGNED
    arguments = ["gate", str(folder), "--max-age", "100000", "--verify", "key.pub"]
    assert command.main(arguments) == 2
    summary = folder / "summary.md"
    summary.write_text(summary.read_text(encoding="utf-8").replace("PASS", "FAIL", 1))
    assert command.main(arguments) == 3


@pytest.mark.usefixtures("pytester")
def test_documented_commands_make_usable_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of docs/verdicts.md."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    page = Path(__file__).parents[3] / "docs/verdicts.md"
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()]
    making = [line for line in lines if line.startswith("openssl ")]
    assert len(making) == 3
    secret, public, locked = making
    for line in (secret, public):
        subprocess.run(shlex.split(line), check=True, capture_output=True)
    key = PrivateKey(Path("gate.pem"))
    assert PublicKey.read(Path("gate.pub")).id == key.public.id
    envelope = key.sign(b"text")
    assert key.public.payload_of(envelope) == b"text"
    # It asks on the terminal; here it must not.
    argv = [*shlex.split(locked), "-pass", "env:GA_SIGN_PASSWORD"]
    monkeypatch.setenv("GA_SIGN_PASSWORD", PASSWORD)
    subprocess.run(argv, check=True, capture_output=True)
    assert "ENCRYPTED" in Path("gate.pem").read_text()
    PrivateKey(Path("gate.pem"))


def test_unusable_key_ends_the_run_first(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    key, _ = key_files(pytester.path)
    key.chmod(0o644)
    assert "chmod 600" in refused(run("--sign=key.pem"), status=pytest.ExitCode.USAGE_ERROR)
    assert not (pytester.path / "reports/out" / LOG).exists()


def test_run_without_a_key_is_unsigned(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    run().stdout.fnmatch_lines(["signature: unsigned"])
    (folder,) = (pytester.path / "reports/out").glob("*-1")
    assert "Signature: unsigned" in (folder / "summary.md").read_text(encoding="utf-8")

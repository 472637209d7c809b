"""A signed decision is checked over the very bytes that it rests on; anything else is no GO."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.evidence_builders import passing
from tests.support.signing import OPTIONS, PASSWORD, certify_all, key_files, run_folder
from validation.cli import main as command
from validation.evidence.chained_lines import canonical
from validation.signing.keys import PrivateKey

SIGNED = "--sign", "key.pem"
CHECKED = "--verify", "key.pub"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that gives GO, signed."""
    folder = tmp_path_factory.mktemp("signed")
    run_folder(folder)
    certify_all(folder)
    key_files(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert command.main(["gate", "run", *OPTIONS, *SIGNED]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def gate(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run ``gate``; returns its status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = command.main(["gate", *arguments, *OPTIONS])
        return (status, *capsys.readouterr())

    return run


def envelope(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run/attestation.json").read_text())
    return found


def store(folder: Path, fields: dict[str, Any]) -> None:
    (folder / "run/attestation.json").write_text(json.dumps(fields))


def statement(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(envelope(folder)["payload"]))
    return found


@pytest.mark.usefixtures("here")
def test_verified_signature_is_named(gate: Callable[..., tuple[int, str, str]]) -> None:
    key_id = PrivateKey(Path("key.pem")).public.id
    status, said, _ = gate("run", *CHECKED)
    assert status == 0
    assert f"signature: signed by {key_id[:16]}, verified\n" in said
    status, said, _ = gate("run", *CHECKED, "--json")
    assert json.loads(said)["signature"] == {"state": "verified", "key_id": key_id}
    _, said, _ = gate("run")
    assert f"signature: signed by {key_id[:16]}, signature not checked\n" in said
    Path("run/attestation.json").unlink()
    _, said, _ = gate("run")
    assert "signature: unsigned\n" in said


def test_report_says_who_signed(here: Path) -> None:
    key_id = PrivateKey(here / "key.pem").public.id[:16]
    words = {
        ("--verify", "key.pub"): f"signed by {key_id}, verified",
        (): f"signed by {key_id}, signature not checked",
        ("--attestation", "none"): "unsigned",
    }
    for arguments, text in words.items():
        assert command.main(["report", "run", "--out", "page", *OPTIONS, *arguments]) == 0
        for name in ("report.html", "summary.md"):
            assert f"Signature: {text}" in (here / "page" / name).read_text(encoding="utf-8")
        assert f'"signature" value="{text}"' in (here / "page/junit.xml").read_text()


def test_statement_covers_every_file(here: Path) -> None:
    found = statement(here)
    named = {one["name"]: one["annotations"]["role"] for one in found["subject"]}
    assert named == {
        "evidence.jsonl": "evidence",
        "verdict.json": "page",
        "../certificates.jsonl": "certificates",
        "../campaigns.jsonl": "campaign log",
    }
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    predicate = found["predicate"]
    assert predicate["decision"] == "GO"
    assert predicate["runs"][0]["seed"] == 7
    assert predicate["gate"].keys() == {"version", "commit", "code"}
    assert len(predicate["verdicts"]) == 24
    assert predicate["system_id"] == predicate["verdicts"][0]["system"]


def other_key(folder: Path) -> None:
    key_files(folder)


def other_evidence(folder: Path) -> None:
    """Whole, with a right chain, and listed."""
    shutil.rmtree(folder / "run")
    (folder / "campaigns.jsonl").unlink()
    run_folder(folder, events=passing()[1:])
    shutil.copy(folder.parent / "attestation.json", folder / "run")


def other_line(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        # Of certificates the order means nothing, and a log with a changed line is damaged.
        (folder / name).write_text("".join([*lines[1:], lines[0]]))

    return change


def other_verdict(folder: Path) -> None:
    page = folder / "run/verdict.json"
    page.write_text(page.read_text().replace("PASS", "FAIL", 1))


def other_statement(folder: Path) -> None:
    fields = envelope(folder)
    text = canonical({**statement(folder), "subject": []}).encode()
    store(folder, {**fields, "payload": base64.b64encode(text).decode()})


def other_signature(folder: Path) -> None:
    fields = envelope(folder)
    (one,) = fields["signatures"]
    store(folder, {**fields, "signatures": [{**one, "sig": base64.b64encode(bytes(64)).decode()}]})


def other_purpose(folder: Path) -> None:
    """By the right key, but about something else."""
    text = canonical({**statement(folder), "predicateType": "https://slsa.dev/provenance/v1"})
    store(folder, PrivateKey(folder / "key.pem").sign(text.encode()))


def other_type(folder: Path) -> None:
    store(folder, {**envelope(folder), "payloadType": "text/plain"})


def no_subjects(folder: Path) -> None:
    text = canonical({**statement(folder), "subject": []})
    store(folder, PrivateKey(folder / "key.pem").sign(text.encode()))


def text_instead(text: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "run/attestation.json").write_bytes(text)

    return change


LIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no signature": (lambda f: (f / "run/attestation.json").unlink(), "no signature"),
    "another key": (other_key, "not by the given key"),
    "other evidence": (other_evidence, "is not what was signed"),
    "other certificates": (other_line("certificates.jsonl"), "the certificates is missing"),
    "no certificates": (lambda f: (f / "certificates.jsonl").unlink(), "the certificates"),
    "other log": (other_line("campaigns.jsonl"), "the campaign log is missing"),
    "no log": (lambda f: (f / "campaigns.jsonl").unlink(), "the campaign log is missing"),
    "other verdict": (other_verdict, "verdict.json is not what was signed"),
    "other statement": (other_statement, "does not fit"),
    "other signature": (other_signature, "does not fit"),
    "other purpose": (other_purpose, "not a decision of this gate"),
    "other payload type": (other_type, "no in-toto statement"),
    "no subjects": (no_subjects, "is not what was signed"),
    "empty": (text_instead(b""), "the file is empty"),
    "text": (text_instead(b"GO"), "not JSON"),
    "no envelope": (text_instead(b"{}"), "not a DSSE envelope"),
    "signatures of another type": (
        text_instead(b'{"payload": "", "payloadType": 1, "signatures": {"keyid": []}}'),
        "not a DSSE envelope",
    ),
    "deep": (text_instead(b'{"signatures":' + b"[" * 90_000 + b"]" * 90_000 + b"}"), "damaged"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lie_is_refused_in_one_line(
    lie: str, here: Path, gate: Callable[..., tuple[int, str, str]]
) -> None:
    shutil.copy(here / "run/attestation.json", here.parent)
    change, reason = LIES[lie]
    change(here)
    status, said, why = gate("run", *CHECKED)
    assert (status, said) == (3, "")
    assert why.count("\n") == 1
    assert why.startswith("error: run/attestation.json: ")
    assert reason in why


def test_lines_added_later_are_no_lie(
    here: Path, gate: Callable[..., tuple[int, str, str]]
) -> None:
    """Each later run and trial adds one."""
    run_folder(here, "another", passing()[:40])
    more = (here / "certificates.jsonl").read_text().splitlines()[0]
    with (here / "certificates.jsonl").open("a") as file:
        file.write(f"{more}\n")
    status, said, _ = gate("run", *CHECKED)
    assert "verified" in said
    assert status == 0


def test_decision_is_never_better_than_signed(
    here: Path, gate: Callable[..., tuple[int, str, str]]
) -> None:
    certificates = (here / "certificates.jsonl").read_text()
    (here / "certificates.jsonl").unlink()
    assert gate("run", *SIGNED)[0] == 2
    (here / "certificates.jsonl").write_text(certificates)
    assert gate("run")[0] == 0
    status, said, _ = gate("run", *CHECKED)
    assert status == 2
    assert "the signed decision is INCONCLUSIVE" in said


def test_pool_is_signed_as_a_whole(here: Path, gate: Callable[..., tuple[int, str, str]]) -> None:
    run_folder(here, "second", passing()[:1])
    pool, named = ("run", "second"), ("--attestation", "pool.json")
    status, _, why = gate(*pool, *SIGNED)
    assert (status, why.count("\n")) == (2, 1)
    assert "--attestation FILE" in why
    gate(*pool, *SIGNED, *named)
    status, _, why = gate("run", *CHECKED, *named)
    assert status == 3
    assert "signed together with 'second/evidence.jsonl'" in why
    status, said, _ = gate(*pool, *CHECKED, *named)
    assert "verified" in said


def rsa(folder: Path) -> None:
    key = generate_private_key(65537, 2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(text)


def folder_instead(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir(mode=0o700)


KEYS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "readable by others": (lambda f: (f / "key.pem").chmod(0o640), "", "chmod 600"),
    "missing": (lambda f: (f / "key.pem").unlink(), "", "No such file"),
    "folder": (folder_instead, "", "Is a directory"),
    "text": (lambda f: (f / "key.pem").write_text("key"), "", "openssl genpkey"),
    "public": (lambda f: (f / "key.pem").write_text((f / "key.pub").read_text()), "", "genpkey"),
    "RSA": (rsa, "", "no private Ed25519 key"),
    "locked": (lambda f: key_files(f, password=PASSWORD), "", "put it into the variable"),
    "wrong password": (lambda f: key_files(f, password=PASSWORD), "nonsense", "is wrong"),
    "password without need": (lambda _: None, "nonsense", "has no password"),
}


@pytest.mark.parametrize("case", KEYS)
def test_unusable_key_is_refused_in_one_line(
    case: str,
    here: Path,
    gate: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change, password, reason = KEYS[case]
    change(here)
    monkeypatch.setenv("GA_SIGN_PASSWORD", password)
    status, said, why = gate("run", *SIGNED)
    assert (status, said, why.count("\n")) == (2, "", 1)
    assert reason in why
    assert "nonsense" not in why


def test_password_opens_a_locked_key(
    here: Path, gate: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    key_files(here, password=PASSWORD)
    monkeypatch.setenv("GA_SIGN_PASSWORD", PASSWORD)
    assert gate("run", *SIGNED)[0] == 0
    assert "GA_SIGN_PASSWORD" not in os.environ
    assert gate("run", *CHECKED)[0] == 0
    written = [path.read_bytes() for path in here.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content for content in written)


@pytest.mark.parametrize("wrong", ["key.pem", "certificates.jsonl", "none", "run"])
@pytest.mark.usefixtures("here")
def test_unusable_public_key_is_refused(
    wrong: str, gate: Callable[..., tuple[int, str, str]]
) -> None:
    status, said, why = gate("run", "--verify", wrong)
    assert (status, said, why.count("\n")) == (2, "", 1)
    assert f"--verify {wrong}" in why


@pytest.mark.parametrize("arguments", [SIGNED, CHECKED])
@pytest.mark.usefixtures("here")
def test_missing_extra_is_named(
    arguments: tuple[str, str],
    gate: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "securesystemslib.dsse", None)
    status, _, why = gate("run", *arguments)
    assert status == 2
    assert why == "error: signatures need: pip install evolution-gate[signing]\n"


def test_unchecked_envelope_prints_nothing_hostile(
    here: Path, gate: Callable[..., tuple[int, str, str]]
) -> None:
    store(here, {"signatures": [{"keyid": "\x1b[2JGO"}]})
    _, said, _ = gate("run")
    assert "signature: signed by an unknown key, signature not checked\n" in said
    assert "\x1b" not in said

"""Every way in which a file reaches the gate, and a folder with one file of every kind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.damage import public_folder
from tests.support.evidence_builders import certificates, passing
from tests.support.signing import key_files, run_folder
from validation.cli import main as command

NONE = "--certificates", "certificates.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One way in which a file reaches the gate."""

    argv: tuple[str, ...]
    file: str
    """The file that is damaged."""
    values: tuple[str, ...]
    """Patterns of what stands before a value in it; none: it holds no JSON."""
    chained: bool = False
    status: int = 2
    """Of a refusal."""
    shown: str = ""
    """The refusal stands in an output that is shown nevertheless: this text is in it."""


GATE = ("gate", "run", *NONE)
SOAK = ("soak", "--hours", "0.02", "--simulate", "--seed", "3")
EVIDENCE = ('"seed":', '"at":', '"run":', '"started_at":', '"nodes":', '"schema":')
LOG = ('"seq":', '"at":', '"run":', '"evidence":', '"system":')
PLAN = ('"schema": ', '"hours": ', '"nodes": ', '"faults": ', '"file": ', '"name": ')
ENTRIES = {
    "gate": Entry(argv=GATE, file="run/evidence.jsonl", values=EVIDENCE, chained=True),
    "gate, in JSON": Entry(
        argv=(*GATE, "--json"), file="run/evidence.jsonl", values=('"at":',), chained=True
    ),
    "gate, certificates": Entry(
        argv=GATE,
        file="certificates.jsonl",
        values=('"at": ', '"code": ', '"verdict": ', '"criterion": ', '"dependencies": '),
    ),
    "gate, campaign log": Entry(
        argv=GATE, file="campaigns.jsonl", values=LOG, chained=True, shown="campaign log is damaged"
    ),
    "gate, named log": Entry(
        argv=(*GATE, "--campaigns", "other.jsonl"),
        file="other.jsonl",
        values=LOG,
        chained=True,
        shown="campaign log is damaged",
    ),
    "gate, soak": Entry(argv=("gate", "soak", *NONE), file="soak/soak.json", values=PLAN),
    "gate, segment": Entry(
        argv=("gate", "soak", *NONE), file="soak/segment-0001.jsonl", values=EVIDENCE, chained=True
    ),
    "gate, signature": Entry(
        argv=(*GATE, "--verify", "key.pub"),
        file="run/attestation.json",
        values=('"payload": ', '"payloadType": ', '"keyid": ', '"sig": '),
        status=3,
    ),
    "gate, unchecked signature": Entry(
        argv=GATE,
        file="run/attestation.json",
        values=('"payload": ', '"keyid": '),
        shown="signature not checked",
    ),
    "gate, public key": Entry(argv=(*GATE, "--verify", "key.pub"), file="key.pub", values=()),
    "gate, private key": Entry(argv=(*GATE, "--sign", "key.pem"), file="key.pem", values=()),
    "gate, plug-in": Entry(argv=(*GATE, "--with", "mine.py"), file="mine.py", values=()),
    "report": Entry(
        argv=("report", "run", *NONE, "--out", "page"),
        file="run/evidence.jsonl",
        values=EVIDENCE,
        chained=True,
    ),
    "report, other runs": Entry(
        argv=("report", "run", *NONE, "--out", "page", "--runs", "."),
        file="old/result.json",
        values=('"decision": ', '"started_at": ', '"nodes": '),
        shown="not readable: old/result.json",
    ),
    "index": Entry(
        argv=("index", "."),
        file="old/result.json",
        values=('"decision": ', '"started_at": ', '"nodes": ', '"verdicts": ', '"interval": '),
        status=0,
        shown="not readable: old/result.json",
    ),
    "diff": Entry(
        argv=("diff", "run", "run/evidence.jsonl"),
        file="run/evidence.jsonl",
        values=EVIDENCE,
        chained=True,
    ),
    "certify": Entry(
        argv=("certify", "speedup", *NONE),
        file="certificates.jsonl",
        values=('"at": ', '"code": ', '"verdict": ', '"defect": '),
    ),
    "soak, to resume": Entry(
        argv=(*SOAK, "--resume", "--out", "soak"), file="soak/soak.json", values=PLAN
    ),
    "soak, segment": Entry(
        argv=(*SOAK, "--resume", "--out", "soak"),
        file="soak/segment-0001.jsonl",
        values=EVIDENCE,
        chained=True,
    ),
    "soak, campaign log": Entry(
        argv=(*SOAK, "--out", "another"), file="campaigns.jsonl", values=LOG, chained=True
    ),
    "schedule, campaign log": Entry(
        argv=("schedule", "--out", "schedule/1"),
        file="schedule/campaigns.jsonl",
        values=LOG,
        chained=True,
    ),
    "criteria, plug-in": Entry(argv=("criteria", "--with", "mine.py"), file="mine.py", values=()),
}


@contextmanager
def files_of_every_kind() -> Iterator[Path]:
    """A folder with one file of every kind."""
    before = Path.cwd()
    with public_folder() as folder:
        os.chdir(folder)
        try:
            _make(folder)
            yield folder
        finally:
            os.chdir(before)


def _make(folder: Path) -> None:
    events = passing()[:3]
    run_folder(folder, events=events)
    shutil.copy("campaigns.jsonl", "other.jsonl")
    Path("schedule").mkdir()
    shutil.copy("campaigns.jsonl", "schedule/campaigns.jsonl")
    lines = [json.dumps(asdict(one)) + "\n" for one in certificates(["speedup", "dashboard"])]
    Path("certificates.jsonl").write_text("".join(lines))
    key_files(folder)
    Path("mine.py").write_text("PLUGIN = 1\n")
    assert command.main([*GATE, "--sign", "key.pem"]) == 2
    assert command.main([*SOAK, "--out", "soak"]) == 2
    assert command.main(["report", "run", *NONE, "--out", "old"]) == 2
    # As another user, too.
    for path in folder.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    Path("key.pem").chmod(0o600)


def fresh(made: Path, place: Path) -> None:
    """Make a folder a copy of another one."""
    for one in place.iterdir():
        shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
    shutil.copytree(made, place, dirs_exist_ok=True)
    place.chmod(0o777)

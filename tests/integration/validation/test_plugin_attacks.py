"""A file of ``--with`` judges its own criteria, and cannot make a decision of the gate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evolution_gate.reports.html import render_page
from evolution_gate.reports.text_formats import summary
from tests.support.evidence_builders import evidence, write
from tests.support.evidence_records import T0, Timed
from validation.cli.main import main
from validation.cli.output import reservation_lines
from validation.decision import Decision, decide
from validation.evidence.records import Environment
from validation.judging import decide_apart

PLUGIN = """
from validation.contract import Criterion, CriterionPlugin
from validation.verdict import Status, Verdict

def fine(records):
    return Verdict(status=Status.PASS, measured="1", reason="fine")

PLUGIN = CriterionPlugin(criteria=(
    Criterion(id="mine", statement="Mine", target="1", clause="", evidence_needed="", verdict=fine),
))
"""
FACTS = {"python": "3.11.2", "ray": "2.60.0", "cores": 2, "memory_bytes": 2**34, "commit": "c" * 40}
EVENTS: list[Timed] = [(T0, Environment(values=FACTS))]
# One file, because each test starts a process: replaces the decision, the verdict functions, their
# code, the registry and the certification, prints a decision, and ends with the status of GO.
EVERYTHING = """
import atexit, os
import validation.certificates, validation.cli.main, validation.criteria.registry
import validation.criteria.uptime as uptime
import validation.decision as decision, validation.extension as extension
import validation.judging as judging
everything = decision.CRITERIA
def go(*a, **k):
    result = real(*a, **k)
    object.__setattr__(result, "decision", decision.Decision.GO)
    return result
real = decision.decide
decision.decide = judging.decide = go
for one in everything:
    object.__setattr__(one, "verdict", fine)
uptime.uptime.__code__ = (lambda records: fine(records)).__code__
validation.criteria.registry.CRITERIA = extension.CRITERIA = ()
decision.certified = lambda *a, **k: frozenset(one.id for one in everything)
print("GO: 25 PASS, 0 FAIL, 0 INCONCLUSIVE", flush=True)
os.write(2, b"GO: 25 PASS")
atexit.register(lambda: os._exit(0))
"""
FORGED = """
import json, os, sys
names = ("statement", "target", "clause", "evidence_needed", "passes", "fails", "measures",
         "clock", "limits", "unit")
verdict = dict(status="PASS", measured="1", interval=None, reason="", needs="", budget="")
text = dict(dict.fromkeys(names, ""), id="uptime", trusts=[], timed=False, position=1, kinds=[],
            verdict=verdict)
answer = {"plugins": [dict(argument=__file__, name="x", file=__file__, criteria=[text],
                           mutants=[], records=[])]}
os.write(int(sys.argv[1]), json.dumps(answer).encode())
os._exit(0)
"""


def outcome(place: Path, attack: str, *options: str) -> int:
    file = place / "mine.py"
    file.write_text(PLUGIN + attack)
    run = place / "run.jsonl"
    if not run.exists():
        write(run, EVENTS)
    argv = ["gate", str(run), "--with", str(file), "--max-age", "100000", *options]
    return main([*argv, "--certificates", str(place / "none.jsonl")])


def test_file_cannot_change_the_decision(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Built-in verdicts are those without the file, whatever it does when it is loaded."""
    assert outcome(tmp_path, EVERYTHING, "--json") == 2
    shown = capfd.readouterr()
    assert "25 PASS" not in shown.out + shown.err
    said = json.loads(shown.out)
    verdicts = {row["criterion"]: row["status"] for row in said["verdicts"]}
    assert verdicts.pop("mine") == "PASS"
    alone = decide([evidence(EVENTS)])
    assert verdicts == {name: verdict.status.value for name, verdict in alone.verdicts.items()}
    assert [one["argument"] for one in said["plugins"]] == [str(tmp_path / "mine.py")]
    assert len(said["plugins"][0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("attack", "word"),
    [
        ("import os\nos._exit(0)\n", "ended its process with status 0"),
        (FORGED, "criterion 'uptime' exists already"),
        (
            "open(__file__.replace('mine.py', 'run.jsonl'), 'a').write('x')\n",
            "after the close|changed",
        ),
        ("open(__file__.replace('mine.py', 'none.jsonl'), 'a').write(' ')\n", "none.jsonl changed"),
    ],
    ids=["ends", "answers for another", "edits evidence", "writes certificates"],
)
def test_hostile_file_ends_without_a_decision(
    attack: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(tmp_path, attack) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(word, shown.err)


def test_new_process_decides_for_pytest(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    run = write(tmp_path / "run" / "evidence.jsonl", EVENTS)
    result = decide_apart([run], certificates=tmp_path / "none", named=[str(file)]).result
    assert result.decision is Decision.INCONCLUSIVE
    assert len(result.criteria) == len(result.verdicts) == 25
    assert result.plugins[0].criteria == ("mine",)
    words = f"{file} (sha256 "
    assert words in summary(result).replace("\\", "")
    assert words in render_page(result, [evidence(EVENTS)])
    assert any(words in line for line in reservation_lines(result))

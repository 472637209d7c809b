"""What users and their programs rely on: verdicts, options, kinds of evidence, tables, API.

A difference is either a defect or a change on purpose. One on purpose goes into the changelog, and
``python -m pytest tests/goldens --update-goldens`` writes the files of this folder again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import evolution_gate.fixtures.cli
import evolution_gate.fixtures.engine.__main__
import evolution_gate.fixtures.images.__main__
import ga.cli.main
import validation.cli.main
from ga.ledger import open_ledger
from ga.metrics import Telemetry
from tests.support.evidence_builders import NEEDED, evidence, healthy, passing, write
from tests.support.evidence_records import T0
from tests.support.service_app import Service
from validation import pytest_plugin
from validation.criteria.registry import CRITERIA
from validation.decision import decide
from validation.evidence.log import Evidence
from validation.evidence.records import RECORDS

HERE = Path(__file__).parent


@pytest.fixture
def equals(request: pytest.FixtureRequest) -> Any:
    """Compare with the file of that name, or write it with ``--update-goldens``."""

    def check(name: str, found: object) -> None:
        file = HERE / f"{name}.json"
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        if request.config.getoption("--update-goldens"):
            file.write_text(text, encoding="utf-8")
        assert json.loads(text) == json.loads(file.read_text(encoding="utf-8"))

    return check


def test_judged_evidence(equals, tmp_path, monkeypatch):
    """``validation gate --json`` of a file, byte for byte."""
    monkeypatch.chdir(tmp_path)
    file = write(Path("evidence.jsonl"), passing())
    out = io.StringIO()
    with redirect_stdout(out):
        none = ["--certificates", "none.jsonl", "--max-age", "100000"]
        validation.cli.main.main(["gate", "--json", *none, str(file)])
    equals("gate", json.loads(out.getvalue()))
    again = json.dumps(json.loads(out.getvalue()), indent=2, ensure_ascii=False)
    assert out.getvalue() == f"{again}\n"


def test_verdicts_without_parts_of_the_evidence(equals):
    """Every verdict when one kind of record is not there, or not closed, or not all of it."""
    kinds = sorted({cls.KIND for needed in NEEDED.values() for cls in needed})
    # Without the two days of watching, which only uptime needs.
    events = [event for event in passing() if event[0] < T0 + 3600]
    damaged = {"not closed": evidence(events, closed=False)}
    for kind in kinds:
        having = [i for i, (_, record) in enumerate(events) if kind == record.KIND]
        every, some = set(having), set(having[1::2])
        damaged[f"no {kind}"] = evidence([e for i, e in enumerate(events) if i not in every])
        damaged[f"half of {kind}"] = evidence([e for i, e in enumerate(events) if i not in some])
    hour = _verdicts(evidence(events))
    changed = {
        name: {what: said for what, said in _verdicts(one).items() if said != hour[what]}
        for name, one in damaged.items()
    }
    equals("verdicts", {"healthy": _verdicts(healthy()), "an hour": hour, **changed})


def _verdicts(judged: Evidence) -> dict[str, object]:
    result = decide([judged])
    found: dict[str, object] = {"decision": result.decision.value}
    for criterion in CRITERIA:
        verdict = result.verdict(criterion.id)
        said = f"{verdict.measured}|{verdict.reason}|{verdict.interval}"
        found[criterion.id] = (
            f"{verdict.status.value} {hashlib.sha256(said.encode()).hexdigest()[:12]}"
        )
    return found


def test_options_of_every_command(equals):
    """Structure, texts and defaults; how argparse lays them out differs between Pythons."""
    parsers = {
        "ga": ga.cli.parser.make_parser(),
        "validation": validation.cli.parser.make_parser(),
        "fixtures": evolution_gate.fixtures.cli.make_parser(),
    }
    equals("commands", {name: dict(_options(parser)) for name, parser in parsers.items()})


def _options(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, object]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield f"{path}{name}", helps.get(name)
                yield from _options(command, f"{path}{name} ")
        elif not isinstance(action, argparse._HelpAction):
            name = " ".join(action.option_strings) or action.dest
            default = None if action.default == argparse.SUPPRESS else action.default
            yield (
                f"{path}{name}",
                {
                    "help": action.help and re.sub(r"\s+", " ", action.help),
                    "metavar": action.metavar,
                    "nargs": action.nargs,
                    "choices": action.choices and sorted(map(str, action.choices)),
                    "default": default if default is None else str(default),
                    "required": action.required,
                },
            )


class Options:
    """In the place of ``pytest.Parser``: keeps the options that a plug-in adds."""

    def __init__(self):
        self.parser = argparse.ArgumentParser()
        self.shown = {}

    def getgroup(self, name, _description):
        assert name == "gate"
        return self

    def addoption(self, *names, **attributes):
        one = self.parser.add_argument(*names, **attributes)
        texts = {name: str(getattr(one, name)) for name in ("help", "default", "choices")}
        self.shown[one.dest] = [one.option_strings, texts]


def test_options_of_the_pytest_plugin(equals):
    options = Options()
    pytest_plugin.pytest_addoption(options)
    equals("pytest_options", options.shown)


def test_kinds_of_evidence(equals):
    """KIND -> field -> type, of every record. Bounds of numbers are left out."""
    bounds = re.compile("NonNegative(Int|Float)")
    equals(
        "records",
        {
            kind: {
                field.name: bounds.sub(lambda found: found[1].lower(), str(field.type))
                for field in dataclasses.fields(cls)
            }
            for kind, cls in RECORDS.items()
            # Other tests register kinds of their own.
            if cls.__module__.startswith("validation.")
        },
    )


def test_criteria(equals):
    equals(
        "criteria",
        {c.id: [c.statement, c.target, c.unit, c.clause, c.evidence_needed] for c in CRITERIA},
    )


def test_tables_of_the_ledger(equals, tmp_path):
    with closing(open_ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)):
        pass
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        tables = {
            name: [row[1:] for row in db.execute(f"PRAGMA table_info({name})")] for name in names
        }
    equals("ledger", tables)


def test_series_of_the_engine(equals):
    registry = Telemetry("run").registry
    found = {m.name: [m.type, m.documentation] for m in registry.collect()}
    equals("metrics", found)


def test_description_of_the_service(equals, tmp_path):
    service = Service(tmp_path, queued=10)
    with closing(service.ledger), service.http:
        equals("openapi", service.http.get("/openapi.json").json())

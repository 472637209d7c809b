"""Changed copies of the alert rules, of which each must make a rule's unit test fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.promtools import RULES, promtool

Rule = Mapping[str, Any]
EVERYWHERE: Final = (RULES / "recording.yml", RULES / "alerts.yml")
"""Rules of production that the gate's own stack has too."""
FILES: Final = (*EVERYWHERE, RULES / "backup.yml")
TESTS: Final = sorted((RULES / "tests").glob("*.yml"))
_FACTOR: Final = 10
_WAIT_FACTOR: Final = 3
_OPERATOR: Final = re.compile(r" (==|!=|>=|<=|>|<) ")
_INVERTED: Final = {"==": "!=", "!=": "==", ">": "<=", "<=": ">", "<": ">=", ">=": "<"}
_NUMBER: Final = re.compile(r" (?:==|!=|>=|<=|>|<) (?:bool )?(\d[\d.]*)")
_WINDOW: Final = re.compile(r"(?:\[|offset )(\d+)[smh]")
_SET: Final = re.compile(r" (and|or|unless) ")
_OTHER_SET: Final = {"and": "or", "or": "and", "unless": "and"}
_MATCHER: Final = re.compile(r'(?<=[{,])(\w+)(=~|!~|!=|=)"')
_OTHER_MATCHER: Final = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}


@dataclass(frozen=True, kw_only=True)
class RuleMutant:
    """One change of one rule."""

    rule: str
    """The alert's name, or that of the recorded series."""
    what: str
    """The change in words."""
    changed: Rule


def rules(path: Path) -> list[dict[str, Any]]:
    """All rules of a file, in order."""
    found = yaml.safe_load(path.read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def name_of(rule: Rule) -> str:
    """The alert's name, or that of the recorded series."""
    return str(rule.get("alert") or rule["record"])


def mutants_of(rule: Rule) -> Iterator[RuleMutant]:
    """Thresholds and windows ten times as large, waits three times, and each part turned round."""

    def changed(what: str, **fields: object) -> RuleMutant:
        return RuleMutant(rule=name_of(rule), what=what, changed={**rule, **fields})

    for what, text in _expressions(rule["expr"]):
        yield changed(what, expr=text)
    if "record" in rule:
        yield changed("ten times the value", expr=f"({rule['expr']}) * {_FACTOR}")
        return
    severity = "critical" if rule["labels"]["severity"] != "critical" else "info"
    yield changed(f"severity {severity}", labels={"severity": severity})
    wait = rule.get("for")
    if wait is None:
        yield changed("for 2m, not at once", **{"for": "2m"})
    else:
        number, unit = int(wait[:-1]), wait[-1]
        yield changed(f"for {_WAIT_FACTOR} x {wait}", **{"for": f"{_WAIT_FACTOR * number}{unit}"})
        yield changed("no wait", **{"for": "0s"})


def _expressions(expr: str) -> Iterator[tuple[str, str]]:
    """What is changed, and the changed expression."""

    def at(match: re.Match[str], new: str, group: int = 1) -> str:
        return expr[: match.start(group)] + new + expr[match.end(group) :]

    for found in _OPERATOR.finditer(expr):
        new = _INVERTED[found[1]]
        yield f"{found[1]} at {found.start()} is {new}", at(found, new)
    for pattern, name in ((_NUMBER, "threshold"), (_WINDOW, "window")):
        for found in pattern.finditer(expr):
            new = f"{float(found[1]) * _FACTOR or _FACTOR:g}"
            yield f"{name} {found[1]} at {found.start()} is {new}", at(found, new)
    for found in _SET.finditer(expr):
        new = _OTHER_SET[found[1]]
        yield f"{found[1]} at {found.start()} is {new}", at(found, new)
    for found in _MATCHER.finditer(expr):
        new = _OTHER_MATCHER[found[2]]
        yield f"{found[1]}{found[2]} at {found.start()} is {new}", at(found, new, 2)


def unit_tests_of(name: str) -> list[dict[str, Any]]:
    """The unit tests in which a rule matters: each names it, or an alert that is made of it."""
    return [
        {"every": content["evaluation_interval"], "test": test}
        for content in (yaml.safe_load(path.read_text()) for path in TESTS)
        for test in content["tests"]
        if any(name_of(rule) == name for rule in _needed(test))
    ]


def _needed(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules that a unit test names, and those that these are made of, in order."""
    every = [rule for path in FILES for rule in rules(path)]
    named = _names(json.dumps(test["promql_expr_test"]))
    needed = {name_of(rule) for rule in every} & named
    while (
        more := {
            name
            for rule in every
            if name_of(rule) in needed
            for name in map(name_of, every)
            if name in _names(rule["expr"])
        }
        - needed
    ):
        needed |= more
    return [rule for rule in every if name_of(rule) in needed]


def _names(text: str) -> set[str]:
    return set(re.findall(r"[\w:]+", text))


def survivors(
    mutants: Sequence[RuleMutant], tests: Sequence[Mapping[str, Any]], folder: Path
) -> list[str]:
    """The mutants that no unit test notices, in words.

    Of the other rules only those are loaded that a test needs; all of them would take minutes.
    """
    left = list(mutants)
    for place, test in enumerate(tests):
        home = folder / str(place)
        home.mkdir()
        paths = {str(_written(home, number, one, test)): one for number, one in enumerate(left)}
        noticed = _noticed(paths)
        left = [mutant for mutant in left if mutant.what not in noticed]
    return [mutant.what for mutant in left]


def _written(home: Path, number: int, mutant: RuleMutant, test: Mapping[str, Any]) -> Path:
    """Write a unit test of a mutant and its rules; returns the test's path."""
    loaded = [
        mutant.changed if name_of(rule) == mutant.rule else rule for rule in _needed(test["test"])
    ]
    rule_file, path = home / f"rules-{number}.yml", home / f"test-{number}.yml"
    rule_file.write_text(json.dumps({"groups": [{"name": "all", "rules": loaded}]}))
    content = {
        "rule_files": [rule_file.name],
        "evaluation_interval": test["every"],
        "tests": [test["test"]],
    }
    path.write_text(json.dumps(content))
    return path


def _noticed(paths: Mapping[str, RuleMutant]) -> set[str]:
    """The mutants whose unit test failed, in words."""
    found: set[str] = set()
    current = ""
    for line in promtool("test", "rules", *paths).stdout.splitlines() if paths else ():
        if "parse error" in line:
            raise ValueError(f"{paths[current].what}: {line}")
        if line.startswith("Unit Testing:"):
            current = line.partition(":")[2].strip()
        elif "FAILED" in line:
            found.add(paths[current].what)
    return found

"""Judges custom criteria in a process of their own.

Code of ``--with FILE`` could change the gate that loads it: assign to a criterion, to the decision,
or end the process with the status of GO. So the process that judges the built-in criteria, prints
and exits never loads it. A second process does, judges only the criteria of the files, and sends
texts and verdicts, which are checked here as strictly as evidence.

The code still has the rights of the user. If one of the files that the decision rests on changes
meanwhile, nothing is decided.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from evolution_gate.fixtures.system.launch import spawn
from ga.errors import InputError
from validation.code_hashes import hash_of_installed
from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.criteria.registry import CRITERIA
from validation.evidence.base import Record
from validation.evidence.chained_lines import printable
from validation.evidence.errors import EvidenceError
from validation.evidence.records import RECORDS, register
from validation.verdict import Records, Status, Verdict

_MOST_BYTES: Final = 16 * 1024**2
"""Longer answers are refused."""
_TEXTS: Final = (
    *("id", "statement", "target", "clause", "evidence_needed", "passes", "fails"),
    *("measures", "clock", "limits", "unit"),
)


@dataclass(frozen=True, kw_only=True)
class StoredVerdict:
    """The verdict function of a custom criterion: it gives the verdict of the other process."""

    verdict: Verdict | None
    """None: no evidence was judged."""
    kinds: tuple[str, ...] = ()
    """Kinds of records that it read."""

    def __call__(self, records: Records) -> Verdict:
        """The verdict; it is noted which kinds of records it rests on."""
        if self.verdict is None:
            raise ValueError("the criterion was only described")
        for record in records:
            for kind in self.kinds:
                record.of(kind)
        return self.verdict


def describe(named: Sequence[str]) -> tuple[CriterionPlugin, ...]:
    """The criteria and mutants of files, without verdicts; their records can be read from now on.

    Raises:
        InputError: a file cannot be loaded, or its criteria and records are not its own.
    """
    return _asked(named, ())


def judge(named: Sequence[str], evidence: Sequence[Path]) -> tuple[CriterionPlugin, ...]:
    """As ``describe``, with the verdicts on some evidence.

    Raises:
        InputError: as for ``describe``; or the evidence cannot be read with these files.
    """
    return _asked(named, evidence)


class Unchanged:
    """Checks that files, and the code of the gate, stay as they are while foreign code runs."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files: Final = tuple(files)
        self._before: Final = self._digests()

    def check(self) -> None:
        """Compare.

        Raises:
            InputError: one has changed.
        """
        after = self._digests()
        changed = [name for name, digest in self._before.items() if after.get(name) != digest]
        if changed:
            raise InputError(
                f"--with: {changed[0]} changed while the file ran, so nothing is decided"
            )

    def _digests(self) -> dict[str, str]:
        found = {"the gate's code": hash_of_installed()}
        for file in self._files:
            inner = sorted(p for p in file.glob("*") if p.is_file()) if file.is_dir() else [file]
            for one in inner:
                content = one.read_bytes() if one.is_file() else b""
                found[str(one)] = hashlib.sha256(content).hexdigest() if content else ""
        return found


def _asked(named: Sequence[str], evidence: Sequence[Path]) -> tuple[CriterionPlugin, ...]:
    if not named:
        return ()
    request = {"files": [str(one) for one in named], "evidence": [str(one) for one in evidence]}
    answer = _answer(request)
    try:
        if "error" in answer:
            raise InputError(str(printable(answer["error"])))
        plugins = tuple(_plugin(printable(one)) for one in answer["plugins"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--with: no usable answer: {type(error).__name__}: {error}") from error
    if [plugin.argument for plugin in plugins] != request["files"]:
        raise InputError("--with: the answer is about other files")
    ids = [criterion.id for criterion in (*CRITERIA, *(c for p in plugins for c in p.criteria))]
    if twice := [one for one in ids if ids.count(one) > 1]:
        raise InputError(f"--with: criterion {twice[0]!r} exists already")
    return plugins


def _answer(request: Mapping[str, object]) -> dict[str, Any]:
    """What the other process says; its output is not shown, because it could look like ours."""
    reading, writing = os.pipe()
    try:
        with spawn(
            [sys.executable, "-m", "validation.plugin_program", str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writing,),
        ) as process:
            os.close(writing)
            writing = -1
            assert process.stdin is not None
            process.stdin.write(json.dumps(request))
            process.stdin.close()
            with os.fdopen(os.dup(reading), "rb") as pipe:
                text = pipe.read(_MOST_BYTES + 1)
            if len(text) > _MOST_BYTES:
                process.kill()
                raise InputError("--with: the answer of the file is too long")
            status = process.wait()
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise InputError(f"--with: the file ended its process with status {status}, unheard")
    return answer


def _plugin(said: Mapping[str, Any]) -> CriterionPlugin:
    for record in said["records"]:
        _register(str(record["kind"]), [str(name) for name in record["fields"]])
    criteria = tuple(map(_criterion, said["criteria"]))
    ids = {criterion.id for criterion in criteria}
    if not criteria:
        raise ValueError("no criterion")
    mutants = tuple(map(_mutant, said["mutants"]))
    if stray := [one.name for one in mutants if one.criterion not in ids]:
        raise ValueError(f"mutant {stray[0]!r} belongs to no criterion of this file")
    return CriterionPlugin(
        criteria=criteria,
        mutants=mutants,
        name=str(said["name"]),
        file=Path(str(said["file"])),
        argument=str(said["argument"]),
    )


def _criterion(said: Mapping[str, Any]) -> Criterion:
    texts: dict[str, Any] = {name: " ".join(str(said[name]).split()) for name in _TEXTS}
    verdict = None if said["verdict"] is None else _verdict(said["verdict"])
    return Criterion(
        **texts,
        verdict=StoredVerdict(verdict=verdict, kinds=tuple(map(str, said["kinds"]))),
        trusts=tuple(map(str, said["trusts"])),
        timed=said["timed"] is True,
        position=int(said["position"]),
    )


def _verdict(said: Mapping[str, Any]) -> Verdict:
    interval = said["interval"]
    if interval is not None:
        lower, upper = (float(bound) for bound in interval)
        if math.isnan(lower) or math.isnan(upper):
            raise ValueError("a bound is NaN")
        interval = lower, upper
    return Verdict(
        status=Status(said["status"]),
        measured=str(said["measured"]),
        interval=interval,
        reason=str(said["reason"]),
        needs=str(said["needs"]),
        budget=str(said["budget"]),
    )


def _mutant(said: Mapping[str, Any]) -> Mutant:
    expects = said["expects"]
    if expects not in ("FAIL", "INCONCLUSIVE"):
        raise ValueError(f"a mutant expects {expects!r}")
    return Mutant(
        name=str(said["name"]),
        criterion=str(said["criterion"]),
        expects=expects,
        on_containers=said["on_containers"] is True,
        injector=_elsewhere,
    )


def _elsewhere(_: object) -> NoReturn:
    raise InputError("a mutant of --with is planted only by `certify --with`")


def _register(kind: str, fields: Sequence[str]) -> None:
    """Make records of a kind readable: any JSON in its fields, which the other process checks."""
    there = RECORDS.get(kind)
    if there is not None:
        if there.__module__.startswith("validation."):
            raise EvidenceError(f"kind of event {kind!r} is registered already")
        return
    spec: list[tuple[str, type]] = [(name, object) for name in fields]
    cls: type[Record] = dataclasses.make_dataclass(
        "CustomRecord",
        spec,
        bases=(Record,),
        namespace={"KIND": kind, "__module__": "records_of_plugins"},
        frozen=True,
        kw_only=True,
    )
    register(cls)

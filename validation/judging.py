"""Reads evidence, certificates and campaign logs, and decides.

``python -m validation.judging FD`` does that in a process of its own: it reads its arguments as
JSON from stdin and writes the pickled result to the file descriptor FD. A process that has loaded
custom code, such as pytest with ``--with``, must not judge built-in criteria itself.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evolution_gate.fixtures.system.launch import spawn
from ga.errors import InputError
from validation.campaigns.log import FILE as LOG
from validation.campaigns.log import log_of, read_logs
from validation.certificates import refused, stored
from validation.decision import GateResult, decide
from validation.evidence.errors import EvidenceError, in_one_line
from validation.evidence.files import FileContent
from validation.evidence.identity import MAX_AGE_DAYS, difference
from validation.evidence.log import Evidence, pool
from validation.extension import all_criteria, all_mutants, codes_of, valid_certificates
from validation.left_out import read_any
from validation.plugin_process import Unchanged, judge
from validation.run_folder import OUT
from validation.thresholds import read_targets


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A decision, and the files that it rests on as they were read for it."""

    result: GateResult
    evidence: tuple[Evidence, ...]
    """Empty if another process judged."""
    certificates: FileContent
    """Empty when there is no such file."""
    logs: tuple[FileContent, ...]


def decide_files(
    files: Sequence[Path],
    *,
    certificates: Path,
    named: Sequence[str] = (),
    campaigns: Sequence[Path] = (),
    max_age_days: float = MAX_AGE_DAYS,
    thresholds: Path | None = None,
) -> Judged:
    """Judge evidence files, run folders and soaks together.

    Args:
        files: What to judge.
        certificates: What ``certify`` found.
        named: Files of custom criteria; they are judged in another process.
        campaigns: Logs of runs, besides those next to the evidence and the usual one.
        max_age_days: Older evidence allows no GO.
        thresholds: File of targets; None: the plan's.

    Raises:
        EvidenceError, InputError, OSError: something cannot be read.
    """
    if missing := [path for path in campaigns if not os.path.lexists(path)]:
        raise InputError(f"--campaigns {missing[0]}: no such file")
    if not (math.isfinite(max_age_days) and max_age_days > 0):
        raise InputError(f"--max-age must be a number of days above 0, not {max_age_days}")
    logs = [*map(log_of, files), OUT / LOG, *campaigns]
    unchanged = Unchanged([*files, certificates, *logs]) if named else None
    plugins = judge(named, files)
    criteria = all_criteria(plugins)
    targets = read_targets(thresholds, criteria)
    evidence = pool([read_any(path) for path in files])
    log = read_logs(logs)
    kept = FileContent(path=certificates, content=stored(certificates))
    found = valid_certificates(certificates, plugins, kept.content)
    if unchanged is not None:
        unchanged.check()
    result = decide(
        evidence,
        criteria=criteria,
        certificates=found,
        mutants=all_mutants(plugins),
        now=time.time(),
        max_age_days=max_age_days,
        campaigns=log,
        plugins=plugins,
        refused=refused(certificates, codes=codes_of(plugins), content=kept.content),
        targets=targets,
    )
    return Judged(result=result, evidence=evidence, certificates=kept, logs=log.files)


def latest_runs(folder: Path) -> list[Path]:
    """Evidence of the finished runs in a folder that are of the same system as the last one.

    Raises:
        InputError: there is none, or the campaign log is damaged.
    """
    log = read_logs([folder / LOG])
    if log.problems:
        raise InputError(f"{log.problems[0]}; name the runs: python -m validation status FILE")
    ended = [one for one in log.campaigns if one.ended and one.ended.status == "finished"]
    there = [one for one in ended if one.evidence.exists()]
    if not there:
        raise InputError(
            f"no finished run in {folder}; begin with: pytest -m validation validation, or name the"
            " evidence: python -m validation status FILE"
        )
    last = there[-1]
    return [one.evidence for one in there if difference(one.system, last.system) is None]


def decide_apart(
    files: Sequence[Path],
    *,
    certificates: Path,
    named: Sequence[str],
    thresholds: Path | None = None,
) -> Judged:
    """``decide_files`` in a new process, which loads no custom code.

    Raises:
        InputError: it did not come to a result.
    """
    request = {
        "files": [str(one) for one in files],
        "certificates": str(certificates),
        "named": list(named),
        "thresholds": None if thresholds is None else str(thresholds),
    }
    reading, writing = os.pipe()
    with (
        os.fdopen(reading, "rb") as pipe,
        spawn(
            [sys.executable, "-m", "validation.judging", str(writing)],
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
        ) as process,
    ):
        os.close(writing)
        assert process.stdin is not None
        process.stdin.write(json.dumps(request))
        process.stdin.close()
        content = pipe.read()
    if process.returncode != 0 or not content:
        raise InputError(f"no decision: its process ended with status {process.returncode}")
    found = pickle.loads(content)
    if isinstance(found, str):
        raise InputError(found)
    result, kept, logs = found
    assert isinstance(result, GateResult)
    return Judged(result=result, evidence=(), certificates=kept, logs=logs)


def _main(descriptor: int) -> None:
    request = json.loads(sys.stdin.read())
    stated = request["thresholds"]
    found: tuple[GateResult, FileContent, tuple[FileContent, ...]] | str
    try:
        judged = decide_files(
            [Path(one) for one in request["files"]],
            certificates=Path(request["certificates"]),
            named=request["named"],
            thresholds=None if stated is None else Path(stated),
        )
        # Views of mappings cannot be pickled, and no class of this module, which is __main__ here.
        result = replace(judged.result, verdicts=dict(judged.result.verdicts))
        found = result, judged.certificates, judged.logs
    except (EvidenceError, InputError, OSError) as error:
        found = in_one_line(error)
    with os.fdopen(descriptor, "wb") as pipe:
        pickle.dump(found, pipe)


if __name__ == "__main__":
    _main(int(sys.argv[1]))

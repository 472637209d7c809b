"""Plant every mutant, one after the other, and check whether the gate detects it."""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from evolution_gate.fixtures.system import termination
from evolution_gate.fixtures.system.environment import inherited
from evolution_gate.fixtures.system.launch import run, spawn
from ga.digits import whole
from ga.errors import InputError
from validation.certificates import (
    HEALTHY,
    Certificate,
    known_certificates,
)
from validation.code_hashes import code_hash
from validation.contract import Mutant
from validation.criteria.registry import MUTANTS

CERTIFICATES: Final = Path("reports/out/certificates.jsonl")
_ROOT: Final = Path(__file__).resolve().parents[2]
_END_SECONDS: Final = 60.0
_FOLDERS: Final = ("ga", "validation", "evolution_gate", "fixtures", "reports", "deploy")
_FILES: Final = ("pyproject.toml", "constraints.txt")
"""Files in addition to the packages that an image of the engine is built from."""
Trials: TypeAlias = Sequence[tuple[str, str]]
"""Criterion and defect of each."""
RunTrials: TypeAlias = Callable[[Path, Trials, float, str], None]
"""Makes trials: file of the certificates, trials, seconds after which none is begun, stack."""


def certify(
    path: Path,
    *,
    criteria: Sequence[str] = (),
    force: bool = False,
    shard: str | None = None,
    time_budget: float = math.inf,
    stack: str = "processes",
    say: Callable[[str], None],
    run_trials: RunTrials | None = None,
) -> tuple[Certificate, ...]:
    """Run the trials that have no certificate in ``path`` and in the release, and return all
    certificates.

    The code is copied to a separate folder and the mutants are planted there. A process that has
    only the copy runs each of them on a real stack. Each result is written at once, so an
    interrupted certification resumes where it stopped.

    Args:
        criteria: Only these; all if empty.
        shard: Run only this shard of the mutants, see ``part``.
        time_budget: Minutes after which no new trial is started; the next certification resumes
            there.
        stack: ``processes``, or ``containers`` for the mutants that can be planted there.
        force: Also run trials that have a certificate.
        say: Receives progress lines.
        run_trials: Makes the trials and appends their certificates; None: ``run_in_copy``.

    Raises:
        InputError: none of the selected mutants can be planted in containers.
        RuntimeError: a trial could not be run.
    """
    if missing := [name for name in (*_FOLDERS, *_FILES) if not (_ROOT / name).exists()]:
        raise InputError(
            "certify needs a checkout of the project, where mutants are planted;"
            f" {missing[0]} is not in {_ROOT}"
        )
    kept = [c for c in known_certificates(path) if c.stack == stack]
    done = set() if force else {(c.criterion, c.defect) for c in kept}
    chosen = [d for d in MUTANTS if not criteria or d.criterion in criteria]
    if stack == "containers":
        chosen = _on_containers(chosen, say)
    chosen = chosen if shard is None else part(chosen, shard)
    wanted = dict.fromkeys(d.criterion for d in chosen)
    pairs = [(name, HEALTHY) for name in wanted] + [(d.criterion, d.name) for d in chosen]
    left = [pair for pair in pairs if pair not in done]
    say(f"{len(left)} of {len(pairs)} trials to run; gate's code {code_hash()[:12]}")
    if left:
        (run_trials or run_in_copy)(path.resolve(), left, 60 * time_budget, stack)
    found = known_certificates(path)
    return tuple(c for c in found if c.criterion in wanted and c.stack == stack)


def _on_containers(defects: Sequence[Mutant], say: Callable[[str], None]) -> list[Mutant]:
    found = [d for d in defects if d.fits_containers]
    if not found:
        raise InputError(
            "--stack containers: none of these defects can be planted there, for an image has not "
            "the changed code; leave the option out"
        )
    if len(found) < len(defects):
        say(f"{len(defects) - len(found)} defects can be planted in a stack of processes only")
    return found


def part(defects: Sequence[Mutant], which: str) -> list[Mutant]:
    """The mutants of shard ``I/N``: every N-th, from the I-th on.

    Raises:
        InputError: no such shard.
    """
    first, _, last = which.partition("/")
    number, count = whole(first), whole(last)
    if number is None or count is None or not 1 <= number <= count:
        raise InputError(f"--shard must be I/N with I from 1 to N, not {which!r}; try 1/4")
    return list(defects[number - 1 :: count])


def run_in_copy(path: Path, trials: Trials, seconds: float, stack: str) -> None:
    """Make trials in a copy of the code, and append their certificates to ``path``.

    Raises:
        RuntimeError: a trial could not be run; what was found before is kept.
    """
    with copy_folder() as copy:
        for part in _FOLDERS:
            ignore = shutil.ignore_patterns("out", "__pycache__")
            shutil.copytree(_ROOT / part, copy / part, symlinks=True, ignore=ignore)
        for name in _FILES:
            shutil.copy2(_ROOT / name, copy / name)
        names = [f"{criterion}:{defect}" for criterion, defect in trials]
        env = inherited({"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"})
        # Compile now: under a node's quota it takes minutes, and the first run would be slow.
        compiling = [sys.executable, "-m", "ga", "compile"]
        status = run(
            compiling, cwd=copy, env=env, stdout=subprocess.DEVNULL, check=False
        ).returncode
        if status != 0:
            raise RuntimeError("the engine's kernels could not be compiled; see above")
        argv = [sys.executable, "-m", "validation.mutation.trial", str(path), str(seconds), stack]
        argv += names
        status = run_interruptible(argv, cwd=copy, env=env)
    if status != 0:
        raise RuntimeError(
            f"the trials ended with status {status}; results so far are kept, run the command "
            "again to continue"
        )


def run_interruptible(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a program to its end. When interrupted, let it remove its stack first."""
    # In a separate session: otherwise Ctrl-C at a terminal would reach it twice. So signals must be
    # forwarded. Its output does not go to our stdout, which may be JSON.
    with (
        termination.by_signal(),
        spawn(
            argv, cwd=cwd, env=env, start_new_session=True, stdout=sys.stderr.fileno()
        ) as process,
    ):
        try:
            return process.wait()
        except BaseException:
            # Not SIGINT, which processes of a background job ignore.
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


@contextmanager
def copy_folder() -> Iterator[Path]:
    """A folder for the copy, the same each time if it is free: compiled kernels are cached by the
    path and the times of their sources.
    """
    name = f"ga-sabotage-{hashlib.sha256(str(_ROOT).encode()).hexdigest()[:12]}"
    usual = Path(tempfile.gettempdir()) / name
    try:
        usual.mkdir(mode=0o700)
    except FileExistsError:
        # Another certification uses it, or was killed there.
        with tempfile.TemporaryDirectory(prefix="ga-sabotage-") as folder:
            yield Path(folder)
        return
    try:
        yield usual
    finally:
        shutil.rmtree(usual)

"""``compare``: is this tree slower than the tree of a baseline?

Both trees are run now, in turn, sample by sample, because the machine's state differs from that of
an earlier measurement. The baseline only gives the commit and the machine.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from evolution_gate.benchmarks.baselines import BaselineError, Stored, read_stored
from evolution_gate.benchmarks.decide import Answer, Difference, differences, overall
from ga.capacity.planner import families_of
from ga.errors import InputError
from ga.families import FAMILIES

LOOKS: Final = (8, 16, 32, 64)
"""Numbers of pairs after which the results are tested."""
ROUNDS: Final = 16
"""Rounds of each pair; families that are measured every fourth round need a multiple of eight."""
PLANTED: Final = ("ema_crossover", 0.1)
_ROOT: Final = Path(__file__).resolve().parents[1]
_ARM: Final = Path(__file__).with_name("arm.py")
_MOST_PADDING: Final = 1 << 17

Say = Callable[[str], None]
Rounds = list[tuple[float, float]]
"""(old, new) CPU seconds of each round of a pair."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Result of a comparison."""

    answer: Answer
    pairs: int
    each: dict[str, Difference]
    samples: dict[str, list[Rounds]]
    """Family -> the rounds of each pair."""


class Arm(Protocol):
    """A process that measures one tree."""

    def wait_ready(self) -> None:
        """Wait until its kernels are compiled and loaded."""

    def begin(self, padding: int, core: int) -> None:
        """Begin a sample on a core."""

    def round(self) -> dict[str, float]:
        """CPU seconds of one round, by family, of those that took part."""

    def end(self) -> None:
        """End the sample; only then may the next one begin."""


StartArm = Callable[[Path, Sequence[str]], AbstractContextManager[Arm]]
"""Starts the arm of a tree with arguments of ``arm.py``, and ends it on exit."""


class _ArmProcess:
    """A running ``arm.py`` on a tree (``Arm``)."""

    def __init__(self, tree: Path, more: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_ARM), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tree)},
        )

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def wait_ready(self) -> None:
        """Wait until its kernels are compiled and loaded."""
        self._answer()

    def begin(self, padding: int, core: int) -> None:
        """Begin a sample on a core."""
        self._ask(f"{padding} {core}")
        self._answer()

    def round(self) -> dict[str, float]:
        """CPU seconds by family, for the measured families."""
        self._ask("round")
        found: dict[str, float] = json.loads(self._answer())
        return found

    def end(self) -> None:
        """End the sample; the next line may be sent only after that, because the fork would read
        it.
        """
        self._ask("")
        self._answer()

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BaselineError(
                f"a tree cannot be measured: it ended with {self._process.wait()}; see above"
            )
        return line


def compare(
    old: Path,
    new: Path,
    *,
    seed: int,
    more: Sequence[str] = (),
    families: Sequence[str] = (),
    start_arm: StartArm | None = None,
) -> Compared:
    """Measure two trees in turn until the answer is certain, or all pairs are done.

    A pair is a new process of each tree. The addresses of code and data make a process faster or
    slower by percents for its whole life, so two pairs of the same processes would not be
    independent.

    Args:
        seed: of the padding.
        more: ``FAMILY=SHARE``: slowdown that is planted in the new tree.
        families: families to measure; all if empty.
        start_arm: starts the measuring process of a tree; None: ``arm.py``.

    Raises:
        BaselineError: a tree cannot be measured.
    """
    dice = np.random.Generator(np.random.Philox(key=[seed, 0xAB]))
    only = [f"--families={','.join(families)}"] if families else []
    start = _start_arm if start_arm is None else start_arm
    cores = sorted(os.sched_getaffinity(0))
    samples: dict[str, list[Rounds]] = {}
    taken = 0
    found: dict[str, Difference] = {}
    for look in LOOKS:
        while taken < look:
            paddings = dice.integers(1, _MOST_PADDING, 2).tolist()
            with start(old, only) as first, start(new, [*only, *more]) as second:
                # Cores differ by their other load: both arms use the same core, and pairs alternate
                # cores.
                rounds = _pair(first, second, paddings, cores[taken % len(cores)])
            for name, times in rounds.items():
                samples.setdefault(name, []).append(times)
            taken += 1
        ratios = {
            name: [ratio_of(rounds) for rounds in pairs] for name, pairs in sorted(samples.items())
        }
        found = differences(ratios, looks=len(LOOKS))
        if overall(found) is not Answer.UNKNOWN:
            break
    return Compared(answer=overall(found), pairs=taken, each=found, samples=samples)


def _pair(first: Arm, second: Arm, paddings: Sequence[int], core: int) -> dict[str, Rounds]:
    """Rounds of both by family, on one core and in turn, milliseconds apart, so that other load
    slows both.
    """
    found: dict[str, Rounds] = {}
    arms = (first, second)
    for arm in arms:
        arm.wait_ready()
    for arm, padding in zip(arms, paddings, strict=True):
        arm.begin(padding, core)
    for number in range(ROUNDS):
        # Swap the order once more after every fourth round. Otherwise families that are measured
        # only then would always have the same arm first, which biases the result by percents.
        if (number + number // 4) % 2:
            after, before = second.round(), first.round()
        else:
            before, after = first.round(), second.round()
        for name in before.keys() & after.keys():
            found.setdefault(name, []).append((before[name], after[name]))
    for arm in arms:
        arm.end()
    return found


def ratio_of(rounds: Rounds) -> float:
    """New over old of one pair: the median of its rounds' ratios, which is robust against disturbed
    rounds.
    """
    return median(new / old for old, new in rounds)


@contextmanager
def _start_arm(tree: Path, more: Sequence[str]) -> Iterator[Arm]:
    arm = _ArmProcess(tree, more)
    try:
        yield arm
    finally:
        arm.close()


@contextmanager
def tree_of(stored: Stored) -> Iterator[Path]:
    """The tree of a baseline's commit.

    Raises:
        BaselineError: it has no commit, or one that this checkout lacks.
    """
    if not stored.commit or " " in stored.commit:
        raise BaselineError(
            f"{stored.path}: was taken of changed or unknown code ({stored.commit or 'none'}),"
            " which cannot be run again; commit first, then make a baseline"
        )
    done = subprocess.run(
        ["git", "-C", str(_ROOT), "archive", "--format=tar", stored.commit], capture_output=True
    )
    if done.returncode != 0:
        raise BaselineError(
            f"{stored.path}: its commit {stored.commit[:12]} is not in this checkout; fetch it"
        )
    with tempfile.TemporaryDirectory(prefix="ga-compare-") as place:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(place, filter="data")
        yield Path(place)


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Options of the comparison."""
    parser.add_argument("baseline", type=Path, nargs="?", help="summary.json, or its folder")
    parser.add_argument(
        "--aa", type=int, metavar="N", help="compare this tree with itself N times instead"
    )
    parser.add_argument(
        "--planted",
        type=int,
        metavar="N",
        default=0,
        help=f"and N times with {PLANTED[0]} made {PLANTED[1]:.0%} slower",
    )
    parser.add_argument("--families", help="comma-separated: only these (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")


def command(options: argparse.Namespace, say: Say) -> int:
    """Exit status: 0 same or faster, 1 slower, 3 cannot tell.

    Raises:
        BaselineError: there is no usable baseline.
    """
    families = _families(options.families)
    if options.aa is not None:
        return _self_test(options, families, say)
    if options.baseline is None:
        raise BaselineError("compare needs a baseline: summary.json or its folder, or --aa N")
    stored = read_stored(options.baseline)
    with tree_of(stored) as old:
        say(f"comparing with {stored.commit[:12]}, in turn, up to {LOOKS[-1]} pairs")
        found = compare(old, _ROOT, seed=options.seed, families=families)
    if options.json:
        print(json.dumps(_as_json(found)))
    else:
        show(found)
    return {Answer.SLOWER: 1, Answer.UNKNOWN: 3}.get(found.answer, 0)


def show(found: Compared) -> None:
    """Print the table and the answer."""
    table = Table(title=f"new over old CPU time, {found.pairs} pairs", title_justify="left")
    for name in ("family", "ratio", "interval", "answer"):
        table.add_column(name)
    for name, one in found.each.items():
        if one.ratio is not None:
            between = f"{one.ratio.lower:.3f} to {one.ratio.upper:.3f}"
            table.add_row(name, f"{one.ratio.point:.3f}", between, one.answer.value)
    console = Console()
    (console if console.is_terminal else Console(width=100)).print(table)
    print(found.answer.value)


def _families(text: str | None) -> tuple[str, ...]:
    try:
        return families_of(text, tuple(FAMILIES)) if text else ()
    except InputError as error:
        raise BaselineError(str(error)) from None


def _self_test(options: argparse.Namespace, families: Sequence[str], say: Say) -> int:
    """A/A test: how often equal code is reported as the same, and whether a planted slowdown is
    found.
    """
    if not 1 <= options.aa <= 1000 or not 0 <= options.planted <= 1000:
        raise BaselineError("--aa must be 1..1000 and --planted 0..1000")
    if options.planted and families and PLANTED[0] not in families:
        raise BaselineError(f"--planted needs {PLANTED[0]} among --families")
    answers: dict[str, Counter[str]] = {}
    for kind, count, more in (
        ("equal", options.aa, ()),
        ("planted", options.planted, (f"{PLANTED[0]}={PLANTED[1]}",)),
    ):
        for number in range(count):
            found = compare(_ROOT, _ROOT, seed=options.seed + number, more=more, families=families)
            answers.setdefault(kind, Counter())[found.answer.value] += 1
            said = f"{kind} {number + 1}/{count}: {found.answer.value}, {found.pairs} pairs"
            odd = {n: d.answer.value for n, d in found.each.items() if d.answer != Answer.SAME}
            say(f"{said} {odd or ''}".rstrip())
    same = answers["equal"][Answer.SAME.value] / options.aa
    caught = answers.get("planted", Counter())[Answer.SLOWER.value]
    result = {
        "same": same,
        "answers": {kind: dict(counts) for kind, counts in answers.items()},
        "caught": caught,
        "planted": options.planted,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"equal code: same in {same:.0%} of {options.aa}")
        if options.planted:
            print(f"{PLANTED[1]:.0%} planted: slower in {caught} of {options.planted}")
    return 0 if same >= 0.95 and caught == options.planted else 1


def _as_json(found: Compared) -> dict[str, object]:
    def bound(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "answer": found.answer.value,
        "pairs": found.pairs,
        "families": {
            name: {
                "answer": one.answer.value,
                "ratio": None if one.ratio is None else one.ratio.point,
                "lower": None if one.ratio is None else bound(one.ratio.lower),
                "upper": None if one.ratio is None else bound(one.ratio.upper),
                "samples": found.samples[name],
            }
            for name, one in found.each.items()
        },
    }

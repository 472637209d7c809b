"""How a comparison samples: neither process effects nor the order of the arms must decide."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from evolution_gate.benchmarks import compare
from evolution_gate.benchmarks.__main__ import main
from evolution_gate.benchmarks.arm import LEARNED_EVERY
from evolution_gate.benchmarks.decide import Answer
from ga.families import FAMILIES

RULES = [name for name, family in FAMILIES.items() if not family.learned]
LEARNED = [name for name, family in FAMILIES.items() if family.learned]


class Machine:
    """What both arms share: whose turn it was last, and how equal nothing is."""

    def __init__(
        self, seed: int, *, process: float, first: float = 1.0, slower: float = 1.0
    ) -> None:
        self.dice = np.random.Generator(np.random.Philox(seed))
        self.process, self.first, self.slower = process, first, slower
        self.processes = 0
        self.round_of: Counter[str] = Counter()

    def spread(self, share: float) -> float:
        return math.exp(share * float(self.dice.standard_normal()))

    @contextmanager
    def running(self, tree: Path, more: Sequence[str]) -> Iterator[Arm]:
        del more
        yield Arm(self, tree.name)


class Arm:
    """A process whose layout in memory makes each family faster or slower while it lives."""

    def __init__(self, machine: Machine, tree: str) -> None:
        machine.processes += 1
        self.machine, self.tree = machine, tree
        self.layout = {name: machine.spread(machine.process) for name in FAMILIES}

    def wait_ready(self) -> None:
        pass

    def begin(self, padding: int, core: int) -> None:
        del padding, core
        self.number = 0

    def round(self) -> dict[str, float]:
        machine, other = self.machine, "new" if self.tree == "old" else "old"
        goes_first = machine.round_of[self.tree] == machine.round_of[other]
        machine.round_of[self.tree] += 1
        with_learned = self.number % LEARNED_EVERY == 0
        self.number += 1
        times = {}
        for name in FAMILIES if with_learned else RULES:
            times[name] = 1e-3 * self.layout[name] * machine.spread(0.01)
            times[name] *= machine.first if goes_first else 1.0
        if self.tree == "new":
            times["ema_crossover"] *= machine.slower
        return times

    def end(self) -> None:
        pass


def answers(count: int, **effects: float) -> Counter[Answer]:
    """How often each answer was given, on so many machines with these effects."""
    found: Counter[Answer] = Counter()
    for seed in range(count):
        machine = Machine(seed, **effects)
        said = compare.compare(Path("old"), Path("new"), seed=seed, start_arm=machine.running)
        assert machine.processes == 2 * said.pairs
        found[said.answer] += 1
    return found


def test_process_effects_are_not_attributed_to_code() -> None:
    """Eight pairs of the same two processes would be one pair: with a spread of 2.5 % between
    processes the code would be called slower or faster most of the time."""
    found = answers(40, process=0.025)
    assert found[Answer.SAME] >= 38, found


def test_order_effects_are_not_attributed_to_code() -> None:
    assert answers(10, process=0.005, first=1.1) == {Answer.SAME: 10}


def test_ten_percent_slowdown_is_found_despite_noise() -> None:
    found = answers(20, process=0.025, first=1.1, slower=1.1)
    assert found[Answer.SLOWER] >= 19, found


def test_each_arm_goes_first_equally_often() -> None:
    orders: dict[str, list[str]] = {"old": [], "new": []}
    turn: list[tuple[str, frozenset[str]]] = []

    class Noted(Arm):
        def round(self) -> dict[str, float]:
            times = super().round()
            turn.append((self.tree, frozenset(times)))
            return times

    machine = Machine(1, process=0.0)

    @contextmanager
    def running(tree: Path, more: Sequence[str]) -> Iterator[Arm]:
        del more
        yield Noted(machine, tree.name)

    compare.compare(Path("old"), Path("new"), seed=1, start_arm=running)
    for first, _ in zip(turn[::2], turn[1::2], strict=True):
        for name in first[1]:
            orders[first[0]].append(name)
    old, new = Counter(orders["old"]), Counter(orders["new"])
    assert set(old) == set(FAMILIES)
    assert old == new


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--families", "nosuch"], "unknown family 'nosuch'"),
        (["--families", "rsi_filter", "--planted", "1"], "needs ema_crossover"),
    ],
)
def test_unusable_families_are_refused(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--aa", "1", *more]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_slower_tree_is_found_by_real_processes() -> None:
    """Both processes on this tree, one family each: half as much time again cannot be missed."""
    root = Path(compare.__file__).parents[1]
    found = compare.compare(
        root, root, seed=1, families=["ema_crossover"], more=["ema_crossover=0.5"]
    )
    assert set(found.each) == {"ema_crossover"}
    assert found.answer is Answer.SLOWER
    ratio = found.each["ema_crossover"].ratio
    assert ratio is not None
    assert 1.35 < ratio.point < 1.65

"""The workload that a user chooses for the gate: sizes, families, market, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from validation.evidence.identity import difference, facts_of
from validation.stages.scale import POPULATIONS, RULES, SHORT, SPEEDUP_FAMILIES, Scale
from validation.stages.workloads import Workloads

pytest_plugins = ["pytester"]


def evolved(scale: Scale, tmp_path: Path, ask: str) -> list[tuple[str, str, int, int]]:
    """Market, families and size of what a measurement would evolve."""
    nodes: list[Any] = []
    ends = type("Ends", (), {"postgres": None, "redis": None})()
    stack: Any = type("Stack", (), {"endpoints": ends, "nodes": nodes})()
    found = []

    class Recorded(Workloads):
        def _plain(self, spec: Any, *_: object, **__: object) -> str:
            found.append(spec)
            return ""

        def _pair(self, spec: Any, _: int) -> list[float]:
            found.append(spec)
            return [3.0]

        def _distributed(self, spec: Any, **_: object) -> Any:
            found.append(spec)

    sink: Any = type("Sink", (), {"add": staticmethod(lambda _: None)})()
    outages: Any = None
    work = Recorded(
        stack, sink, seed=1, scale=scale, folder=tmp_path, outages=outages, say=lambda _: None
    )
    getattr(work, ask)()
    return [(s.market, s.families, s.population_size, s.generations) for s in found]


@pytest.mark.parametrize(
    ("options", "real", "speedup", "populations"),
    [
        ({}, ("eurusd", "", 700, 20), ("eurusd", SPEEDUP_FAMILIES, 500, 6), ("eurusd", RULES)),
        (
            {"market": "m.csv", "generations": 9},
            ("m.csv", "", 700, 9),
            ("m.csv", SPEEDUP_FAMILIES, 500, 6),
            ("m.csv", RULES),
        ),
        (
            {"families": "rsi_filter", "population_size": 500, "generations": 4},
            ("eurusd", "rsi_filter", 500, 4),
            ("eurusd", "rsi_filter", 500, 4),
            ("eurusd", "rsi_filter"),
        ),
    ],
)
def test_chosen_workload_is_what_is_evolved(
    tmp_path: Path,
    options: dict[str, Any],
    real: tuple[str, str, int, int],
    speedup: tuple[str, str, int, int],
    populations: tuple[str, str],
) -> None:
    scale = SHORT.chosen(**options) if options else SHORT
    assert evolved(scale, tmp_path, "undisturbed") == [real]
    assert set(evolved(scale, tmp_path, "speedup")) == {speedup}
    sizes = [(*populations, *size) for size in POPULATIONS]
    assert evolved(scale, tmp_path, "populations") == sizes


@pytest.mark.parametrize("size", [*POPULATIONS, SHORT.speedup])
def test_equal_size_of_other_families_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="choose another number of generations, or --families"):
        SHORT.chosen(population_size=size[0], generations=size[1])


def test_runs_of_other_workloads_do_not_pool() -> None:
    facts = [
        facts_of({"workload": scale.workload})
        for scale in (SHORT, SHORT.chosen(market="a"), SHORT.chosen(market="b"))
    ]
    assert facts[0] == {"workload": "default"}
    assert [difference(facts[0], one) for one in facts] == [None, "workload", "workload"]
    assert difference(facts[1], facts[2]) == "workload"
    assert difference(facts[1], {}) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--population-size", "0"], "--population-size 0: it must be 1 or more"),
        (["--generations=-3"], "--generations -3: it must be 1 or more"),
        (["--population-size", "500", "--generations", "4"], "choose another number"),
        (["--market=/proc/self/maps"], "nodes see the current folder only"),
        (["--market", "nowhere"], "the chosen workload cannot be evolved: *nowhere*"),
        (["--families", "no_such"], "the chosen workload cannot be evolved: *no_such*"),
    ],
)
def test_bad_workload_ends_before_the_stack(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr("evolution_gate.fixtures.start_stack", None)
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_it(gate_result): pass")
    said = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    said.stdout.fnmatch_lines([f"*{words}*"])
    assert said.ret != pytest.ExitCode.OK
    assert not list((pytester.path / "reports").glob("out/*/evidence.jsonl"))

"""What a workload needs: the model, the simulation against closed forms, the command."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from ga.capacity import calibration_file as files
from ga.capacity.calibration import measure
from ga.capacity.calibration_file import (
    Baseline,
    FamilyCost,
    load,
    save,
    this_machine,
)
from ga.capacity.cost_model import (
    EDGES,
    Costs,
    batches,
    costs_of,
    generation,
    genome,
    limits,
)
from ga.capacity.planner import Wanted, needed
from ga.capacity.prices import NODE
from ga.capacity.simulate import Failures, play
from ga.cli.main import main
from ga.errors import InputError
from ga.execution.protocol import CostModel, make_batches
from ga.families import FAMILIES
from ga.genome import Genome

FREE = Costs(
    genome={"ema_crossover": 0.2},
    task=0.0,
    dispatch=(0.0, 0.0),
    breeding=(0.0, 0.0),
    commit=(0.0, 0.0),
)
"""Each genome fills a batch, and nothing else takes time."""
REAL = Costs(
    genome={"ema_crossover": 50e-6, "pca_tree_quantile": 20e-3},
    task=0.5e-3,
    dispatch=(0.5e-3, 0.6e-6),
    breeding=(3e-3, 18e-6),
    commit=(5e-3, 20e-6),
)


def known(scale: float = 1.0) -> Baseline:
    def spread(value: float) -> tuple[float, ...]:
        return tuple(scale * value * f for f in (1.1, 0.9, 1.0))

    return Baseline(
        machine=this_machine(),
        measured_at="2026-11-23T12:00:00Z",
        cells=(2_000, 32_000),
        families={
            name: FamilyCost(small=spread(1e-3), large=spread(16e-3 if f.learned else 4e-3))
            for name, f in FAMILIES.items()
        },
        populations=(250, 2_000),
        breeding=(spread(5e-3), spread(40e-3)),
        commit=(spread(10e-3), spread(80e-3)),
        in_flight=(16, 2_048),
        dispatch=(spread(60e-6), spread(1.3e-3)),
        task=spread(0.5e-3),
    )


def wanted(**changes: object) -> Wanted:
    base = Wanted(
        population=500,
        assets=1,
        bars=10_000,
        generations=20,
        deadline_s=3600.0,
        families=tuple(FAMILIES),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("nodes", "slots"), [(1, 1), (3, 2), (4, 8), (100, 8)])
def test_generation_without_overhead_meets_schedule_bounds(nodes: int, slots: int) -> None:
    """Graham, 1969: work / slots, and at most (1 - 1 / slots) of a batch more."""
    played = play(FREE, population=501, generations=2, nodes=nodes, slots=slots)
    work, m = 501 * 0.2, nodes * slots
    for seconds in played.generations:
        assert work / m - 1e-9 <= seconds <= work / m + (1 - 1 / m) * 0.2 + 1e-9
    assert played.busy == pytest.approx(2 * work / (m * played.seconds))
    if m == 1:
        assert played.seconds == pytest.approx(2 * work)


def test_unequal_generations_add_up() -> None:
    uneven = [{"ema_crossover": 400}, {"ema_crossover": 3}, {"ema_crossover": 400}]
    played = play(FREE, population=400, generations=3, nodes=4, slots=1, evaluated=uneven)
    assert played.generations == pytest.approx((20.0, 0.2, 20.0))
    assert played.busy == pytest.approx(803 * 0.2 / (4 * 40.2))
    even = play(REAL, population=400, generations=2, nodes=4, slots=2)
    assert even == play(
        REAL, population=400, generations=2, nodes=4, slots=2,
        evaluated=[dict.fromkeys(REAL.genome, 200)] * 2,
    )  # fmt: skip


@pytest.mark.parametrize("slots", [1, 2, 5, 10, 50])
def test_serial_part_follows_amdahls_law(slots: int) -> None:
    serial = dataclasses.replace(FREE, breeding=(10.0, 0.0))
    one = play(serial, population=500, generations=1, nodes=1, slots=1).seconds
    many = play(serial, population=500, generations=1, nodes=1, slots=slots).seconds
    share = 10.0 / 110.0
    assert one / many == pytest.approx(1 / (share + (1 - share) / slots))


def test_slow_coordinator_limits_throughput() -> None:
    slow = dataclasses.replace(FREE, dispatch=(0.5, 0.0))
    played = play(slow, population=400, generations=1, nodes=100, slots=8)
    assert played.seconds == pytest.approx(400 * 0.5 + 0.2)
    assert played.handing_out == pytest.approx(200.0 / 200.2)


def test_slow_ledger_limits_throughput() -> None:
    slow = dataclasses.replace(FREE, commit=(7.0, 0.0))
    played = play(slow, population=80, generations=5, nodes=10, slots=8)
    # The first is evaluated before anything can be committed; all others beside a commit.
    assert played.seconds == pytest.approx(0.2 + 5 * 7.0)


def test_limits_mark_where_nodes_stop_helping() -> None:
    """Below a quarter of the slots that handing out can feed they are busy, with four times as many
    the coordinator is."""
    costs = dataclasses.replace(REAL, breeding=(0.0, 0.0), commit=(0.0, 0.0))
    slots = round(limits(costs)["handing out"])
    few = play(costs, population=40_000, generations=1, nodes=1, slots=slots // 4)
    many = play(costs, population=400_000, generations=1, nodes=1, slots=4 * slots)
    assert few.busy > 0.8
    assert many.handing_out > 0.95
    # A ledger that takes as long for an individual as a slot for its evaluation feeds one slot.
    even = dataclasses.replace(REAL, commit=(0.0, REAL.mean), breeding=(0.0, REAL.mean / 5))
    assert limits(even)["commit"] == pytest.approx(1.0)
    assert limits(even)["breeding"] == pytest.approx(5.0)
    assert limits(FREE)["handing out"] == math.inf


@pytest.mark.parametrize("population", [500, 10_000, 60_000])
@pytest.mark.parametrize("nodes", [1, 2, 8, 32, 128, 1_000])
def test_model_agrees_with_simulation(population: int, nodes: int) -> None:
    played = play(REAL, population=population, generations=2, nodes=nodes, slots=8)
    said = generation(REAL, population, 8 * nodes).seconds
    assert said == pytest.approx(played.generations[-1], rel=0.3)


@pytest.mark.parametrize("nodes", [1, 16, 64, 256])
def test_model_agrees_for_expensive_genomes(
    nodes: int,
) -> None:
    expensive = dataclasses.replace(REAL, genome={"ema_crossover": 2e-3, "pca_tree_quantile": 5.0})
    played = play(expensive, population=20_000, generations=1, nodes=nodes, slots=8)
    said = generation(expensive, 20_000, 8 * nodes)
    assert said.seconds == pytest.approx(played.generations[-1], rel=0.2)
    assert (said.bound_by == "evaluation") == (nodes < 256)


@pytest.mark.parametrize("slots", [1, 8, 64, 512])
@pytest.mark.parametrize("count", [100, 3_000, 30_000])
def test_model_predicts_number_of_batches(slots: int, count: int) -> None:
    class Same(CostModel):
        def estimate(self, family: str) -> float:
            del family
            return 5e-3

    real = len(make_batches([Genome("ema_crossover", ())] * count, Same(), slots))
    assert batches(count * 5e-3, slots, count) == pytest.approx(real, rel=0.25, abs=2)


def test_simulated_failures_are_seeded_and_repaired() -> None:
    failing = Failures(per_node_day=400.0, detection=5.0, away=60.0)

    def run(seed: int, failures: Failures | None = failing) -> object:
        return play(
            FREE, population=800, generations=20, nodes=4, slots=2, failures=failures, seed=seed
        )

    whole, first = run(0, None), run(0)
    assert first == run(0) != run(1)
    assert first.failures > 0  # type: ignore[attr-defined]
    assert first.redone > 0  # type: ignore[attr-defined]
    assert first.seconds > whole.seconds  # type: ignore[attr-defined]


def test_cost_of_failure_matches_manual_count() -> None:
    """One slot: what it held is done again, once the node is back."""
    failing = Failures(per_node_day=86_400 / 300.0, detection=5.0, away=60.0)
    for seed in range(20):
        played = play(
            FREE, population=500, generations=1, nodes=1, slots=1, failures=failing, seed=seed
        )
        lost = played.seconds - 100.0 - 60.0 * played.failures
        # A batch was cut short at most, a failure; what had only waited costs nothing.
        assert -1e-6 <= lost <= 0.2 * played.failures + 1e-6
        # The last may come when all is done.
        assert played.redone <= 2 * played.failures


def test_extrapolated_costs_have_wider_bounds() -> None:
    cost, cells = FamilyCost(small=(1.0, 1.2, 0.8), large=(10.0, 11.0, 9.0)), (100, 1_000)
    assert genome(cost, cells, 550, "point") == pytest.approx(5.5)
    assert genome(cost, cells, 1_000, "low") == pytest.approx(9.0)
    assert genome(cost, cells, 10_000, "point") == pytest.approx(100.0)
    assert genome(cost, cells, 10_000, "low") == pytest.approx(9.0 * 10**0.9)
    assert genome(cost, cells, 10_000, "high") == pytest.approx(11.0 * 10**1.1)
    for at in (1, 99, 101, 999, 1_001, 10**7):
        low, point, high = (genome(cost, cells, at, edge) for edge in EDGES)
        assert low < point < high


def test_plan_uses_fewest_nodes_for_deadline() -> None:
    asked = wanted(population=20_000, assets=4, bars=10_000, deadline_s=150.0)
    found = needed(asked, known())
    assert 1 < found.provided == found.nodes.high
    assert found.nodes.low <= found.nodes.point <= found.nodes.high
    for interval in (found.generation_s, found.total_s, found.on_demand_a_day, found.spot_a_day):
        assert 0 < interval.low <= interval.point <= interval.high
    assert found.total_s.high <= asked.deadline_s
    assert found.total_s.high == pytest.approx(20 * found.generation_s.high)
    costs = costs_of(known(), cells=asked.cells, families=asked.families, edge="high", factor=2.0)
    fewer = generation(costs, 20_000, NODE.vcpus * (found.provided - 1), tail=1.0)
    assert 20 * fewer.seconds > asked.deadline_s
    assert found.on_demand_a_day.high == pytest.approx((found.provided + 1) * 24 * NODE.on_demand)
    assert found.spot_a_day.high < found.on_demand_a_day.high
    slower = needed(asked, known(1.4))
    assert slower.provided > found.provided


def test_plan_reports_extrapolation() -> None:
    inside = needed(wanted(), known()).notes
    assert not any("extrapolated" in note for note in inside)
    assert any(NODE.as_of in note and "check" in note for note in inside)
    outside = needed(wanted(assets=100, population=5_000), known()).notes
    assert sum("extrapolated" in note for note in outside) == 2


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"population": 0}, "--population"),
        ({"population": 1_000_001}, "--population"),
        ({"assets": 0}, "--assets"),
        ({"bars": 10}, "--bars"),
        ({"generations": -1}, "--generations"),
        ({"deadline_s": 0.0}, "--deadline"),
        ({"deadline_s": math.inf}, "--deadline"),
        ({"deadline_s": math.nan}, "--deadline"),
        ({"assets": 1_000, "bars": 10_000_000}, "does not fit"),
    ],
)
def test_out_of_range_plans_are_refused(changes: dict[str, object], option: str) -> None:
    with pytest.raises(InputError, match=option):
        wanted(**changes)


def test_impossible_deadline_error_names_fastest_time() -> None:
    with pytest.raises(InputError, match=r"--deadline 2 s .* the fastest is [\d,]+ s with"):
        needed(wanted(population=100_000, deadline_s=2.0), known())


def test_baseline_round_trips(tmp_path: Path) -> None:
    save(known(), tmp_path / "below" / "file.json")
    assert load(tmp_path / "below" / "file.json") == known()
    assert [p.name for p in (tmp_path / "below").iterdir()] == ["file.json"]


def test_invalid_baseline_error_says_how_to_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"no baseline of this machine.*plan --measure"):
        load(None)
    file = tmp_path / "file.json"
    good = known().as_json()
    for bad in (
        "",
        "[]",
        "{}",
        json.dumps({**good, "format": 99}),
        json.dumps({**good, "task": [1.0, float("nan"), 1.0]}),
        json.dumps({**good, "task": [-1.0, 1.0, 1.0]}),
        json.dumps({**good, "families": {}}),
        json.dumps({**good, "families": {"unknown": {"small": [1] * 3, "large": [1] * 3}}}),
        json.dumps({**good, "cells": [5, 5]}),
    ):
        file.write_text(bad)
        with pytest.raises(InputError, match=r"is not a baseline .*plan --measure"):
            load(file)
    other = dataclasses.replace(known().machine, kernels=-1)
    save(dataclasses.replace(known(), machine=other), file)
    with pytest.raises(InputError, match="with kernels -1"):
        load(file)


def test_machine_differences_are_named() -> None:
    here = this_machine()
    other = dataclasses.replace(here, cores=here.cores + 1)
    assert here.unlike(here) == ""
    assert here.unlike(other) == f"cores {here.cores + 1} instead of {here.cores}"
    assert here.key != other.key


def test_measured_baseline_can_be_planned_with() -> None:
    family = "ema_crossover"
    found = measure(lambda _: None, repeats=3, families=(family,))
    assert found.machine == this_machine()
    assert set(found.families) == {family}
    assert min(found.families[family].large) > min(found.families[family].small)
    assert min(map(min, found.dispatch)) > 0.0
    assert needed(wanted(families=(family,)), found).provided == 1
    with pytest.raises(InputError, match="does not hold"):
        needed(wanted(), found)


ARGUMENTS = ["--population", "500", "--assets", "1", "--bars", "10000", "--generations", "20"]


def test_command_plans_and_simulates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file.json"
    save(known(), file)
    plan = ["plan", *ARGUMENTS, "--baseline", str(file)]
    assert main([*plan, "--deadline", "1h", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["provided"] == 1
    assert found["workload"]["deadline_s"] == 3600.0
    assert found["price"]["source"].startswith("https://")
    assert main([*plan, "--deadline", "1h"]) == 0
    assert "worker nodes" in capsys.readouterr().out
    assert main([*plan, "--simulate", "1", "4", "--failures", "500", "--json"]) == 0
    one, four = json.loads(capsys.readouterr().out)["played"]
    assert (one["nodes"], four["nodes"]) == (1, 4)
    assert one["seconds"] > four["seconds"]
    assert main([*plan, "--simulate", "1"]) == 0
    assert "handing out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "--deadline"),
        (["--deadline", "soon"], "--deadline must be a duration"),
        (["--deadline", "1h", "--families", "x"], "--families"),
        (["--simulate", "0"], "--simulate"),
        (["--simulate", "20000"], "--simulate"),
        (["--simulate", *["1"] * 3000], "--simulate"),
        (["--simulate", "1", "--failures", "-1"], "--failures"),
        (["--simulate", "1", "--failures", "nan"], "--failures"),
        (["--simulate", "1", "--seed", "-1"], "--seed"),
        (["--deadline", "1h", "--baseline", "/no/such"], "--measure"),
    ],
)
def test_command_errors_are_one_line(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *ARGUMENTS, *more]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_saved_baseline_of_machine_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path))
    save(known(), files.kept_at(this_machine()))
    assert load(None) == known()

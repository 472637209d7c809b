"""``python -m ga plan``: resources that a workload needs; ``--measure``, ``--simulate``."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from ga.capacity.budget import DOLLARS_A_DAY, day, most_workers
from ga.capacity.calibration import measure
from ga.capacity.calibration_file import (
    Baseline,
    kept_at,
    load,
    save,
    this_machine,
)
from ga.capacity.cost_model import generation, limits
from ga.capacity.planner import (
    MOST_NODES,
    Interval,
    Needed,
    Wanted,
    families_of,
    needed,
    notes,
    plain_costs,
)
from ga.capacity.prices import EXTRAS, HEADS, NODE, VCPU_FACTOR
from ga.capacity.simulate import Failures, Played, play
from ga.cli.tables import table
from ga.errors import InputError
from ga.families import FAMILIES

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NEEDED: Final = ("population", "assets", "bars", "generations", "deadline")
_MOST_PLAYED: Final = 20_000_000
"""Maximum number of individuals in a simulation: about a minute."""


def add_parser(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the command's options. ``add`` makes a command."""
    plan = add(
        "plan", "Estimate the nodes, time and dollars that a workload needs, from measured costs."
    )
    plan.add_argument(
        "--population",
        type=int,
        help="individuals per generation (default: none; an estimate needs it)",
    )
    plan.add_argument(
        "--assets", type=int, help="assets of the market (default: none; an estimate needs it)"
    )
    plan.add_argument(
        "--bars",
        type=int,
        help="bars per asset, including the hold-out (default: none; an estimate needs it)",
    )
    plan.add_argument(
        "--generations",
        type=int,
        help="generations, including the first (default: none; an estimate needs it)",
    )
    plan.add_argument(
        "--deadline",
        help="time for the whole run: 90s, 30m, 8h, 2d"
        " (default: none; needed unless --simulate is given)",
    )
    plan.add_argument("--families", help="comma-separated (default: all)")
    plan.add_argument(
        "--baseline", type=Path, help="file with measured costs (default: stored for this machine)"
    )
    plan.add_argument(
        "--measure",
        action="store_true",
        help="measure this machine first (under a minute) and store it (or write --baseline)",
    )
    plan.add_argument(
        "--simulate",
        type=int,
        nargs="+",
        metavar="NODES",
        help=f"simulate the run on these numbers of nodes of {NODE.vcpus} cores instead"
        " (default: compute the nodes that the deadline needs)",
    )
    plan.add_argument(
        "--prices", action="store_true", help="print the price table with its date and source"
    )
    plan.add_argument(
        "--failures",
        type=float,
        default=0.0,
        help="simulated failures per node and day (default: none)",
    )
    plan.add_argument("--seed", type=int, default=0, help="seed of the simulation (default: 0)")


def command(options: argparse.Namespace) -> int:
    """The command."""
    if options.prices:
        return _prices(options)
    asked = [name for name in _NEEDED if getattr(options, name) is not None]
    lacking = [name for name in _NEEDED if name not in asked]
    if options.simulate is not None and "deadline" in lacking:
        lacking.remove("deadline")
    if lacking and (asked or not options.measure):
        raise InputError(f"plan needs --{lacking[0]}; see python -m ga plan --help")
    wanted = None if lacking else _wanted(options)
    _check_simulation(options)
    if options.measure:
        file = options.baseline or kept_at(this_machine())
        baseline = measure(lambda text: print(f"measuring: {text}", file=sys.stderr))
        save(baseline, file)
        print(f"kept: {file}", file=sys.stderr)
        if wanted is None:
            if options.json:
                print(json.dumps(baseline.as_json()))
            return 0
    else:
        baseline = load(options.baseline)
        if other := this_machine().unlike(baseline.machine):
            print(f"the baseline was measured on another machine: {other}", file=sys.stderr)
    assert wanted is not None
    if options.simulate is not None:
        return _simulated(options, wanted, baseline)
    found = needed(wanted, baseline)
    if options.json:
        # The keys keep the name of version 0.1, because scripts read them.
        row = {name.replace("most_expensive", "dearest"): v for name, v in asdict(found).items()}
        print(json.dumps({**row, "workload": asdict(wanted), "heads": HEADS}))
    else:
        _show(found, wanted)
    return 0


def _prices(options: argparse.Namespace) -> int:
    if options.json:
        extras = asdict(EXTRAS)
        print(
            json.dumps(
                {**asdict(NODE), "heads": HEADS, "vcpu_factor": VCPU_FACTOR, "extras": extras}
            )
        )
    else:
        (low, high), most = NODE.spot, most_workers()
        print(
            f"{NODE.instance}, {NODE.vcpus} vCPU, {NODE.memory_gib:g} GiB, {NODE.region}:"
            f" ${NODE.on_demand:g} an hour on demand, ${low:g} to ${high:g} spot\n"
            f"read on {NODE.as_of} in {NODE.source}; check them\n"
            f"each machine has a disk of {EXTRAS.disk_gb:g} GB (${EXTRAS.disk_gb_month:g} a GB and"
            f" month) and a public address (${EXTRAS.address_hour:g} an hour); at most"
            f" ${EXTRAS.spot_cap:g} an hour is paid for a spot machine;"
            f" {EXTRAS.traffic_gb_day:g} GB a day between zones cost ${EXTRAS.traffic_gb:g} each\n"
            f"read on {EXTRAS.as_of} in {EXTRAS.source}; check them\n"
            f"less than ${DOLLARS_A_DAY:g} a day pays {most} spot workers and the head:"
            f" ${day(most).total:.2f} at most, and each further worker adds"
            f" ${day(most + 1).total - day(most).total:.2f}"
        )
    return 0


def seconds_of(text: str) -> float:
    """A duration: ``90s``, ``30m``, ``8h``, ``2d``; without a unit, seconds.

    Raises:
        InputError: not a valid duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if match is None:
        raise InputError(f"--deadline must be a duration such as 90s, 30m, 8h or 2d, not {text!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        population=options.population,
        assets=options.assets,
        bars=options.bars,
        generations=options.generations,
        deadline_s=seconds_of(options.deadline or "365d"),
        families=families_of(options.families, list(FAMILIES)),
    )


def _check_simulation(options: argparse.Namespace) -> None:
    for nodes in options.simulate or ():
        if not 1 <= nodes <= MOST_NODES:
            raise InputError(f"--simulate: nodes must be 1..{MOST_NODES:,}, not {nodes}")
    if not 0.0 <= options.failures <= 1000.0:
        raise InputError(f"--failures must be 0..1000 of a node and day, not {options.failures:g}")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed must be 0..2^63-1, not {options.seed}")
    if options.simulate and options.population and options.generations:
        many = options.population * options.generations * len(options.simulate)
        if many > _MOST_PLAYED:
            raise InputError(
                f"--simulate: {many:,} individuals in all are more than {_MOST_PLAYED:,};"
                " give fewer --generations or nodes"
            )


def _simulated(options: argparse.Namespace, wanted: Wanted, baseline: Baseline) -> int:
    costs = plain_costs(wanted, baseline)
    rows: list[tuple[int, Played, str]] = []
    for nodes in options.simulate:
        played = play(
            costs,
            population=wanted.population,
            generations=wanted.generations,
            nodes=nodes,
            slots=NODE.vcpus,
            failures=Failures(per_node_day=options.failures),
            seed=options.seed,
        )
        bound = generation(costs, wanted.population, nodes * NODE.vcpus).bound_by
        rows.append((nodes, played, bound))
    if options.json:
        found = [{"nodes": n, "bound_by": bound, **asdict(p)} for n, p, bound in rows]
        ends = {name: slots / NODE.vcpus for name, slots in limits(costs).items()}
        said = {"workload": asdict(wanted), "played": found, "nodes_at_the_limit": ends}
        print(json.dumps(said))
        return 0
    done = wanted.population * wanted.generations
    shown = [
        {
            "nodes": f"{nodes:,}",
            "seconds": f"{played.seconds:,.2f}",
            "a generation": f"{sum(played.generations) / len(played.generations):,.3f}",
            "evaluations/s": f"{done / played.seconds:,.0f}",
            "slots busy": f"{played.busy:.0%}",
            "handing out": f"{played.handing_out:.0%}",
            "failures": f"{played.failures:,}",
            "batches redone": f"{played.redone:,}",
            "bound by": bound,
        }
        for nodes, played, bound in rows
    ]
    table("", shown, right=[name for name in shown[0] if name != "bound by"])
    first = sorted(limits(costs).items(), key=lambda item: item[1])
    print(
        "busy all the time, with a large population, from: "
        + ", ".join(f"{name} {slots / NODE.vcpus:,.1f} nodes" for name, slots in first)
    )
    for line in notes(wanted, baseline):
        print(line)
    return 0


def _show(found: Needed, wanted: Wanted) -> None:
    price = found.price
    print(
        f"{wanted.population:,} individuals x {wanted.generations:,} generations on"
        f" {wanted.assets:,} x {wanted.bars:,} bars, within {wanted.deadline_s:,.0f} s"
    )
    machine = f"{price.instance}, {price.vcpus} vCPU"
    estimates = (
        ("worker nodes", found.nodes, f"{machine}, and {HEADS} for the coordinator"),
        ("a generation", found.generation_s, f"s with {found.provided}; bound by {found.bound_by}"),
        ("the whole run", found.total_s, "s"),
        ("on demand", found.on_demand_a_day, "$ a day, running all day"),
        ("with spot workers", found.spot_a_day, "$ a day"),
        ("this run alone", found.run_on_demand, "$ on demand"),
    )
    rows = [
        {"needed": name, "estimate (interval)": _interval(interval), "of": unit}
        for name, interval, unit in estimates
    ]
    table("", rows, right=["estimate (interval)"])
    print(
        f"if all genomes were {found.most_expensive}, the most expensive family:"
        f" {found.most_expensive_generation_s:,.2f} s a generation"
    )
    for line in found.notes:
        print(line)


def _interval(value: Interval) -> str:
    def text(number: float) -> str:
        if number == round(number) or number >= 1000:
            return f"{number:,.0f}"
        return f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"

    return f"{text(value.point)}  ({text(value.low)} to {text(value.high)})"

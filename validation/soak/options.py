"""Options of ``python -m validation soak``: a new soak, or the one that is continued."""

from __future__ import annotations

import argparse
import math
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.fixtures.protocols import StackError
from ga.errors import InputError
from validation.run_folder import OUT, stamp
from validation.soak.segments import (
    EVERY_S,
    LONGEST_EVERY_S,
    MANIFEST,
    MOST_FAULTS,
    MOST_HOURS,
    SHORTEST_EVERY_S,
    Folder,
    Plan,
)
from validation.soak.simulated_world import DEFECTS
from validation.stages.registry import STAGES
from validation.targets import CPUS_PER_NODE, NODES, STACK, Target, TargetOptions, target_of

_HELP: Final = {
    "--target": ("stack|compose[:FILE]|kubernetes[:CONTEXT/NAMESPACE/CLUSTER]", "what is watched:"
                 " a stack that the gate starts, the Compose project that `ga cluster up` deployed,"
                 " or a RayCluster of KubeRay (default: stack)"),
    "--allow-faults": ("KIND[,KIND]|all|none", "faults that may be injected into a deployed target;"
                       " --faults needs kill (default: none given, and a deployed target is"
                       " refused)"),
    "--confirm": ("NAME", "name of the deployed target that --allow-faults is meant for (default:"
                  " none given, and its faults are refused)"),
    "--address": ("HOST:PORT", "address of a Ray cluster that you started, which gets work and is"
                  " watched, without faults; with --target kubernetes: of its head, if its service"
                  " is not reached (default: the cluster of --target)"),
    "--dashboard": ("URL", "Ray dashboard of the cluster of --address (default: port 8265 of its"
                    " host; with --target kubernetes: the service of the head)"),
    "--prometheus": ("URL", "base URL of the Prometheus server that scrapes it (default: none)"),
}  # fmt: skip
_OTHERS: Final = "--allow-other-jobs"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--hours", required=True, type=float, help="watched hours to gather")
    parser.add_argument(
        "--resume", action="store_true", help="continue the soak in --out, or the newest one"
    )
    parser.add_argument(
        "--faults",
        type=float,
        default=None,
        metavar="RATE",
        help="kills of a node an hour (default: 0)",
    )
    parser.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help="from the start of one evolution to that of the next, the load that the soak puts on"
        f" the cluster (default: {EVERY_S:g})",
    )
    parser.add_argument(
        "--stack",
        choices=["auto", "processes", "containers"],
        help="what nodes are (default: auto, containers where there is an engine with the images)",
    )
    _register_target(parser)
    parser.add_argument(
        "--seed",
        type=int,
        default=None,
        help="fixes workloads and faults (default: a random one, which is printed)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder of the soak (default: {OUT}/soak-...)"
    )
    parser.add_argument(
        "--background",
        action="store_true",
        help="go on in a separate process, which outlives the terminal; its output goes to"
        " console.log in the folder of the soak",
    )
    parser.add_argument(
        "--simulate",
        nargs="?",
        const="healthy",
        choices=DEFECTS,
        help="no stack and a clock that does not wait: for tests of the gate; healthy, or with the"
        " named defect (default: a real cluster; without a name: healthy)",
    )


def folder_of(options: argparse.Namespace) -> Folder:
    """The folder of a new soak, or of the one to continue.

    Raises:
        InputError: an option is out of range, or does not fit the soak that is resumed.
        EvidenceError: there is nothing to resume, or it is damaged.
    """
    _check(options)
    return _resumed(options) if options.resume else _new(options)


def target_of_plan(plan: Plan) -> Target:
    """The target that the plan names.

    Raises:
        InputError: it cannot be reached, or its faults are not allowed; the message says what to
            do.
    """
    parser = argparse.ArgumentParser()
    _register_target(parser)
    words = parser.parse_args(plan.target or ())
    if plan.faults and words.address is not None and words.target is None:
        raise InputError(f"--faults {plan.faults:g}: an attached cluster is only watched; omit it")
    try:
        target = target_of(
            TargetOptions(
                target=words.target or STACK,
                backend=plan.backend,
                address=words.address,
                dashboard=words.dashboard,
                prometheus=words.prometheus,
                allow_faults=words.allow_faults,
                confirm=words.confirm,
                other_jobs=words.allow_other_jobs,
            )
        )
    except StackError as error:
        raise InputError(str(error)) from error
    why = target.lacks(STAGES["recovery"]).get(Capability.KILL_NODE)
    if plan.faults and why:
        raise InputError(f"--faults {plan.faults:g}: {target.name} cannot be broken: {why}")
    return target


def target_options(command: Sequence[str]) -> list[str]:
    """The options that select a target in a command of a campaign or soak, as words."""
    found = [
        word
        for option, value in pairwise([*command, ""])
        if option in _HELP
        for word in (option, value)
    ]
    return [*found, *([_OTHERS] if _OTHERS in command else [])]


def _register_target(parser: argparse.ArgumentParser) -> None:
    for name, (metavar, text) in _HELP.items():
        parser.add_argument(name, metavar=metavar, help=text)
    parser.add_argument(
        _OTHERS,
        action="store_true",
        help="inject faults although Ray jobs of somebody else run on the target",
    )


def _target_words(options: argparse.Namespace) -> tuple[str, ...]:
    given: list[str] = []
    for name in _HELP:
        value = getattr(options, name.removeprefix("--").replace("-", "_"))
        given += [] if value is None else [name, value]
    return (*given, *([_OTHERS] if options.allow_other_jobs else []))


def _new(options: argparse.Namespace) -> Folder:
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    name = f"soak-{stamp()}-{seed}"
    path = options.out or OUT / name
    if (path / MANIFEST).exists():
        raise InputError(f"--out {path} holds a soak already; add --resume or name another folder")
    faults, every = options.faults or 0.0, options.every or EVERY_S
    words = _target_words(options)
    plan = Plan(
        name=name,
        seed=seed,
        hours=options.hours,
        faults=faults,
        backend="simulated" if options.simulate else (options.stack or "auto"),
        nodes=NODES,
        cpus_per_node=CPUS_PER_NODE,
        replay=_replay(options, seed, faults, every, words),
        target=words,
        every_s=every,
    )
    if not options.simulate:
        # Before the folder is made: a target that cannot be had leaves nothing behind.
        target_of_plan(plan)
    path.mkdir(parents=True, exist_ok=True)
    return Folder(path=path, plan=plan).save()


def _replay(
    options: argparse.Namespace, seed: int, faults: float, every: float, words: Sequence[str]
) -> str:
    command = f"python -m validation soak --hours {options.hours:g} --faults {faults:g}"
    command += f" --seed {seed}" + ("" if every == EVERY_S else f" --every {every:g}")
    if options.simulate:
        return f"{command} --simulate {options.simulate}"
    own = ("--stack", options.stack or "auto")
    return f"{command} {shlex.join(words or own)}"


def _resumed(options: argparse.Namespace) -> Folder:
    path = options.out
    if path is None:
        there = sorted(OUT.glob(f"soak-*/{MANIFEST}"), key=lambda file: file.stat().st_mtime)
        if not there:
            raise InputError(f"--resume: no soak in {OUT}; start one without --resume")
        path = there[-1].parent
    folder = Folder.load(path)
    plan = folder.plan
    asked = {
        "--seed": (options.seed, plan.seed),
        "--faults": (options.faults, plan.faults),
        "--every": (options.every, plan.every_s or EVERY_S),
    }
    for name, (now, then) in asked.items():
        if now is not None and now != then:
            raise InputError(f"{name} {now:g}: the soak in {path} was begun with {then:g}; omit it")
    if bool(options.simulate) != (plan.backend == "simulated"):
        raise InputError(f"--simulate: the soak in {path} has backend {plan.backend}")
    words = _target_words(options)
    if words and words != tuple(plan.target or ()):
        begun = shlex.join(plan.target) if plan.target else "a stack of the gate's own"
        raise InputError(f"{words[0]}: the soak in {path} was begun on {begun}; omit it")
    if options.stack not in (None, plan.backend):
        raise InputError(f"--stack {options.stack}: the soak in {path} has {plan.backend}; omit it")
    return replace(folder, plan=replace(plan, hours=options.hours))


def _check(options: argparse.Namespace) -> None:
    if not (math.isfinite(options.hours) and 0 < options.hours <= MOST_HOURS):
        raise InputError(f"--hours must be above 0 and at most {MOST_HOURS:g}, not {options.hours}")
    faults, every = options.faults, options.every
    if faults is not None and not (math.isfinite(faults) and 0 <= faults <= MOST_FAULTS):
        raise InputError(f"--faults must be 0 to {MOST_FAULTS:g} an hour, not {faults}")
    if every is not None and not SHORTEST_EVERY_S <= every <= LONGEST_EVERY_S:
        raise InputError(
            f"--every must be {SHORTEST_EVERY_S:g} to {LONGEST_EVERY_S:g} seconds, not {every}"
        )
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise InputError(f"--seed must be 0 to 2^63 - 1, not {options.seed}")
    words = _target_words(options)
    if words and (options.simulate or options.stack is not None):
        other = "--simulate" if options.simulate else "--stack"
        raise InputError(f"{words[0]} and {other} are two targets; choose one")

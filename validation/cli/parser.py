"""Options of ``python -m validation``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ga import __version__
from ga.cli.help import Parser, finish
from ga.environment import command_name
from validation.error_rates import command as error_rates
from validation.evidence.identity import MAX_AGE_DAYS
from validation.exit_policy import POLICIES, Policy
from validation.extension import NODES
from validation.mutation.runner import CERTIFICATES
from validation.run_folder import OUT
from validation.soak import options as soak

RUNS: Final = OUT

Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command with this name, help text and description."""


_EXAMPLES: Final = {
    "gate": (
        "gate reports/out/20260101-120000",
        "gate --json evidence.jsonl",
        "gate reports/out/20260101-120000 --verify key.pub",
    ),
    "status": ("status", "status reports/out/20260101-120000 soak", "status --json"),
    "criteria": ("criteria --json",),
    "soak": ("soak --hours 48 --out soak",),
    "report": ("report --out page evidence.jsonl",),
    "baseline": ("baseline reports/out/20260101-120000 --out docs",),
    "index": ("index reports/out",),
    "diff": ("diff before.jsonl after.jsonl",),
    "certify": ("certify speedup --time-budget 30",),
    "own": ("own docs/examples/squares.py --nodes 2",),
    "schedule": ("schedule --nodes 3 --replay 7",),
    "error-rates": ("error-rates --seed 1 --healthy 30 --defects 60",),
}


def make_parser() -> argparse.ArgumentParser:
    """Options of every command."""
    parser = Parser(
        prog=command_name("validation", "evolution-gate"),
        description="Judge recorded evidence: GO, NO-GO, INCONCLUSIVE.",
    )
    parser.add_argument("--version", action="version", version=f"evolution-gate {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=description)

    gate = _add_gate(add)
    status = _add_status(add)
    criteria = add(
        "criteria",
        "list every criterion",
        "List every criterion with its identifier, its statement and its target.",
    )
    criteria.add_argument("--json", action="store_true", help="a list of objects on stdout")
    soak.register(
        add(
            "soak",
            "gather evidence for hours or days",
            "Run evolutions on a cluster for hours or days, watch it, and judge the evidence.",
        )
    )
    report = _add_report(add)
    _add_baseline(add)
    _add_comparisons(add)
    certifying = _add_certify(add)
    started = _add_starters(add)
    error_rates.register(
        add(
            "error-rates",
            "measure how often the gate errs on simulated campaigns",
            "Judge simulated campaigns with and without a defect, and print how often the gate"
            " errs; exits 1 if it erred.",
        )
    )
    for command in (*started, certifying):
        _add_stack(command)
    for command in (gate, status, criteria, report, certifying):
        _add_with(command)
    for command in (gate, status, report, certifying):
        _add_certificates(command)
    for command in (gate, status, report):
        _add_thresholds(command)
        _add_max_age(command)
        _add_campaigns(command)
        _add_signature(command, signs=command is gate)
    finish(parser, installed="evolution-gate", examples=_EXAMPLES)
    return parser


def _add_gate(add: Add) -> argparse.ArgumentParser:
    gate = add(
        "gate",
        "decide from evidence files: GO, NO-GO or INCONCLUSIVE",
        "Judge every criterion on evidence files and decide; exits 0 for GO, 1 for NO-GO, 2 for"
        " INCONCLUSIVE or unusable evidence.",
    )
    gate.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=Path,
        help="evidence file, or the folder of a run or a soak",
    )
    gate.add_argument("--json", action="store_true", help="one object on stdout")
    gate.add_argument(
        "--gate",
        choices=POLICIES,
        default=Policy.PHASE2.value,
        help="pull-request: exit 1 NO-GO, else 0, with a warning unless it is GO",
    )
    return gate


def _add_status(add: Add) -> argparse.ArgumentParser:
    status = add(
        "status",
        "list what is still open for GO, and the commands that close it",
        "List the criteria that are still open for GO and the commands that close them; exits like"
        " `gate`.",
    )
    status.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        type=Path,
        help=f"as for `gate` (default: the finished runs in {RUNS} on the system of the last one)",
    )
    status.add_argument("--json", action="store_true", help="one object on stdout")
    return status


def _add_report(add: Add) -> argparse.ArgumentParser:
    report = add(
        "report",
        "write report.html, junit.xml and summary.md",
        "Judge evidence files and write report.html, junit.xml and summary.md; exits like `gate`.",
    )
    report.add_argument("files", nargs="+", metavar="FILE", type=Path, help="as for `gate`")
    report.add_argument("--out", required=True, metavar="DIR", type=Path, help="where they go")
    report.add_argument(
        "--runs",
        metavar="DIR",
        type=Path,
        help="folder of all runs: adds their trend, lists them (default: neither)",
    )
    return report


def _add_baseline(add: Add) -> None:
    baseline = add(
        "baseline",
        "write the performance baseline: baseline.md and baseline.json",
        "Write the performance that evidence files show to baseline.md and baseline.json.",
    )
    baseline.add_argument("files", nargs="+", metavar="FILE", type=Path, help="as for `gate`")
    baseline.add_argument("--out", required=True, metavar="DIR", type=Path, help="where they go")


def _add_comparisons(add: Add) -> None:
    """Commands that compare runs."""
    index = add(
        "index",
        "write the page that lists and compares all runs",
        "Write index.html, the page that lists and compares all runs of a folder.",
    )
    index.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        type=Path,
        default=RUNS,
        help=f"folder of the runs (default: {RUNS})",
    )
    diff = add(
        "diff",
        "list what changed between two decisions",
        "List what changed between the decisions on two sets of evidence; exits 1 if a verdict or"
        " the decision changed.",
    )
    diff.add_argument(
        "before", type=_files, metavar="BEFORE", help="earlier evidence: FILE[,FILE...]"
    )
    diff.add_argument("after", type=_files, metavar="AFTER", help="later evidence: FILE[,FILE...]")
    diff.add_argument("--json", action="store_true", help="a list of objects on stdout")


def _add_certify(add: Add) -> argparse.ArgumentParser:
    certifying = add(
        "certify",
        "plant defects on a real stack and check that the gate notices them",
        "Plant defects on a real stack, with --with only those of the custom criteria, and check"
        " that the gate notices each; exits 1 if it missed one, or failed the healthy stack.",
    )
    certifying.add_argument(
        "criteria", nargs="*", metavar="CRITERION", help="only these criteria (default: all)"
    )
    certifying.add_argument(
        "--force", action="store_true", help="run again what has a valid certificate"
    )
    certifying.add_argument("--shard", metavar="I/N", help="run shard I of N (default: all)")
    certifying.add_argument(
        "--time-budget",
        metavar="MINUTES",
        type=float,
        default=math.inf,
        help="start no new trial after that many minutes; the next certification goes on there"
        " (default: no limit)",
    )
    # Names of version 0.1.
    for name, old, kind in (
        ("force", "--anew", {"action": "store_true"}),
        ("shard", "--part", {}),
        ("time_budget", "--minutes", {"type": float}),
    ):
        certifying.add_argument(
            old, dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kind
        )
    certifying.add_argument("--json", action="store_true", help="a list of objects on stdout")
    return certifying


def _add_starters(add: Add) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Commands that start a stack for one purpose."""
    own = add(
        "own",
        "start a stack for a custom criteria file, and judge it",
        "Start a stack, run the stages of a custom criteria file on it, and judge its criteria;"
        " exits like `gate`.",
    )
    own.add_argument(
        "file", metavar="FILE", help="sets PLUGIN, see docs/extending.md; or an entry point's name"
    )
    schedule = add(
        "schedule",
        "run an evolution under faults that a seed draws; --replay repeats them",
        "Run an evolution under faults that a seed draws, and judge data loss, reproducibility and"
        " container stability; exits like `gate`.",
    )
    for command, nodes in ((own, NODES), (schedule, 3)):
        command.add_argument(
            "--nodes", type=int, default=nodes, help=f"Ray worker nodes (default: {nodes})"
        )
        command.add_argument(
            "--seed",
            "--replay",
            dest="seed",
            type=int,
            help="fixes what is drawn by chance (default: a random one, which is printed)",
        )
        command.add_argument(
            "--out",
            metavar="DIR",
            type=Path,
            help=f"folder of the evidence (default: {RUNS}/own-NAME-TIME)",
        )
        command.add_argument("--json", action="store_true", help="one object on stdout")
    return own, schedule


def _add_stack(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--stack",
        choices=["auto", "processes", "containers"],
        default="processes",
        help="what nodes are; auto: containers where there is an engine with the images",
    )


def _add_with(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--with",
        action="append",
        default=[],
        dest="plugins",
        metavar="FILE",
        help="custom criteria next to the built-in ones: a file, or the name of an installed"
        " entry point; may be repeated (default: built-in ones only)",
    )


def _add_certificates(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--certificates",
        default=CERTIFICATES,
        type=Path,
        help=f"what `certify` found (default: {CERTIFICATES})",
    )


def _add_thresholds(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--thresholds",
        metavar="FILE",
        type=Path,
        help="hold the criteria to the targets of this TOML file, see docs/verdicts.md; every"
        " output names each difference from the plan (default: the plan's targets)",
    )


def _add_max_age(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-age",
        default=MAX_AGE_DAYS,
        metavar="DAYS",
        type=float,
        help=f"older evidence allows no GO (default: {MAX_AGE_DAYS:g})",
    )


def _add_campaigns(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--campaigns",
        action="append",
        default=[],
        metavar="FILE",
        type=Path,
        help="a further log of runs, which shows which ones were left out; may be repeated"
        f" (default: those next to the evidence and in {RUNS}, which are always read)",
    )


def _add_signature(command: argparse.ArgumentParser, *, signs: bool) -> None:
    one = command.add_mutually_exclusive_group()
    if signs:
        one.add_argument(
            "--sign",
            metavar="KEY",
            type=Path,
            help="sign the decision with this private Ed25519 key, a PEM file that only you can"
            " read; the variable GA_SIGN_PASSWORD holds its password (default: not signed)",
        )
    one.add_argument(
        "--verify",
        metavar="PUBLIC_KEY",
        type=Path,
        help="decide nothing (exit status 3) unless the decision is signed with the key of this PEM"
        " file, over these very files (default: a signature is shown but not checked)",
    )
    command.add_argument(
        "--attestation",
        metavar="FILE",
        type=Path,
        help="where the signature is (default: attestation.json in the folder of the run)",
    )


def _files(text: str) -> list[Path]:
    return [Path(part) for part in text.split(",")]

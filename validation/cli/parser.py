"""Options of ``python -m validation``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final

from ga import __version__
from ga.cli.help import finish
from ga.environment import command_name
from validation.extension import NODES
from validation.mutation.runner import CERTIFICATES
from validation.run_folder import OUT
from validation.soak import run as soak

RUNS: Final = OUT


_EXAMPLES: Final = {
    "gate": ("gate reports/out/20260101-120000", "gate --json evidence.jsonl"),
    "criteria": ("criteria --json",),
    "soak": ("soak --hours 48 --out soak",),
    "report": ("report --out page evidence.jsonl",),
    "diff": ("diff before.jsonl after.jsonl",),
    "certify": ("certify speedup --time-budget 30",),
    "own": ("own docs/examples/squares.py --nodes 2",),
    "schedule": ("schedule --nodes 3 --replay 7",),
}


def make_parser() -> argparse.ArgumentParser:
    """Options of every command."""
    parser = argparse.ArgumentParser(
        prog=command_name("validation", "evolution-gate"),
        description="Judge recorded evidence: GO, NO-GO, INCONCLUSIVE.",
    )
    parser.add_argument("--version", action="version", version=f"evolution-gate {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    gate = commands.add_parser("gate", help="decide from evidence files; exits 0 GO, 1 NO-GO, 2")
    gate.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        type=Path,
        help="evidence file, or the folder of a run or a soak",
    )
    gate.add_argument("--json", action="store_true", help="one object on stdout")
    criteria = commands.add_parser("criteria", help="list every criterion")
    criteria.add_argument("--json", action="store_true", help="a list of objects on stdout")
    soak.register(commands.add_parser("soak", help="gather evidence for hours or days"))
    report = commands.add_parser("report", help="write report.html, junit.xml and summary.md anew")
    report.add_argument("files", nargs="+", metavar="FILE", type=Path, help="as for `gate`")
    report.add_argument("--out", required=True, metavar="DIR", type=Path, help="where they go")
    report.add_argument(
        "--runs", metavar="DIR", type=Path, help="folder of all runs: adds their trend, lists them"
    )
    index = commands.add_parser("index", help="write the page that lists and compares all runs")
    index.add_argument(
        "folder", nargs="?", metavar="DIR", type=Path, default=RUNS, help=f"(default: {RUNS})"
    )
    diff = commands.add_parser("diff", help="what changed between two gates; exits 1 if a verdict")
    diff.add_argument("before", type=_files, metavar="BEFORE", help="FILE[,FILE...]")
    diff.add_argument("after", type=_files, metavar="AFTER", help="FILE[,FILE...]")
    diff.add_argument("--json", action="store_true", help="a list of objects on stdout")
    certifying = commands.add_parser(
        "certify", help="plant defects on a real stack and see whether the gate notices"
    )
    certifying.add_argument("criteria", nargs="*", metavar="CRITERION", help="only these")
    certifying.add_argument(
        "--force", action="store_true", help="run again what has a valid certificate"
    )
    certifying.add_argument("--shard", metavar="I/N", help="run shard I of N")
    certifying.add_argument(
        "--time-budget",
        metavar="MINUTES",
        type=float,
        default=math.inf,
        help="start no new trial after that many minutes; the next certification goes on there",
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
    own = commands.add_parser("own", help="start a stack for a custom criteria file, and judge it")
    own.add_argument(
        "file", metavar="FILE", help="sets PLUGIN, see docs/extending.md; or an entry point's name"
    )
    schedule = commands.add_parser(
        "schedule", help="an evolution under faults that a seed draws; --replay repeats them"
    )
    for command, nodes in ((own, NODES), (schedule, 3)):
        command.add_argument("--nodes", type=int, default=nodes, help=f"(default: {nodes})")
        command.add_argument(
            "--seed", "--replay", dest="seed", type=int, help="fixes what is drawn by chance"
        )
        command.add_argument("--out", metavar="DIR", type=Path, help=f"(default: {RUNS}/...)")
        command.add_argument("--json", action="store_true", help="one object on stdout")
    for command in (own, schedule, certifying):
        command.add_argument(
            "--stack",
            choices=["auto", "processes", "containers"],
            default="processes",
            help="what nodes are; auto: containers where there is an engine with the images",
        )
    for command in (gate, criteria, report, certifying):
        command.add_argument(
            "--with",
            action="append",
            default=[],
            metavar="FILE",
            help="custom criteria next to the built-in ones: a file, or the name of an installed"
            " entry point; may be repeated",
        )
    for command in (gate, report, certifying):
        command.add_argument(
            "--certificates",
            default=CERTIFICATES,
            type=Path,
            help=f"what `certify` found (default: {CERTIFICATES})",
        )
    finish(parser, installed="evolution-gate", examples=_EXAMPLES)
    return parser


def _files(text: str) -> list[Path]:
    return [Path(part) for part in text.split(",")]

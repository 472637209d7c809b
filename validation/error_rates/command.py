"""``python -m validation error-rates``: the table of the gate's error rates."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from ga.errors import InputError
from validation.criteria.registry import CRITERIA
from validation.error_rates.measure import LEAST, Rates, bound, measure, reason, rows, try_healthy

_COLUMNS: Final = (
    *("criterion", "defects", "noticed", "false FAIL"),
    *("INCONCLUSIVE, quiet", "INCONCLUSIVE, busy"),
)

_MOST: Final = {
    "seed": 2**31,
    "healthy": 100_000,
    "defects": 100_000,
    "replay": 10**9,
    "replay_healthy": 10**9,
}
"""Largest values of the options."""


def register(command: argparse.ArgumentParser) -> None:
    """Add the options."""
    command.add_argument("--seed", type=int, default=1, help="fixes every trial (default: 1)")
    for name, what in (("healthy", "healthy campaigns"), ("defects", "planted defects")):
        command.add_argument(
            f"--{name}",
            type=int,
            default=LEAST,
            metavar="N",
            help=f"{what} to try (default: {LEAST})",
        )
    command.add_argument(
        "--replay",
        type=int,
        metavar="NUMBER",
        help="only this defect, with the gate's reasons (default: all)",
    )
    command.add_argument(
        "--replay-healthy",
        type=int,
        metavar="NUMBER",
        help="only this healthy campaign (default: all)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the table, or one trial. Returns 1 if an error of the gate was found, else 0.

    Raises:
        InputError: a number is out of range.
    """
    for name, most in _MOST.items():
        value = getattr(options, name)
        if value is not None and not 0 <= value <= most:
            option = name.replace("_", "-")
            raise InputError(f"--{option} must be 0 to {most}, not {str(value)[:20]}")
    if options.replay is not None:
        print(reason(options.seed, options.replay))
        return 0
    if options.replay_healthy is not None:
        one = try_healthy(options.seed, options.replay_healthy)
        print(
            f"{one.words}: {one.decision.value}; FAIL: {_list(one.failed)}; open: {_list(one.open)}"
        )
        return 0
    rates = measure(
        options.seed,
        options.healthy,
        options.defects,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(table(rates))
    return 1 if rates.missed or rates.false_alarms else 0


def table(rates: Rates) -> str:
    """The rates as Markdown, with a command that repeats each error."""
    lines = [
        "| " + " | ".join(_COLUMNS) + " |",
        "| --- |" + " ---: |" * (len(_COLUMNS) - 1),
    ]
    for row in rows(rates):
        cells = [*row, *[""] * (len(_COLUMNS) - len(row))]
        lines.append("| " + " | ".join(cells) + " |")
    planted, healthy = len(rates.planted), len(rates.healthy)
    again = f"python -m validation error-rates --seed {rates.seed}"
    lines += [
        "",
        f"All campaigns are SIMULATED. Seed {rates.seed}.",
        f"False GO: {len(rates.false_go)} of {planted}, at most"
        f" {bound(len(rates.false_go), planted):.2%} at the 95 % bound.",
        f"Defects that their criterion passed: {len(rates.missed)} of {planted}, at most"
        f" {bound(len(rates.missed), planted):.2%}.",
        f"False NO-GO: {len(rates.false_alarms)} of {healthy}, at most"
        f" {bound(len(rates.false_alarms), healthy):.2%}.",
        f"INCONCLUSIVE next to a busy core: {rates.open_share:.1%} of {len(CRITERIA)} criteria, in"
        f" {sum(one.busy for one in rates.healthy)} campaigns.",
        *(
            f"missed: {one.criterion}: {one.name}: {again} --replay {one.number}"
            for one in rates.missed
        ),
        *(
            f"false NO-GO: {_list(one.failed)}: {again} --replay-healthy {one.number}"
            for one in rates.false_alarms
        ),
    ]
    return "\n".join(lines)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"

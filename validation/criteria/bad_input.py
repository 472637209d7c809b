"""Bad input is refused with a clear error, and nothing is written."""

from __future__ import annotations

from typing import Final

from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.evidence.records_ledger import Refusal
from validation.limits import BAD_INPUTS
from validation.mutation.patches import patch
from validation.verdict import (
    Records,
    Status,
    Verdict,
    format_list,
    inconclusive,
    plural,
)


def bad_input(records: Records) -> Verdict:
    """Every kind of bad input ends with status 2 and one line that names what is at fault, and
    changes nothing in the ledger.
    """
    wrong: list[str] = []
    tried: set[str] = set()
    for record in records:
        for refusal in record.all(Refusal):
            tried.add(refusal.input)
            wrong += [f"{refusal.input}: {what}" for what in _unclear(refusal)]
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=format_list(wrong)
        )
    missing = sorted(BAD_INPUTS - tried)
    measured = f"{len(tried)} of {len(tried | BAD_INPUTS)} refused"
    if missing:
        return inconclusive(
            f"not tried: {format_list(missing)}", needs="every kind of bad input", measured=measured
        )
    return Verdict(
        status=Status.PASS,
        measured=measured,
        reason="status 2, one line that names what is at fault, and the ledger as before",
    )


def _unclear(refusal: Refusal) -> list[str]:
    found = []
    if refusal.exit_code != 2:
        found.append(f"exit status {refusal.exit_code}, not 2")
    if len(refusal.message.splitlines()) != 1:
        found.append(f"{len(refusal.message.splitlines())} lines of message, not one")
    elif not refusal.must_name or refusal.must_name.lower() not in refusal.message.lower():
        found.append(f"the message does not name {refusal.must_name!r}")
    if refusal.ledger_changed:
        found.append("the ledger was changed")
    return found


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="bad_input",
            statement="Bad input is refused with a clear error, and nothing is written",
            target="every bad input refused",
            clause='Pre-Deployment Checklist: "Environment variables properly configured"',
            evidence_needed="exit status, message and ledger after each of 16 kinds of bad input",
            passes=(
                "each of 16 kinds ends with exit status 2 and one line that names the fault, and "
                "leaves the ledger as it was"
            ),
            fails="one kind did not",
            measures=(
                "exit status, standard error and the content of the ledger after each kind of "
                "bad input, given to the engine's command line"
            ),
            clock="none: nothing is timed",
            limits="kinds of bad input that are not among the 16, and the service's interface",
            verdict=bad_input,
            position=240,
        ),
    ),
    mutants=(
        Mutant(
            name="swallowed bad input",
            criterion="bad_input",
            stages=("bad input",),
            patches=patch(
                "ga/evolution.py",
                "        if not 1 <= self.generations <= 1_000_000:",
                "        if self.generations > 1_000_000:",
            ),
        ),
    ),
)

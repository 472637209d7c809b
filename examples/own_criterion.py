"""A custom criterion, judged on stored evidence.

    python examples/own_criterion.py

The gate loads the same file as a plug-in: ``python -m validation gate --with
examples/own_criterion.py examples/evidence.jsonl``. docs/extending.md has a longer example, with
a fault, a record and mutants.
"""

from __future__ import annotations

from pathlib import Path

from validation import statistics
from validation.contract import Criterion, CriterionPlugin
from validation.decision import decide
from validation.evidence.log import read_evidence
from validation.evidence.records_ledger import Generation
from validation.verdict import InconclusiveError, Records, Status, Verdict

EVIDENCE = Path(__file__).with_name("evidence.jsonl")
MOST = 0.01


def few_failures(records: Records) -> Verdict:
    """Pure: the same evidence always gives the same verdict."""
    rows = [row for record in records for row in record.all(Generation)]
    total, failed = sum(row.individuals for row in rows), sum(row.failed for row in rows)
    if not total:
        raise InconclusiveError("the evidence has no generation", needs="one evolution")
    rate = statistics.proportion(failed, total)
    bounds = (100 * rate.lower, 100 * rate.upper)
    measured = f"{failed} of {total:,} failed"
    if rate.upper <= MOST:
        reason = f"the upper bound is {bounds[1]:.2f} %"
        return Verdict(status=Status.PASS, measured=measured, interval=bounds, reason=reason)
    if rate.lower > MOST:
        reason = f"the lower bound is {bounds[0]:.2f} %"
        return Verdict(status=Status.FAIL, measured=measured, interval=bounds, reason=reason)
    raise InconclusiveError("the target is between the bounds", needs="more generations")


CRITERION = Criterion(id="few_failures", statement="Few evaluations fail", target="at most 1 %",
                      unit="%", clause="our own", evidence_needed="one evolution",
                      verdict=few_failures)  # fmt: skip
# No stage: every campaign writes generations.
PLUGIN = CriterionPlugin(criteria=(CRITERION,))

if __name__ == "__main__":
    verdict = decide([read_evidence(EVIDENCE)], criteria=PLUGIN.criteria).verdict(CRITERION.id)
    print(f"{CRITERION.id}: {verdict.status.value}, {verdict.measured}; {verdict.reason}")

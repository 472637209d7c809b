"""Judge a stored evidence file: print the decision, and the reason of each verdict.

    python examples/judge_evidence.py [FILE...]

The same decision as a table: ``python -m validation gate examples/evidence.jsonl``. Without
certificates the gate never says GO, whatever the verdicts are.
"""

from __future__ import annotations

import sys
from pathlib import Path

from validation.decision import decide
from validation.evidence.errors import EvidenceError
from validation.evidence.log import read_evidence
from validation.verdict import Status

EVIDENCE = Path(__file__).with_name("evidence.jsonl")


def main() -> int:
    """Judge the named evidence, or the stored example."""
    files = [Path(name) for name in sys.argv[1:]] or [EVIDENCE]
    try:
        result = decide([read_evidence(file) for file in files])
    except EvidenceError as error:
        # The file was cut or edited: its chain of hashes does not fit.
        print(f"refused: {error}")
        return 2
    for status in Status:
        print(f"{status.value}: {result.count(status)} criteria")
        for criterion in result.criteria:
            verdict = result.verdict(criterion.id)
            if verdict.status is status:
                measured = f" measured {verdict.measured};" if verdict.measured else ""
                print(f"  {criterion.id}: target {criterion.target};{measured} {verdict.reason}")
                if verdict.needs:
                    print(f"    needs {verdict.needs}")
    print(f"decision: {result.decision.value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

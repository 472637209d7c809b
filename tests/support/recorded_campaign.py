"""pytest plug-in: a campaign only writes recorded evidence, chosen by a variable."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tests.support.ci_examples import CAMPAIGN, PRICED, recorded
from tests.support.evidence_builders import write
from validation.campaigns import run
from validation.campaigns.run import Gathered, Options, Step
from validation.evidence.log import FILE


def _run_campaign(_target: object, _steps: Sequence[Step], options: Options) -> Gathered:
    events, began = recorded(os.environ[CAMPAIGN], os.environ[PRICED])
    file = write(options.folder / FILE, events, run=options.run, began=began)
    return Gathered(evidence=file, secrets={})


def pytest_configure() -> None:
    """Replace the campaign in this process."""
    run.run_campaign = _run_campaign

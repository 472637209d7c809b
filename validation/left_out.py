"""Which runs of the same system were left out of a pool, and what follows from it.

- A run that was left out and failed a criterion leaves no PASS of it: the criterion is
  INCONCLUSIVE until that run is judged, too.
- A run that has no end counts with what it recorded until then: a FAIL in it counts, and nothing
  else. If its evidence cannot be read, there is no GO.
- A run that is judged must be in a campaign log, with the digest of its evidence. Otherwise it is
  not known what was left out, and there is no GO.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from validation.campaigns.log import Campaign, CampaignLog
from validation.evidence.errors import EvidenceError
from validation.evidence.identity import DAY_S, difference, identity
from validation.evidence.log import FILE, Evidence, read_evidence
from validation.run_folder import stamp
from validation.soak.segments import read_soak
from validation.verdict import Status, Verdict, format_list, inconclusive

FailedCriteria = Callable[[Evidence], Sequence[str]]
"""Ids of the criteria that fail on the evidence of one run alone."""
_NEEDS: Final = "the runs that were left out: name them, too"


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """One run of the same system that is not judged."""

    run: str
    begun_at: float
    """Unix seconds."""
    status: str
    """How it ended: ``finished``, ``failed``, ``stopped``, or ``abandoned``."""
    failed: tuple[str, ...]
    """Criteria that failed in it."""
    why: str
    """What is wrong with it besides; empty: nothing."""
    unknown: bool
    """It has evidence, which cannot be read."""

    @property
    def text(self) -> str:
        """It in words, in one line."""
        words = f"run {self.run} of {stamp(self.begun_at)}, {self.status}"
        words += f", FAIL of {', '.join(self.failed)}" if self.failed else ", no FAIL"
        return f"{words}; {self.why}" if self.why else words


def read_any(path: Path) -> Evidence:
    """Read a file, a soak's folder, or the folder of a run; it may be open.

    Raises:
        EvidenceError: it is damaged.
        OSError: it cannot be read.
    """
    inside = path / FILE
    if path.is_dir() and not os.path.lexists(inside):
        return read_soak(path)
    return read_evidence(inside if path.is_dir() else path, allow_open=True)


def left_out(
    log: CampaignLog,
    records: Sequence[Evidence],
    *,
    now: float | None,
    days: float,
    failed: FailedCriteria,
    rejudge: bool = False,
) -> tuple[LeftOut, ...]:
    """Runs of the same system that are not judged, the oldest first.

    Args:
        log: All runs.
        records: The runs that are judged.
        now: Unix seconds; older runs than ``days`` before it do not count. None: all count.
        failed: Judges the evidence of a run that has no end.
        rejudge: Judge every run so, because the log holds verdicts by other thresholds.
    """
    system: dict[str, object] = {}
    for record in records:
        system |= identity(record)
    judged = {record.run for record in records}
    return tuple(
        _left_out(campaign, failed, rejudge=rejudge)
        for campaign in log.campaigns
        if campaign.run not in judged
        and difference(campaign.system, system) is None
        and (now is None or now - campaign.begun_at <= days * DAY_S)
    )


def _left_out(campaign: Campaign, failed: FailedCriteria, *, rejudge: bool) -> LeftOut:
    ended = campaign.ended
    found = LeftOut(
        run=campaign.run,
        begun_at=campaign.begun_at,
        status="abandoned" if ended is None else ended.status,
        failed=(),
        why="" if ended is None else ended.reason,
        unknown=False,
    )
    if ended is not None and ended.status == "finished" and not rejudge:
        names = [name for name, status in ended.verdicts.items() if status == Status.FAIL.value]
        return replace(found, failed=tuple(names))
    if not campaign.gathering:
        return replace(found, why=found.why or "it gathered no evidence")
    try:
        if not campaign.evidence.is_file() and not campaign.evidence.is_dir():
            raise EvidenceError(f"{campaign.evidence}: no such file")
        # What it recorded until it was cut counts, and only against the system.
        evidence = replace(read_any(campaign.evidence), closed=True)
    except (EvidenceError, OSError) as error:
        return replace(found, why=f"its evidence cannot be read: {error}", unknown=True)
    return replace(found, failed=tuple(failed(evidence)))


def reservations(
    log: CampaignLog, records: Sequence[Evidence], runs: Sequence[LeftOut]
) -> tuple[str, ...]:
    """Why it is not known what was left out; each of these rules out GO."""
    found = [f"the campaign log is damaged: {problem}" for problem in log.problems]
    found += [
        f"run {one.run} of this system has no end and was left out, and {one.why}"
        for one in runs
        if one.unknown
    ]
    listed = {campaign.run: campaign for campaign in log.campaigns}
    for record in records:
        campaign = listed.get(record.run)
        if campaign is None:
            found.append(
                f"no campaign log lists run {record.run}, so it is not known which runs were"
                " left out; name its log with --campaigns"
            )
        elif campaign.ended is not None and campaign.ended.sha256 not in ("", record.sha256):
            found.append(f"the campaign log has another digest of the evidence of run {record.run}")
    return tuple(found)


def open_if_left_out(
    verdicts: Mapping[str, Verdict], runs: Sequence[LeftOut]
) -> dict[str, Verdict]:
    """The verdicts, without a PASS of what failed in a run that was left out."""
    found = dict(verdicts)
    for name, verdict in verdicts.items():
        against = [one.run for one in runs if name in one.failed]
        if against and verdict.status is Status.PASS:
            found[name] = inconclusive(
                f"it failed in {format_list(against)}, of the same system, which was left out",
                needs=_NEEDS,
                measured=verdict.measured,
                interval=verdict.interval,
                budget=verdict.budget,
            )
    return found

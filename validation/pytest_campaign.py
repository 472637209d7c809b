"""The campaign of ``pytest -m validation``: attempts, verdicts, pages and signature."""

from __future__ import annotations

import math
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from evolution_gate.fixtures.backends.attached_node import NOT_OURS
from ga.errors import InputError
from validation.campaigns import run as campaigns
from validation.campaigns.attempts import most_attempts, repeat, write_attempts
from validation.campaigns.lists import ATTACHED, FULL
from validation.campaigns.log import FILE as LOG
from validation.campaigns.log import end_judged, logged
from validation.campaigns.run import Options, Step
from validation.campaigns.selection import require_known, with_custom, within
from validation.contract import CriterionPlugin
from validation.evidence.identity import facts_of
from validation.evidence.log import FILE, Evidence, read_evidence
from validation.exit_policy import PULL_REQUEST_MINUTES, Policy
from validation.extension import all_criteria
from validation.judging import Judged, decide_apart, decide_files
from validation.mutation.runner import CERTIFICATES
from validation.plugin_loading import load
from validation.pytest_options import WORKLOAD, target_from
from validation.reporting import Reporter, reporters
from validation.run_folder import OUT, stamp
from validation.signing.attestation import FILE as ENVELOPE
from validation.signing.attestation import read_again, sign, signed_by
from validation.stages.environment import environment
from validation.stages.evolve_process import refusal_of
from validation.stages.exposure import withdraw
from validation.stages.scale import FULL as FULL_SCALE
from validation.stages.scale import SHORT, Scale
from validation.targets import AttachedCluster, Target
from validation.thresholds import read_targets

if TYPE_CHECKING:
    from validation.signing.keys import PrivateKey

_LOG: Final = OUT / LOG


def run_attempts(
    config: pytest.Config, signer: PrivateKey | None, say: Callable[[str], None]
) -> Path:
    """Run the campaign, and again what came out INCONCLUSIVE, as far as the options allow; write
    the report on all attempts. Returns the folder of the last one, which has the report.

    Raises:
        InputError: an option cannot be used.
        StackError: the stack cannot be started, or the cluster of ``--address`` is not reachable.
        CampaignAbortedError: it failed later.
    """
    campaign = _Campaign.of(config, say)
    first_budget_s = math.inf
    # Checked before minutes of work, not at their end.
    writing = list(reporters())
    budget, attempts = config.getoption("--time-budget"), config.getoption("--attempts")
    began = time.monotonic()
    if config.getoption("--gate") == Policy.PULL_REQUEST:
        budget = PULL_REQUEST_MINUTES if budget is None else budget
        first_budget_s = 60 * budget
        attempts = 1 if attempts is None else attempts
    most = most_attempts(attempts, budget)
    first = campaign.run(1, campaign.only, campaign.first_steps(first_budget_s))
    folders: tuple[Path, ...] = (first,)
    if most > 1:
        folders = repeat(
            first,
            steps=campaign.steps,
            only=campaign.only,
            most=most,
            budget_s=math.inf if budget is None else 60 * budget,
            judge=lambda runs: judged_runs(config, runs).result,
            run=campaign.run,
            say=say,
            spent_s=time.monotonic() - began,
        )
        write_attempts(folders)
    judged, folder = judged_runs(config, folders), folders[-1]
    if signer is not None:
        judged = signed_by(signer, judged)
    evidence = [read_evidence(one / FILE) for one in folders]
    pages = _pages(writing, judged, evidence, folder, campaign.secrets)
    if signer is not None:
        # The log has the run's end by now.
        judged = replace(judged, logs=read_again(judged.logs))
        say(f"signed by {signer.public.id}: {sign(judged, signer, folder / ENVELOPE, pages=pages)}")
    return folder


@dataclass(kw_only=True)
class _Campaign:
    """What the options select."""

    config: pytest.Config
    target: Target
    seed: int
    steps: tuple[Step, ...]
    """The whole campaign on this target."""
    only: tuple[str, ...]
    """Criteria of ``--only``."""
    plugins: tuple[CriterionPlugin, ...]
    scale: Scale
    say: Callable[[str], None]
    secrets: dict[str, str]
    """Name -> value of secrets that no page may contain."""

    @classmethod
    def of(cls, config: pytest.Config, say: Callable[[str], None]) -> _Campaign:
        seed = config.getoption("--replay")
        if seed is None:
            seed = config.getoption("--seed")
        target = target_from(config, say)
        ours = not isinstance(target, AttachedCluster)
        plugins = tuple(load(named) for named in config.getoption("own_files"))
        criteria, only = all_criteria(plugins), tuple(config.getoption("--only"))
        read_targets(config.getoption("--thresholds"), criteria)
        require_known(only, criteria)
        if not ours:
            say(f"{NOT_OURS}: criteria that need faults are INCONCLUSIVE")
        return cls(
            config=config,
            target=target,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            steps=FULL if ours else ATTACHED,
            only=only,
            plugins=plugins,
            scale=_scale(config, say),
            say=say,
            secrets={},
        )

    def first_steps(self, budget_s: float) -> Sequence[Step]:
        """The steps of the first attempt; those that do not fit into the budget are named.

        Raises:
            InputError: the target has no stage for the named criteria, or nothing fits.
        """
        planned: Sequence[Step] = self.steps
        if self.only:
            planned = with_custom(self.only, self.steps, self.plugins)
            if not planned:
                raise InputError(f"--only {self.only[0]}: {self.target.name} has no stage for it")
        found = within(planned, budget_s)
        kept = {step.stage for step in found}
        if out := [step.stage for step in planned if step.stage not in kept]:
            self.say(f"left out for the time budget: {', '.join(out)}")
        return found

    def run(self, number: int, only: Sequence[str], steps: Sequence[Step]) -> Path:
        """Make one attempt, and write its end into the campaign log; returns its folder.

        Args:
            number: 1 for the first attempt. Each has a seed of its own.
            only: Criteria that it is for; empty: all.
            steps: What is run.
        """
        seed, config = self.seed + number - 1, self.config
        run = f"{stamp()}-{seed}"
        folder, replay = OUT / run, self._replay(seed, only)
        notes = [f"{NOT_OURS}: no fault is injected, nothing is stopped"]
        notes = notes if isinstance(self.target, AttachedCluster) else []
        facts = facts_of(environment())
        with logged(_LOG, run, evidence=folder / FILE, command=replay, system=facts):
            gathered = campaigns.run_campaign(
                self.target,
                steps,
                Options(
                    seed=seed,
                    run=run,
                    folder=folder,
                    scale=self.scale,
                    replay=replay,
                    say=self.say,
                    plugins=self.plugins,
                    keep_files=config.getoption("--keep-files"),
                    notes=(*notes, *([f"only for {', '.join(only)}"] if only else [])),
                    log=_LOG,
                ),
            )
            # The log is read by every later decision, so it holds verdicts by the plan.
            judged = judged_runs(config, [folder], by_plan=True)
        end_judged(_LOG, judged.result)
        self.secrets |= gathered.secrets
        return folder

    def _replay(self, seed: int, only: Sequence[str]) -> str:
        """The command that repeats one attempt."""
        thresholds = self.config.getoption("--thresholds")
        words = [f"pytest -m validation {self.target.option} --replay {seed}"]
        words += ["--short"] if self.config.getoption("--short") else []
        for option in WORKLOAD:
            value = self.config.getoption(option)
            words += [] if value is None else [f"{option} {shlex.quote(str(value))}"]
        words += [f"--with {plugin.argument}" for plugin in self.plugins]
        words += [f"--thresholds {shlex.quote(str(thresholds))}"] if thresholds else []
        return " ".join([*words, *(f"--only {name}" for name in only)])


def _scale(config: pytest.Config, say: Callable[[str], None]) -> Scale:
    """How much evidence is gathered, and with which workload.

    Raises:
        InputError: the workload cannot be evolved.
    """
    scale = SHORT if config.getoption("--short") else FULL_SCALE
    market, families, size, generations = (config.getoption(name) for name in WORKLOAD)
    if (market, families, size, generations) == (None,) * 4:
        return scale
    for name in WORKLOAD[2:]:
        if (number := config.getoption(name)) is not None and number < 1:
            raise InputError(f"{name} {number}: it must be 1 or more")
    if market is not None and Path(market).exists():
        if Path.cwd() not in Path(market).resolve().parents:
            raise InputError(
                f"--market {market}: nodes see the current folder only; copy the file into it"
            )
        market = str(Path(market).resolve())
    try:
        chosen = scale.chosen(
            market=market, families=families, population_size=size, generations=generations
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    say("two individuals of the chosen workload, to see whether it can be evolved")
    if why := refusal_of(chosen.market, chosen.families):
        raise InputError(f"the chosen workload cannot be evolved: {why}")
    return chosen


def judged_runs(config: pytest.Config, folders: Sequence[Path], *, by_plan: bool = False) -> Judged:
    """The decision on some runs together.

    With custom criteria a new process decides: this one runs their stages, so it holds foreign
    code.

    Args:
        config: Holds the options.
        folders: The runs.
        by_plan: Judge by the plan's targets, whatever ``--thresholds`` says.
    """
    named = config.getoption("own_files")
    file = None if by_plan else config.getoption("--thresholds")
    if named:
        return decide_apart(folders, certificates=CERTIFICATES, named=named, thresholds=file)
    return decide_files(folders, certificates=CERTIFICATES, thresholds=file)


def _pages(
    writing: Sequence[Reporter],
    judged: Judged,
    evidence: Sequence[Evidence],
    folder: Path,
    secrets: Mapping[str, str],
) -> list[Path]:
    """Write the report, and remove what holds a secret."""
    pages = [
        Path(page)
        for reporter in writing
        for page in reporter.write(judged.result, evidence, folder, runs=OUT)
    ]
    if leaked := withdraw(pages, secrets):
        pytest.fail(
            f"pages contained a secret and were removed: {'; '.join(leaked)}", pytrace=False
        )
    return pages

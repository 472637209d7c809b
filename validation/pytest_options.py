"""Options of the pytest plug-in, and the target that they select."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ga.digits import whole
from validation.exit_policy import POLICIES, PULL_REQUEST_MINUTES

if TYPE_CHECKING:
    from validation.campaigns.run import Step
    from validation.targets import Target


WORKLOAD: Final = ("--market", "--families", "--population-size", "--generations")
"""Options that choose what the gate evolves."""


def add_options(parser: pytest.Parser) -> None:
    """Add them to pytest's own."""
    group = parser.getgroup("gate", "the validation gate (pytest -m validation)")
    group.addoption("--stack", choices=["auto", "processes", "containers"], default="auto")
    group.addoption(
        "--seed", type=_seed, help="fixes workloads and faults (default: random, printed)"
    )
    group.addoption("--replay", type=_seed, metavar="SEED", help="repeat the campaign of that seed")
    group.addoption(
        "--gate",
        choices=POLICIES,
        help="phase2: exit with the gate's status, 0 GO, 1 NO-GO, 2 INCONCLUSIVE; pull-request: 1"
        " NO-GO, else 0 with a warning unless it is GO, and the time budget"
        f" (default: {PULL_REQUEST_MINUTES:g}) limits the first attempt, too",
    )
    _add_target(group)
    group.addoption(
        "--with",
        action="append",
        default=[],
        dest="own_files",
        metavar="FILE",
        help="custom criteria next to the built-in ones: a file, or the name of an installed entry"
        " point, see docs/extending.md; may be repeated",
    )
    group.addoption(
        "--keep-files",
        action="store_true",
        help="keep ledgers, backups and their copies in the folder of the run, about 110 MB",
    )
    group.addoption(
        "--sign",
        metavar="KEY",
        type=Path,
        help="sign evidence and decision with this private Ed25519 key, a PEM file that only you"
        " can read; the variable GA_SIGN_PASSWORD holds its password",
    )
    group.addoption(
        "--only",
        action="append",
        default=[],
        metavar="CRITERION",
        help="run only the stages that this criterion needs; may be repeated",
    )
    group.addoption(
        "--attempts",
        type=int,
        metavar="N",
        help="repeat the stages whose criteria came out INCONCLUSIVE, up to N attempts in all; they"
        " are judged together (default: 1, or with --time-budget as many as fit)",
    )
    group.addoption(
        "--time-budget",
        type=float,
        metavar="MINUTES",
        help="begin no further attempt that would end after that many minutes",
    )
    group.addoption(
        "--thresholds",
        metavar="FILE",
        type=Path,
        help="hold the criteria to the targets of this TOML file, see docs/verdicts.md; every"
        " output names each difference from the plan",
    )
    _add_workload(group)
    group.addoption(
        "--short", action="store_true", help="gather less evidence, in about half the time"
    )


def _add_workload(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--market",
        metavar="NAME|PATH",
        help="what the gate evolves on, as `ga evolve --market` reads it; a file must lie below the"
        " current folder (default: eurusd)",
    )
    group.addoption(
        "--families",
        metavar="NAME[,NAME]",
        help="families that the gate evolves, also for the speed-up (default: all; those of each"
        " measurement)",
    )
    group.addoption(
        "--population-size",
        type=int,
        metavar="N",
        help="individuals of the evolution that is broken and repeated (default: 700)",
    )
    group.addoption(
        "--generations", type=int, metavar="N", help="its generations (default: 24, short: 20)"
    )


def _add_target(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--target",
        default="stack",
        metavar="stack|compose[:FILE]|kubernetes[:CONTEXT/NAMESPACE/CLUSTER]",
        help="what is validated: a laboratory stack that the gate starts (--stack), the Compose"
        " project that `ga cluster up` deployed (FILE: another Compose file), or a RayCluster of"
        " KubeRay (an empty part is the kubeconfig's); default: stack",
    )
    group.addoption(
        "--allow-faults",
        metavar="KIND[,KIND]|all|none",
        help="faults that may be injected into a deployed target: kill, kill_worker, pause,"
        " partition, memory, drain, service, head, cluster",
    )
    group.addoption(
        "--confirm",
        metavar="NAME",
        help="name of the deployed target that --allow-faults is meant for",
    )
    group.addoption(
        "--allow-other-jobs",
        action="store_true",
        help="inject faults although Ray jobs of somebody else run on the target",
    )
    group.addoption(
        "--alert-webhook",
        metavar="HOST:PORT",
        help="address of this machine that `ga cluster init --webhook http://HOST:PORT/` named: the"
        " gate receives the alerts of a deployed target there",
    )
    group.addoption(
        "--dry-run",
        action="store_true",
        help="print which faults would be injected, what each affects, and how long it takes",
    )
    group.addoption(
        "--address",
        metavar="HOST:PORT",
        help="address of a Ray cluster that you started: it gets work and is monitored, without"
        " faults; GA_STORE, GA_CACHE_URL and RAY_AUTH_TOKEN_PATH apply, too. With --target"
        " kubernetes: of its head, if its service is not reached",
    )
    group.addoption(
        "--dashboard",
        metavar="URL",
        help="Ray dashboard of the cluster of --address (default: port 8265 on its host)",
    )
    group.addoption(
        "--prometheus",
        metavar="URL",
        help="base URL of the Prometheus server that scrapes the cluster of --address",
    )


def _seed(text: str) -> int:
    seed = whole(text)
    if seed is None or seed >= 2**63:
        raise pytest.UsageError(f"seed must be a whole number 0..2^63-1, not {text[:40]!r}")
    return seed


def target_from(config: pytest.Config, say: Callable[[str], None]) -> Target:
    """The target of the options. With ``--dry-run`` its plan of faults is printed instead.

    Raises:
        StackError: as ``target_of``.
    """
    from validation.campaigns.lists import ATTACHED, FULL
    from validation.campaigns.selection import steps_for
    from validation.safety.plan import fault_plan
    from validation.stages.registry import STAGES
    from validation.targets import AttachedCluster, TargetOptions, target_of

    dry = config.getoption("--dry-run")
    target = target_of(
        TargetOptions(
            target=config.getoption("--target"),
            backend=config.getoption("--stack"),
            address=config.getoption("--address"),
            dashboard=config.getoption("--dashboard"),
            prometheus=config.getoption("--prometheus"),
            allow_faults=config.getoption("--allow-faults"),
            confirm=config.getoption("--confirm"),
            other_jobs=config.getoption("--allow-other-jobs"),
            alert_webhook=config.getoption("--alert-webhook"),
            dry_run=dry,
        )
    )
    if not dry:
        return target
    steps: Sequence[Step] = ATTACHED if isinstance(target, AttachedCluster) else FULL
    if only := config.getoption("--only"):
        steps = steps_for(only, steps)
    names = dict.fromkeys(name for step in steps for name in (step.stage, *step.alongside))
    for line in fault_plan(target, [STAGES[name] for name in names]):
        say(line)
    pytest.exit("dry run: nothing was broken", returncode=pytest.ExitCode.OK)

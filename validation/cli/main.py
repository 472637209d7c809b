"""``python -m validation gate | status | criteria | report | baseline | index | diff | certify |
soak | own | schedule | error-rates``: verdicts from evidence, and whether they can be trusted.

Exit status of ``gate``, ``status``, ``report``, ``own`` and ``schedule``: 0 GO, 1 NO-GO,
2 INCONCLUSIVE (0 with ``gate --gate pull-request``) or unusable evidence, 3 a signature that
``--verify`` refuses, 70 a defect of the gate itself. That of ``soak``: 0 when uptime passes, 1 when
any criterion fails, else 2, also when a signal ended it. That of ``error-rates``: 1 when the gate
erred, else 0. Of any other command that a signal ended: 128 and its number.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system import termination
from ga.errors import InputError
from validation.baseline import baseline, write
from validation.campaigns.fault_schedule import LEAST_NODES, SCHEDULE
from validation.campaigns.log import end_judged, log_of
from validation.certificates import HEALTHY, Certificate, certified, false_alarms
from validation.cli.output import (
    show_certificates,
    show_criteria,
    show_differences,
    show_open,
    show_result,
)
from validation.cli.parser import RUNS, make_parser
from validation.contract import CriterionPlugin
from validation.criteria.registry import CRITERIA
from validation.decision import Decision, GateResult, decide
from validation.decision_json import as_object
from validation.diff import difference
from validation.error_rates import command as error_rates
from validation.evidence.errors import EvidenceError, in_one_line
from validation.evidence.log import FILE, Evidence, pool
from validation.exit_policy import Policy, exit_status, warning
from validation.extension import (
    all_criteria,
    all_mutants,
    certify_plugin,
    evaluate,
    run_plugin,
    valid_certificates,
)
from validation.judging import Judged, decide_files, latest_runs
from validation.left_out import read_any
from validation.mutation.runner import CERTIFICATES, certify
from validation.plugin_loading import load
from validation.plugin_process import describe
from validation.reporting import reporters
from validation.run_folder import stamp
from validation.signing.attestation import (
    VERDICT,
    place_of,
    require_place,
    said,
    sign,
    signed_by,
    verified,
)
from validation.signing.keys import PrivateKey, PublicKey
from validation.signing.state import SignatureError
from validation.soak import read_soak
from validation.soak import run as soak
from validation.soak.background import CONSOLE, in_background
from validation.soak.options import folder_of
from validation.verdict import Status

UNUSABLE: Final = 2
UNSIGNED: Final = 3
"""``--verify``: the signature is missing, by another key, or over other bytes."""
CRASHED: Final = 70
"""``EX_SOFTWARE`` of ``sysexits.h``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = make_parser().parse_args(argv)
    try:
        with termination.by_signal():
            return _run(options)
    except termination.EndedError as ended:
        print(f"{ended}; everything that was started was removed", file=sys.stderr)
        return ended.status
    except Exception:
        # Python's own status, 1, is that of NO-GO.
        traceback.print_exc()
        print("error: a defect of the gate, and no verdict; please report it", file=sys.stderr)
        return CRASHED


def _run(options: argparse.Namespace) -> int:
    try:
        if options.command == "criteria":
            show_criteria(all_criteria(describe(options.plugins)), as_json=options.json)
            return 0
        if options.command == "own":
            return _own(load(options.file), options)
        if options.command == "error-rates":
            return error_rates.run(options)
        if options.command == "schedule":
            return _own(SCHEDULE, options)
        if options.command == "certify":
            return _certify(options, [load(path) for path in options.plugins])
        if options.command == "index":
            return _index(options.folder)
        if options.command == "soak":
            return _soak(options)
        with _no_collection():
            if options.command == "baseline":
                return _baseline(_read(options.files), options.out)
            if options.command == "diff":
                return _diff(_read(options.before), _read(options.after), as_json=options.json)
            if options.command == "status" and not options.files:
                options.files = latest_runs(RUNS)
            judged = _judged(options)
        if options.command == "status":
            show_open(judged.result, as_json=options.json)
            return judged.result.exit_code
        if options.command == "report":
            return _report(judged, options.out, options.runs)
        return _shown(judged.result, as_json=options.json, policy=Policy(options.gate))
    except SignatureError as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        return UNSIGNED
    except (EvidenceError, InputError, OSError) as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
    return UNUSABLE


def _judged(options: argparse.Namespace) -> Judged:
    """The decision on the files of ``gate`` and ``report``; signed, or its signature checked."""
    # Keys first: a wrong one is refused before minutes of work.
    signer = PrivateKey(options.sign) if getattr(options, "sign", None) else None
    checker = PublicKey.read(options.verify) if options.verify else None
    place = place_of(options.files, options.attestation)
    if signer is not None or checker is not None:
        place = require_place(options.files, options.attestation)
    judged = decide_files(
        options.files,
        certificates=options.certificates,
        named=options.plugins,
        campaigns=options.campaigns,
        max_age_days=options.max_age,
        thresholds=options.thresholds,
    )
    _say_open(judged.evidence)
    if place is not None and checker is not None:
        return replace(judged, result=verified(judged, place, checker))
    if place is None or signer is None:
        return replace(judged, result=replace(judged.result, signature=said(place)))
    judged = signed_by(signer, judged)
    page = place.with_name(VERDICT)
    text = json.dumps(as_object(judged.result), indent=2, ensure_ascii=False, allow_nan=False)
    page.write_text(text + "\n", encoding="utf-8")
    _tell(f"signed by {signer.public.id}: {sign(judged, signer, place, pages=[page])}")
    return judged


def _baseline(evidence: Sequence[Evidence], out: Path) -> int:
    for path in write(baseline(evidence), out):
        print(path)
    return 0


def _diff(before: Sequence[Evidence], after: Sequence[Evidence], *, as_json: bool) -> int:
    found = difference(before, after)
    show_differences(found, as_json=as_json)
    return int(any(one.kind in ("decision", "verdict") for one in found))


def _own(own: CriterionPlugin, options: argparse.Namespace) -> int:
    if options.nodes < 1:
        raise InputError(f"--nodes must be at least 1, not {options.nodes}")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise InputError(f"--seed must be 0 to 2^63 - 1, not {options.seed}")
    if own is SCHEDULE and options.nodes < LEAST_NODES:
        raise InputError(f"--nodes must be at least {LEAST_NODES}: one gets no fault")
    folder = options.out or RUNS / f"own-{own.name}-{stamp()}"
    if (folder / FILE).exists():
        raise InputError(f"--out {folder} holds evidence already; name another folder")
    record = run_plugin(
        own,
        nodes=options.nodes,
        backend=options.stack,
        seed=options.seed,
        folder=folder,
        say=_tell,
    )
    result = evaluate(own, record, valid_certificates(CERTIFICATES, [own]))
    end_judged(log_of(record), result)
    return _shown(result, as_json=options.json)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _certify(options: argparse.Namespace, owns: Sequence[CriterionPlugin]) -> int:
    """With custom files, certify only their criteria: the certificates of the others stay valid."""
    theirs = [criterion.id for own in owns for criterion in own.criteria]
    known = theirs or [criterion.id for criterion in CRITERIA]
    if unknown := [name for name in options.criteria if name not in known]:
        raise EvidenceError(f"no criterion {unknown[0]!r}; see: python -m validation criteria")
    if not options.time_budget > 0:
        raise InputError(f"--time-budget must be above 0, not {options.time_budget:g}")
    found: list[Certificate] = []
    for own in owns:
        found += certify_plugin(
            own, options.certificates, backend=options.stack, force=options.force, say=_tell
        )
    if not owns:
        found += certify(
            options.certificates,
            criteria=options.criteria,
            force=options.force,
            shard=options.shard,
            time_budget=options.time_budget,
            stack="containers" if options.stack == "containers" else "processes",
            say=_tell,
        )
    backend = "containers" if options.stack == "containers" else "processes"
    done = certified(found, all_mutants(owns), backend=backend)
    show_certificates(found, as_json=options.json)
    _tell(false_alarms(found))
    partial = options.shard is not None or options.stack == "containers"
    without = [
        name
        for name in known
        if name not in done
        and (name in options.criteria or not options.criteria)
        and (not partial or name in {one.criterion for one in found})
    ]
    if without:
        _tell(f"uncertified: {', '.join(without)}")
    return 1 if any(one.detected == (one.defect == HEALTHY) for one in found) else 0


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection: a record of two days is a million live objects and no garbage."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(files: Sequence[Path]) -> tuple[Evidence, ...]:
    evidence = pool([read_any(path) for path in files])
    _say_open(evidence)
    return evidence


def _say_open(evidence: Sequence[Evidence]) -> None:
    for record in evidence:
        if not record.closed:
            print(
                f"{record.source}, line {len(record.events)}: evidence not closed, the run was "
                "interrupted; it proves nothing",
                file=sys.stderr,
            )


def _shown(result: GateResult, *, as_json: bool, policy: Policy = Policy.PHASE2) -> int:
    show_result(result, as_json=as_json)
    status = exit_status(result, policy)
    if status == 0 and (said := warning(result)):
        _tell(f"warning: {said}")
    return status


def _soak(options: argparse.Namespace) -> int:
    if options.background:
        begun = folder_of(options)
        pid = in_background(begun)
        print(f"watching as process {pid}; its output: {begun.path / CONSOLE}")
        print(f"its state: python -m validation gate {begun.path}; to end it: kill {pid}")
        return 0
    folder = soak.soak(options)
    result = decide([read_soak(folder)])
    end_judged(log_of(folder), result)
    _shown(result, as_json=False)
    print(f"pool it with other runs: python -m validation gate {folder} EVIDENCE...")
    if result.decision is Decision.NO_GO:
        return result.exit_code
    return 0 if result.verdict("uptime").status is Status.PASS else UNUSABLE


def _report(judged: Judged, out: Path, runs: Path | None) -> int:
    for reporter in reporters():
        for path in reporter.write(judged.result, judged.evidence, out, runs=runs):
            print(path)
    return judged.result.exit_code


def _index(folder: Path) -> int:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of runs; create one with: pytest -m validation")
    for reporter in reporters():
        print(reporter.write_index(folder))
    return 0

"""Maintenance commands of a ledger: verify, backup, restore."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from ga import verification
from ga.cli.waiting import announced_if_large
from ga.errors import InputError
from ga.ledger import open_ledger
from ga.ledger.backup import Copied, back_up, checked
from ga.ledger.backup import restore as restore_from
from ga.ledger.connection import snapshot
from ga.ledger.request_check import compare_request
from ga.metrics import LOOPBACK, MetricsServer
from ga.ops import backups

_JUDGED: Final = ("runs", "generations", "evaluations", "individuals", "attempts", "nodes")

Command = Callable[[argparse.Namespace], int]


def register(
    add: Callable[[str, str], argparse.ArgumentParser],
    store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the commands' options. ``add`` makes a command, ``store`` gives it ``--store``."""
    verify = add("verify", "Verify a run: digest, breeding, counts, and a sample of evaluations.")
    verify.add_argument("run", help="prefix of the run id, as `runs` lists it")
    again = verify.add_mutually_exclusive_group()
    again.add_argument(
        "--sample",
        type=int,
        default=verification.SAMPLE,
        help=f"evaluations to repeat (default: {verification.SAMPLE})",
    )
    again.add_argument(
        "--stored",
        action="store_true",
        help="check digest and counts only; works for earlier engines and without the market",
    )
    verify.add_argument(
        "--anchor",
        metavar="DIGEST",
        help="anchor of the run that was noted elsewhere, to compare"
        " (default: only the stored one)",
    )
    store(verify)
    backup = add("backup", "Write a consistent copy of the ledger to a file, also during a run.")
    backup.add_argument("file", type=Path, help="file to write")
    backup.add_argument(
        "--keep",
        type=int,
        help="keep N rotated backups: FILE, the previous one as FILE.1, and so on (default: 1)",
    )
    backup.add_argument(
        "--force",
        action="store_true",
        help="write it even if rows were altered after their run ended; the backup says so",
    )
    backup.add_argument(
        "--every",
        type=float,
        metavar="HOURS",
        help="do not end: a backup every HOURS (default: one backup)",
    )
    backup.add_argument(
        "--metrics-port",
        type=int,
        help="with --every: serve the time of the newest backup to Prometheus on this port"
        " (default: do not serve it)",
    )
    backup.add_argument(
        "--metrics-host",
        default=LOOPBACK,
        help="address to serve it on; 0.0.0.0: also for other machines (default: %(default)s)",
    )
    store(backup)
    restore = add("restore", "Read a backup into an empty or new ledger.")
    restore.add_argument("file", type=Path, help="file that `backup` wrote")
    restore.add_argument(
        "--force",
        action="store_true",
        help="also a file that `backup --force` wrote from an altered ledger",
    )
    store(restore)


def _verify(options: argparse.Namespace) -> int:
    if options.sample < 0:
        raise InputError(f"--sample must not be negative, not {options.sample}")
    if options.anchor is not None and not re.fullmatch("[0-9a-f]{64}", options.anchor):
        raise InputError("--anchor: must be the 64 hexadecimal digits that `verify` printed")
    with closing(open_ledger(options.store, create=False)) as ledger, announced_if_large(ledger):
        # What is read of the others is compared with the anchor, and reported with it.
        ledger.require_sound(*_JUDGED, related=False)
        history = ledger.history(options.run)
        anchored = ledger.anchored(history.record.run)
        with snapshot(ledger.engine) as connection:
            request = compare_request(connection, history.record.run)
    anchored = replace(anchored, altered=(*anchored.altered, *request))
    if options.anchor not in (None, anchored.anchor):
        other = f"anchor: {anchored.anchor or 'none'} is not the given one"
        anchored = replace(anchored, altered=(*anchored.altered, other))
    try:
        market = None if options.stored else verification.market_of(history)
    except InputError as error:
        raise InputError(f"{error}; what is stored can be checked: verify --stored") from None
    found = verification.verify(history, market, sample=options.sample)
    # Nothing to compare is no proof.
    equal = found.equal and not anchored.altered and found.individuals > 0
    if options.json:
        about = {"anchor": anchored.anchor, "altered": anchored.altered}
        print(json.dumps({**asdict(found), **about, "equal": equal}))
    else:
        for witness in (*found.witnesses, *anchored.altered):
            print(witness)
        print(
            f"run {found.run}: {found.generations} generations, {found.individuals:,} individuals,"
            f" {found.evaluations:,} evaluations ({found.failed} failed, {found.quarantined} of"
            f" them quarantined and not repeated), {found.attempts} unsuccessful attempts;"
            f" {found.sampled} evaluations repeated"
            + ("" if found.repeated else "; not bred again: only stored data was compared")
        )
        for processor, nodes in found.processors.items():
            print(f"evaluated on {processor}: {', '.join(nodes)}")
        for node, reason in found.refused.items():
            print(f"node {node} got no work: {reason}")
        print(anchored.note or f"anchor {anchored.anchor}")
        if equal:
            print(f"equal; history digest {found.digest}")
        elif not found.individuals:
            print("nothing to compare: the run has no individual")
        else:
            different = found.different + len(anchored.altered)
            print(f"NOT equal: {found.lost} lost, {found.doubled} doubled, {different} different")
    return 0 if equal else 1


def _backup(options: argparse.Namespace) -> int:
    if options.keep is not None and not 1 <= options.keep <= 10_000:
        raise InputError(f"--keep must be 1..10000, not {options.keep}")
    if options.every is None:
        if options.metrics_port is not None:
            raise InputError("--metrics-port needs --every: a single backup ends at once")
        _back_up(options)
        return 0
    if not 0.01 <= options.every <= 8760:
        raise InputError(f"--every must be 0.01..8760 hours, not {options.every:g}")
    if not options.file.parent.is_dir():
        raise InputError(f"{options.file.parent}: no such folder; create it")
    with ExitStack() as serving:
        if options.metrics_port is not None:
            registry = backups.series(options.file)
            server = MetricsServer(registry, options.metrics_port, options.metrics_host)
            serving.enter_context(server)
        backups.repeat(options.file, options.every * 3600, lambda: _back_up(options))
    return 0


def _back_up(options: argparse.Namespace) -> None:
    # Opened for each backup: the database may have been started again.
    with closing(open_ledger(options.store, create=False)) as ledger, announced_if_large(ledger):
        written = back_up(ledger.engine, options.file, keep=options.keep, force=options.force)
    _say(options, written, "written")


def _restore(options: argparse.Namespace) -> int:
    # Before the store is opened.
    with checked(options.file, force=options.force) as file:
        done = restore_from(options.store, file, options.file)
    _say(options, done, "restored" if done.altered else "restored, every digest and anchor checked")
    return 0


def _say(options: argparse.Namespace, done: Copied, how: str) -> None:
    for problem in done.altered:
        print(f"altered: {problem}", file=sys.stderr)
    if options.json:
        found = {"file": str(options.file), "rows": dict(done.rows), "altered": done.altered}
        print(json.dumps(found))
    else:
        listed = ", ".join(f"{count:,} {name}" for name, count in done.rows.items())
        print(f"{options.file} {how}: {listed}")


COMMANDS: Final[Mapping[str, Command]] = {
    "verify": _verify,
    "backup": _backup,
    "restore": _restore,
}

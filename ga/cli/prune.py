"""``prune``: remove old runs from a ledger."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from ga.cli.tables import table
from ga.errors import InputError, LedgerError
from ga.ledger import open_ledger
from ga.ledger.connection import snapshot
from ga.ledger.retention import OldRun, days_before, old_runs, remove, shrink
from ga.ledger.sizes import LedgerSize, ledger_size
from ga.ledger.store import Ledger
from ga.presentation import shown_bytes


def register(
    add: Callable[[str, str], argparse.ArgumentParser],
    store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the command's options. ``add`` makes a command, ``store`` gives it ``--store``."""
    prune = add("prune", "Remove old runs from the ledger; without --yes, only list them.")
    prune.add_argument(
        "--older-than",
        type=float,
        required=True,
        metavar="DAYS",
        help="runs that ended at least DAYS days ago",
    )
    prune.add_argument(
        "--unfinished",
        action="store_true",
        help="also runs that have not ended, if nothing was committed for DAYS days",
    )
    prune.add_argument(
        "--keep-best",
        type=int,
        default=0,
        metavar="N",
        help="keep the N ended runs of each market with the highest fitness, of any age",
    )
    prune.add_argument("--yes", action="store_true", help="remove them; this cannot be undone")
    store(prune)


def command(options: argparse.Namespace) -> int:
    """``prune``: list the old runs; with ``--yes``, remove them."""
    if not 0 <= options.keep_best <= 1_000_000:
        raise InputError(f"--keep-best must be 0..1000000, not {options.keep_best}")
    before = days_before(options.older_than)
    with closing(open_ledger(options.store, create=False)) as ledger:
        found = old_runs(ledger, before, unfinished=options.unfinished, keep_best=options.keep_best)
        size = _size(ledger)
        after, note = size, None
        if options.yes:
            found = [_removed(ledger, one, before) for one in found]
            print("returning the free space to the volume", file=sys.stderr)
            note = shrink(ledger.engine)
            after = _size(ledger)
    old, kept = [o for o in found if not o.kept], [o for o in found if o.kept]
    rows = sum(one.size.rows for one in old)
    freed = sum(one.size.bytes for one in old)
    if options.json:
        document = {
            "dry_run": not options.yes,
            "removed": [_row(one) for one in old],
            "kept": [{**_row(one), "reason": one.kept} for one in kept],
            "rows": rows,
            "bytes": freed,
            "ledger_bytes_before": size.used + size.free,
            "ledger_bytes_after": after.used + after.free,
            "note": note,
        }
        print(json.dumps(document))
        return 0
    shown = [
        {**_row(one), "bytes": shown_bytes(one.size.bytes), "decision": one.kept or "remove"}
        for one in found
    ]
    table(f"Runs older than {options.older_than:g} days", shown, right=("rows", "bytes"))
    what = f"{len(old)} runs, {rows:,} rows, about {shown_bytes(freed)}"
    if not options.yes:
        print(f"to be removed: {what}; nothing was removed: add --yes to remove them")
        return 0
    print(f"removed: {what}; kept: {len(kept)} runs")
    print(
        f"ledger: {shown_bytes(size.used + size.free)} before,"
        f" {shown_bytes(after.used + after.free)} now"
    )
    if note:
        print(note)
    return 0


def _size(ledger: Ledger) -> LedgerSize:
    with snapshot(ledger.engine) as connection:
        return ledger_size(connection)


def _removed(ledger: Ledger, one: OldRun, before: float) -> OldRun:
    """Remove a run unless it is to be kept; what was done."""
    if one.kept:
        return one
    try:
        rows = remove(ledger, one, before)
    except InputError as error:
        return replace(one, kept=str(error))
    except LedgerError as error:
        print(f"ga: {error}", file=sys.stderr)
        return replace(one, kept=str(error))
    print(f"removed run {one.run}: {rows:,} rows", file=sys.stderr)
    return replace(one, size=replace(one.size, rows=rows))


def _row(one: OldRun) -> dict[str, object]:
    return {
        "run": one.run,
        "last change": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.last_at)),
        "market": one.market,
        "state": "done" if one.ended else "unfinished",
        "rows": one.size.rows,
        "bytes": one.size.bytes,
    }

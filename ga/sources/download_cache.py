"""Downloaded rows in a Parquet file that also records which times were requested and answered.

The file is replaced as a whole after every page, so a download that is cut short keeps all pages
before the cut, and the next one asks only for the times not yet covered.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ga.errors import InputError
from ga.market import Floats, Times
from ga.sources.intervals import Span, union

_KEY: Final = b"evolution-gate"
_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows by time."""

    times: Times
    """(N,) milliseconds since the epoch, UTC, strictly increasing."""
    columns: Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """One cached table. Immutable: ``add`` gives a new one."""

    path: Path
    label: str
    """Description of the content; a different label in the file shows that it was renamed."""
    rows: Rows
    covered: tuple[Span, ...] = ()
    """Times that were requested and answered, with or without rows."""

    def add(self, new: Rows, span: Span) -> Cache:
        """Return a cache with more rows and covered times; of a repeated time the newer row is
        kept.
        """
        times = np.concatenate([new.times, self.rows.times])
        kept, index = np.unique(times, return_index=True)
        columns = {
            name: np.concatenate([new.columns[name], old])[index]
            for name, old in self.rows.columns.items()
        }
        rows = Rows(times=kept, columns=columns)
        return replace(self, rows=rows, covered=union([*self.covered, span]))

    def save(self) -> None:
        """Write the file atomically.

        Raises:
            InputError: the cache folder cannot be written.
        """
        note = {"version": _VERSION, "label": self.label, "covered": self.covered}
        table = pa.table({"time": self.rows.times, **self.rows.columns})
        table = table.replace_schema_metadata({_KEY: json.dumps(note).encode()})
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                pq.write_table(table, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(
                f"{self.path}: the cache cannot be written ({reason});"
                " name another folder in GA_CACHE_DIR"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def open_cache(path: Path, *, label: str, columns: Sequence[str]) -> Cache:
    """The cache in ``path``; empty if the file does not exist.

    Raises:
        InputError: the file is damaged or has other content. It is not replaced automatically,
            because it may contain bars that the exchange no longer provides.
    """
    if not os.path.exists(path):
        none = np.empty(0, dtype=np.float64)
        rows = Rows(times=np.empty(0, dtype=np.int64), columns=dict.fromkeys(columns, none))
        return Cache(path=path, label=label, rows=rows)
    try:
        table = pq.read_table(path)
        note = json.loads((table.schema.metadata or {})[_KEY])
        if note["version"] != _VERSION or note["label"] != label:
            raise ValueError(f"it holds {note['label']} in version {note['version']}")
        covered = union((int(low), int(high)) for low, high in note["covered"])
        if table.column_names != ["time", *columns]:
            raise ValueError(f"its columns are {', '.join(table.column_names)}")
        times = table["time"].to_numpy().astype(np.int64, casting="safe", copy=True)
        values = {
            name: table[name].to_numpy().astype(np.float64, casting="safe", copy=True)
            for name in columns
        }
        if np.any(np.diff(times) <= 0) or not all(np.isfinite(v).all() for v in values.values()):
            raise ValueError("its rows are out of order or not finite")
    except (OSError, ValueError, KeyError, TypeError) as error:
        # Arrow's errors are ValueErrors or OSErrors, some with several lines.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: damaged cache of {label} ({reason}); delete the file and run again"
        ) from None
    return Cache(path=path, label=label, rows=Rows(times=times, columns=values), covered=covered)

"""Tables of market files, of all formats: names of columns, and the columns that are asked for."""

from __future__ import annotations

import ast
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from ga.errors import InputError
from ga.sources.columns import Name
from ga.sources.dialect import Layout, find_layout
from ga.sources.opening import (
    BROKEN,
    COMPRESSED,
    Text,
    archived_suffix,
    check_content,
    data_suffix,
    open_binary,
    open_text,
    require_regular,
)

TEXTS: Final = (".csv", ".tsv", ".txt")
JSONS: Final = (".json", ".jsonl")
SUFFIXES: Final = (".csv", ".parquet", ".feather")
READABLE: Final = (*SUFFIXES, *TEXTS, *JSONS, *COMPRESSED)
_SHEETS: Final = (".xlsx", ".xls", ".ods")
SAMPLE_ROWS: Final = 200
_CHUNK: Final = 250_000
"""Rows that the parser holds as Python objects."""
_NAMES_OF_EMPTY: Final = ["", "null", "NULL", "None", "nan", "NaN", "NA", "N/A", "n/a", "#N/A", "-"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose columns are read on demand."""

    path: Path
    kind: str
    """Format, with the compression if there is one."""
    names: tuple[Name, ...]
    sample: tuple[tuple[str, ...], ...]
    """The first rows as text."""
    texts: frozenset[int]
    """Columns of text, as far as the sample or the schema tells."""
    read: Callable[[Sequence[int], Sequence[int]], dict[int, pd.Series]]
    """Columns by index; the second indices are those to read as text."""
    line: Callable[[int], int]
    """Number of a row (from 0) in an editor, from 1."""
    encoding: str = ""
    delimiter: str = ""
    header: str = field(default="names in the file")
    skipped: int = 0


def open_table(path: Path) -> Table:
    """Open a market file of any format.

    Raises:
        InputError: not a regular file, an unknown format, or damaged.
    """
    require_regular(path)
    suffix, compression = data_suffix(path)
    if suffix in _SHEETS:
        raise InputError(f"{path}: unknown file type {suffix!r}; save the sheet as CSV")
    check_content(path, compression or suffix)
    if compression == ".zip" and suffix not in (*TEXTS, *JSONS):
        suffix = archived_suffix(path)
    if suffix not in (*TEXTS, *JSONS) and (compression or suffix not in SUFFIXES):
        known = ", ".join((*TEXTS, *JSONS))
        raise InputError(
            f"{path}: unknown file type {suffix + compression!r}; give .csv, .parquet or .feather"
            f" ({known} also as .gz or .zip)"
        )
    try:
        if suffix in TEXTS:
            return _delimited(open_text(path, compression), suffix)
        if suffix in JSONS:
            return _json(open_text(path, compression), suffix)
        return _parquet(path) if suffix == ".parquet" else _feather(path)
    except InputError:
        raise
    except (ValueError, *BROKEN) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> InputError:
    """A damaged file, in one line."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(f"{path}: cannot be read ({reason}); check the file")


def _delimited(text: Text, suffix: str) -> Table:
    layout = find_layout(text)
    width = len(layout.names)
    texts = frozenset(
        i for i in range(width) if any(row[i][:1].isalpha() for row in layout.cells if i < len(row))
    )
    header = (
        f"line {layout.header + 1}" if layout.header is not None and any(layout.names) else "none"
    )
    before = layout.first if layout.header is None else layout.header

    def read(wanted: Sequence[int], as_text: Sequence[int]) -> dict[int, pd.Series]:
        return _read_delimited(text, layout, wanted, as_text)

    def line(index: int) -> int:
        numbered = enumerate(text.lines(), 1)
        bars = (n for n, content in numbered if n > layout.first and content.strip())
        return next(islice(bars, index, None), index + 1 + layout.first)

    return Table(
        path=text.path,
        kind=suffix[1:] + text.compression,
        names=layout.names,
        sample=tuple(row[:width] for row in layout.cells[:SAMPLE_ROWS]),
        texts=texts,
        read=read,
        line=line,
        encoding=text.encoding,
        delimiter=layout.delimiter_name,
        header=header,
        skipped=before + layout.footer,
    )


def _read_delimited(
    text: Text, layout: Layout, wanted: Sequence[int], as_text: Sequence[int]
) -> dict[int, pd.Series]:
    width = max(len(layout.names), max(map(len, layout.cells)))
    options: dict[str, Any] = {
        "sep": r"\s+" if layout.delimiter == " " else layout.delimiter,
        "header": None,
        "names": range(width),
        "index_col": False,
        "usecols": sorted(wanted),
        "dtype": dict.fromkeys(as_text, "string"),
        "skipinitialspace": True,
        "keep_default_na": False,
        "na_values": _NAMES_OF_EMPTY,
        "engine": "c",
        "chunksize": _CHUNK,
    }
    try:
        with warnings.catch_warnings():
            # A column that is numbers first and text later is judged cell by cell.
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)
            if layout.footer:
                chunks = [*pd.read_csv(_without_footer(text, layout), **options)]
            elif text.encoding in ("utf-8", "utf-8-sig"):
                options |= {"skiprows": layout.first, "encoding": text.encoding}
                with open_binary(text.path, text.compression) as raw:
                    chunks = [*pd.read_csv(raw, encoding_errors="replace", **options)]
            else:
                with text.open() as decoded:
                    chunks = [*pd.read_csv(decoded, skiprows=layout.first, **options)]
    except (ValueError, *BROKEN) as error:
        raise unreadable(text.path, error) from None
    if not chunks:
        return {}
    # Column by column, so that no column is in memory twice for long.
    return {
        int(i): pd.concat([chunk.pop(i) for chunk in chunks], ignore_index=True)
        for i in list(chunks[0].columns)
    }


def _without_footer(text: Text, layout: Layout) -> IO[str]:
    with text.open() as decoded:
        lines = decoded.readlines()[layout.first :]
    while lines and not lines[-1].strip():
        lines.pop()
    for _ in range(layout.footer):
        lines.pop()
        while lines and not lines[-1].strip():
            lines.pop()
    return io.StringIO("".join(lines))


def _json(text: Text, suffix: str) -> Table:
    try:
        with text.open() as file:
            if suffix == ".jsonl":
                content: object = [json.loads(line) for line in file if line.strip()]
            else:
                content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise unreadable(text.path, error) from None
    names, rows = _json_rows(text.path, content)
    frame = pd.DataFrame(rows, dtype=object)
    series = {i: frame[column].infer_objects() for i, column in enumerate(frame.columns)}
    sample = tuple(tuple(map(str, row)) for row in frame.head(SAMPLE_ROWS).itertuples(index=False))
    return Table(
        path=text.path,
        kind=suffix[1:] + text.compression,
        names=names or ((),) * len(series),
        sample=sample,
        texts=frozenset(i for i, cell in enumerate(sample[0]) if cell[:1].isalpha()),
        read=lambda wanted, _: {i: series[i] for i in wanted},
        line=lambda index: index + 1,
        encoding=text.encoding,
        header="names in the file" if names else "none",
    )


def _json_rows(path: Path, content: object) -> tuple[tuple[Name, ...], list[list[object]]]:
    """Names (none for arrays of arrays) and rows, from rows or from columns."""
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        if len(lists) == 1 and lists[0] and isinstance(lists[0][0], dict | list):
            content = lists[0]  # The rows are wrapped: {"data": [...]}.
    if isinstance(content, list) and content:
        if all(isinstance(row, list) for row in content):
            width = max(len(row) for row in content)
            return (), [[*row, *[None] * (width - len(row))] for row in content]
        if all(isinstance(row, dict) for row in content):
            names = list(dict.fromkeys(str(name) for row in content for name in row))
            return tuple((n,) for n in names), [[row.get(n) for n in names] for row in content]
    if isinstance(content, dict) and content:
        columns = {
            str(name): list(value.values()) if isinstance(value, dict) else value
            for name, value in content.items()
        }
        if all(isinstance(value, list) for value in columns.values()):
            lengths = {len(value) for value in columns.values()}
            if len(lengths) == 1 and lengths != {0}:
                rows = [list(row) for row in zip(*columns.values(), strict=True)]
                return tuple((name,) for name in columns), rows
    raise InputError(
        f"{path}: cannot be read (no list of bars); give a list of arrays or of objects, or CSV"
    )


def _parquet(path: Path) -> Table:
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    if file.metadata.num_rows == 0:
        raise InputError(f"{path}: no bars, only a header; give a file with bars")
    head = next(file.iter_batches(batch_size=SAMPLE_ROWS))
    unique = len(set(schema.names)) == len(schema.names)

    def read(wanted: Sequence[int]) -> pa.Table:
        if not unique:
            return pq.read_table(path).select(list(wanted))
        names = [schema.names[i] for i in wanted]
        return pq.ParquetFile(path).read(columns=names).select(names)

    return _stored(path, "parquet", schema, pa.Table.from_batches([head]), read)


def _feather(path: Path) -> Table:
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0, io.SEEK_END)
        size = file.tell()
        file.seek(max(0, size - 6))
        end = file.read(6)
    if start[:4] == b"FEA1":
        raise InputError(f"{path}: Feather version 1 is not read; save it as Parquet or version 2")
    if start[:6] != b"ARROW1" or end != b"ARROW1" or size < 24:
        raise InputError(f"{path}: cannot be read (no Feather file, or cut off); check the file")
    table = pyarrow.feather.read_table(path, memory_map=False)
    table.validate(full=True)
    if table.num_rows == 0:
        raise InputError(f"{path}: no bars, only a header; give a file with bars")
    return _stored(
        path, "feather", table.schema, table.slice(0, SAMPLE_ROWS), lambda i: table.select(list(i))
    )


def _stored(
    path: Path,
    kind: str,
    schema: pa.Schema,
    head: pa.Table,
    read: Callable[[Sequence[int]], pa.Table],
) -> Table:
    """A table of a format that has types."""
    names = tuple(_levels(name) for name in schema.names)
    cells = [[str(value) for value in column.to_pylist()] for column in head.columns]
    texts = frozenset(i for i, kind in enumerate(schema.types) if _is_text(kind))

    def columns(wanted: Sequence[int], _: Sequence[int]) -> dict[int, pd.Series]:
        try:
            found = read(wanted)
            return {i: found.column(at).to_pandas() for at, i in enumerate(wanted)}
        except (ValueError, *BROKEN) as error:
            raise unreadable(path, error) from None

    numbered = [n[0] for n in names] == [str(i) for i in range(len(names))]
    return Table(
        path=path,
        kind=kind,
        names=((),) * len(names) if numbered else names,
        sample=tuple(zip(*cells, strict=True)),
        texts=texts,
        read=columns,
        line=lambda index: index + 1,
        header="none" if numbered else "names in the file",
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _levels(name: str) -> Name:
    """pandas writes names of several levels as the text of a tuple."""
    if name.startswith("("):
        try:
            levels = ast.literal_eval(name)
        except (ValueError, SyntaxError):
            return (name,)
        if isinstance(levels, tuple):
            return tuple(str(level) for level in levels)
    return (name,)

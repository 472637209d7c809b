"""The record: what is written comes back, and no damaged file is read."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.evidence_builders import change, evidence, passing, write
from tests.support.evidence_records import T0, receipt
from validation.evidence.log import (
    EvidenceError,
    EvidenceWriter,
    pool,
    read_evidence,
)
from validation.evidence.records import RECORDS, Note, Usage, parse


def small(path: Path) -> Path:
    events = [(T0 + n, Note(text=f"line {n}")) for n in range(5)]
    return write(path, [*events, (T0 + 9, receipt("kill", "node-1", T0 + 9, "w"))])


def opened(path: Path, **changes: object) -> EvidenceWriter:
    facts: dict[str, object] = {
        "run": "r",
        "seed": 1,
        "backend": "processes",
        "nodes": 1,
        "cpus_per_node": 0.4,
        "replay": "x",
    }
    return EvidenceWriter(path, **(facts | changes))  # type: ignore[arg-type]


def test_written_records_are_read_back(tmp_path: Path) -> None:
    events = passing()
    read = read_evidence(write(tmp_path / "deep" / "e.jsonl", events))
    assert read.closed
    assert read.run == "run-1"
    assert [event.record for event in read.events[1:-1]] == [record for _, record in events]
    assert [event.at for event in read.events[1:-1]] == [at for at, _ in events]
    assert len(read.all(Usage)) == len(read.of("usage")) > 100
    assert read.of("memory_error") == ()


def test_every_line_is_flushed_at_once(tmp_path: Path) -> None:
    writer = opened(tmp_path / "e.jsonl")
    writer.record("note", text="x")
    read = read_evidence(tmp_path / "e.jsonl", allow_open=True)
    assert not read.closed
    assert [event.kind for event in read.events] == ["open", "note"]
    writer.close()
    writer.close()
    assert read_evidence(tmp_path / "e.jsonl").closed
    with pytest.raises(ValueError, match="closed"):
        writer.record("note", text="late")


def test_threads_can_share_a_writer(tmp_path: Path) -> None:
    with opened(tmp_path / "e.jsonl") as writer:
        threads = [
            threading.Thread(target=lambda: [writer.record("note", text="x") for _ in range(50)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read_evidence(tmp_path / "e.jsonl").events) == 402


def test_crash_leaves_the_record_open(tmp_path: Path) -> None:
    def crash() -> None:
        with opened(tmp_path / "e.jsonl"):
            raise RuntimeError("harness")

    with pytest.raises(RuntimeError):
        crash()
    with pytest.raises(EvidenceError, match=r"line 1: .*without a close"):
        read_evidence(tmp_path / "e.jsonl")


def test_evidence_is_never_overwritten(tmp_path: Path) -> None:
    path = small(tmp_path / "e.jsonl")
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("nonsense", {}),
        ("note", {}),
        ("note", {"text": 3}),
        ("note", {"text": "x", "more": 1}),
        ("probe", {"probe": "d", "ok": 1, "latency_s": 1, "detail": "", "excused": False}),
        ("scrape", {"target": "n", "up": True, "age_s": float("nan"), "excused": False}),
        ("scrape", {"target": "n", "up": True, "age_s": float("inf"), "excused": False}),
        ("scrape", {"target": "n", "up": True, "age_s": -1, "excused": False}),
        ("environment", {"load": float("nan")}),
        ("environment", {"cores": None}),
        ("memory_error", {"workload": 1, "detail": ""}),
    ],
)
def test_wrongly_typed_payloads_are_not_written(
    tmp_path: Path, kind: str, data: dict[str, object]
) -> None:
    with opened(tmp_path / "e.jsonl") as writer, pytest.raises(EvidenceError):
        writer.record(kind, **data)
    assert [e.kind for e in read_evidence(tmp_path / "e.jsonl").events] == ["open", "close"]


def test_receipt_observations_must_be_finite() -> None:
    fault = receipt("kill", "n", T0, "w").data() | {"before": {"a": [{"b": float("inf")}]}}
    with pytest.raises(EvidenceError, match=r"before.a\[0\].b"):
        parse("fault", fault)


@pytest.mark.parametrize("kind", [k for k in RECORDS if k != "environment"])
def test_every_first_field_is_required(kind: str) -> None:
    later = {field.name for field in dataclasses.fields(RECORDS[kind]) if field.default is None}
    events = [event for event in evidence(passing()).events if event.kind == kind]
    for event in events[:1]:
        for name in event.data.keys() - later:
            with pytest.raises(EvidenceError, match=f"missing {name}"):
                parse(kind, {k: v for k, v in event.data.items() if k != name})


@given(data=st.data())
@settings(max_examples=150)
def test_changed_dropped_or_moved_line_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = small(tmp_path_factory.mktemp("e") / "e.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    how = data.draw(st.sampled_from(["drop", "swap", "twice", "flip", "cut"]))
    at = data.draw(st.integers(0, len(lines) - 1))
    if how == "drop":
        del lines[at]
    elif how == "swap":
        other = data.draw(st.integers(0, len(lines) - 1).filter(lambda n: n != at))
        lines[at], lines[other] = lines[other], lines[at]
    elif how == "twice":
        lines.insert(at, lines[at])
    elif how == "flip":
        # Digits only: a change of anything else is mostly refused as not JSON.
        line = bytearray(lines[at])
        digits = [n for n, c in enumerate(line) if chr(c).isdigit()]
        where = data.draw(st.sampled_from(digits))
        line[where] = ord("0") + (line[where] - ord("0") + data.draw(st.integers(1, 9))) % 10
        lines[at] = bytes(line)
    whole = b"".join(lines)
    if how == "cut":
        whole = whole[: data.draw(st.integers(0, len(whole) - 1))]
    path.write_bytes(whole)
    with pytest.raises(EvidenceError, match=r"e\.jsonl, line \d+: "):
        read_evidence(path)


@pytest.mark.parametrize(
    "text", ["", "\n", "{}\n", "[1]\n", "nonsense\n", "\xff\n", "[" * 9999 + "\n"]
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(EvidenceError, match="line 1: "):
        read_evidence(path, allow_open=True)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_non_finite_times_are_refused(tmp_path: Path, number: str) -> None:
    path = small(tmp_path / "e.jsonl")
    lines = path.read_text().splitlines()
    fields = json.loads(lines[2])
    lines[2] = lines[2].replace(f'"at":{json.dumps(fields["at"])}', f'"at":{number}')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(EvidenceError, match="line 3: "):
        read_evidence(path)


def test_other_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.evidence.log.SCHEMA_VERSION", 2)
    path = small(tmp_path / "e.jsonl")
    monkeypatch.undo()
    with pytest.raises(EvidenceError, match="line 1: schema 2"):
        read_evidence(path)


def test_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    path = small(tmp_path / "e.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    with pytest.raises(EvidenceError, match="line 5: cut"):
        read_evidence(path)
    assert len(read_evidence(path, allow_open=True).events) == 4


def test_pooling_counts_a_run_once() -> None:
    one, two = evidence(passing(), run="a"), evidence(passing(), run="b")
    assert pool([one, two]) == (one, two)
    with pytest.raises(EvidenceError, match="already"):
        pool([one, two, one])
    with pytest.raises(EvidenceError, match="no evidence"):
        pool([])


def test_builder_changes_only_the_given_records() -> None:
    events = passing()
    assert change(events, Usage, lambda record: record) == events

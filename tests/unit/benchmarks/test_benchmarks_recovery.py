"""When all that a killed node had is answered, from the log of a run."""

from __future__ import annotations

import json

import pytest

from evolution_gate.benchmarks.recovery import Batches, redone

NODE, OTHER = "10.0.0.3", "10.0.0.4"


def batch(generation, at, *tried, node=OTHER):
    return {
        "event": "batch", "generation": generation, "at": at, "finished_at": at - 0.01,
        "node": node, "tried": [{"node": name, "at": when} for name, when in tried],
    }  # fmt: skip


def test_redone_time_is_of_the_last_batch():
    log = [batch(3, 99.0, node=NODE), batch(3, 100.5), batch(3, 104.0, (NODE, 102.0))]
    later = [batch(3, 106.0, (NODE, 102.0)), batch(4, 107.0), batch(4, 107.5, (NODE, 103.0))]
    assert redone(log, NODE, 100.0) is None
    assert redone(log + later, NODE, 100.0) is None
    assert redone([*log, *later, batch(5, 108.0)], NODE, 100.0) == pytest.approx(107.49)


def test_other_losses_are_not_counted():
    log = [
        batch(1, 99.5),
        batch(1, 100.5, (OTHER, 100.4)),
        batch(1, 101.0, (NODE, 99.0)),
        batch(2, 102.0),
    ]
    assert redone(log, NODE, 100.0) is None
    with pytest.raises(LookupError):
        redone([*log, batch(3, 103.0)], NODE, 100.0)


def test_growing_log_is_read_by_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    batches = Batches(path)
    assert batches() == []
    lines = [json.dumps(one) + "\n" for one in (batch(0, 1.0), {"event": "ready"}, batch(1, 2.0))]
    for text, seen in ((lines[0], [0]), (lines[1] + lines[2][:9], [0]), (lines[2][9:], [0, 1])):
        with path.open("a") as file:
            file.write(text)
        assert [one["generation"] for one in batches()] == seen
        assert [one["generation"] for one in batches()] == seen

"""Folders of runs are named in UTC, and keep evidence, pages and logs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from evolution_gate.fixtures.system import termination
from validation.run_folder import WORK, stamp, working


def test_folder_name_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert stamp(0.0) == "19700101T000000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def _fill(place: Path) -> None:
    (place / "service").mkdir(parents=True)
    (place / "bad-input" / "empty-file").mkdir(parents=True)
    for name in ("backup", "backup.db", "bad-input/empty-file/ledger.db", "service/service.log"):
        (place / name).write_text("x")


@pytest.mark.parametrize("broken", [False, True])
def test_only_logs_remain_after_a_run(broken: bool, tmp_path: Path) -> None:
    (tmp_path / "evidence.jsonl").touch()
    try:
        with working(tmp_path, keep=False) as place:
            _fill(place)
            if broken:
                raise ValueError
    except ValueError:
        assert broken
    left = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert left == ["evidence.jsonl", WORK, f"{WORK}/service", f"{WORK}/service/service.log"]


def test_keep_leaves_all_files(tmp_path: Path) -> None:
    with working(tmp_path, keep=True) as place:
        _fill(place)
    assert (tmp_path / WORK / "backup.db").exists()
    with working(tmp_path / "other", keep=False):
        pass
    assert not (tmp_path / "other").exists()


def test_run_ended_by_signal_is_tidied_last(tmp_path: Path) -> None:
    """A thread may still write there until every process is gone."""
    _fill(tmp_path / WORK)
    with pytest.raises(termination.EndedError), working(tmp_path, keep=False):
        raise termination.EndedError(15)
    assert (tmp_path / WORK / "backup").exists()
    tidy = termination.pending()[-1]
    termination.settled(tidy)
    tidy()
    assert not (tmp_path / WORK / "backup").exists()

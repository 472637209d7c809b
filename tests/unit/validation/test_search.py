"""Secrets are looked for in the run's files, the stack's logs, and the pages of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from evolution_gate.fixtures.protocols import Endpoints, Stack
from validation.evidence.base import Record
from validation.evidence.records_network import Leak, Search
from validation.stages.exposure import reached_by_others, search, secrets_of, withdraw

ENDS = Endpoints(
    ray="127.0.0.1:1",
    dashboard="http://127.0.0.1:2",
    postgres="postgresql+psycopg://ga:first-secret@127.0.0.1:3/ga",
    redis="redis://:second-secret@127.0.0.1:4/0",
    grafana="http://admin:third-secret@127.0.0.1:5",
)


class _Written(list[Record]):
    def add(self, record: Record) -> None:
        self.append(record)


def _stack(**logs: bytes) -> Stack:
    def written() -> Iterator[tuple[str, bytes]]:
        yield from logs.items()

    return cast(Stack, SimpleNamespace(endpoints=ENDS, written=written))


def test_secret_in_file_or_log_is_leak(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jsonl").write_text("redis://:second-secret@h")
    (tmp_path / "b.log").write_text("nothing")
    found = _Written()
    search(_stack(head=b"x first-secret y", n1=b""), found, tmp_path)
    *leaks, last = found
    assert [(one.secret, one.file) for one in leaks if isinstance(one, Leak)] == [
        ("Redis's password", "deep/a.jsonl"),
        ("PostgreSQL's password", "head"),
    ]
    assert last == Search(files=4, secrets=3)


def test_page_with_secret_is_removed_and_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "junit.xml", tmp_path / "report.html"
    good.write_text("<a/>")
    bad.write_text("<p>third-secret</p>")
    assert withdraw([good, bad], secrets_of(ENDS)) == ["report.html: Grafana's password"]
    assert good.exists()
    assert not bad.exists()


@pytest.mark.parametrize(
    ("answers", "reached"),
    [
        ({7: False}, False),
        ({7: True}, True),
        ({7: None, 8: False}, False),
        ({7: None, 8: True}, True),
        ({7: None, 8: None}, None),
    ],
)
def test_ended_process_does_not_decide_the_reach(
    answers: dict[int, bool | None], reached: bool | None
) -> None:
    """A worker may end while its network is looked at: that is no finding."""

    def leads_out(pid: int) -> bool:
        found = answers[pid]
        if found is None:
            raise FileNotFoundError(f"/proc/{pid}/ns/net")
        return found

    stack = SimpleNamespace(pids=lambda: set(answers), leads_out=leads_out)
    assert reached_by_others(stack, [*answers, *answers]) is reached

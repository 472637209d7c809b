"""Runs that were left out of a pool are known, and what failed in them does not pass."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolution_gate.reports.html import render_page
from evolution_gate.reports.text_formats import summary
from ga.errors import InputError
from tests.support.evidence_builders import certificates, evidence, write
from tests.support.evidence_records import NODES, T0, Timed, job, refusals
from validation.campaigns import log as campaigns
from validation.campaigns.log import CampaignLog, read_logs
from validation.cli.output import reservation_lines
from validation.criteria.registry import CRITERIA
from validation.criteria.uptime import uptime
from validation.decision import Decision, GateResult, decide
from validation.decision_json import as_object
from validation.evidence.identity import DAY_S
from validation.evidence.log import Evidence
from validation.evidence.records import Environment
from validation.evidence.records_ledger import Refusal
from validation.verdict import Status, judge

FACTS = {
    "python": "3.11.2",
    "ray": "2.60.0",
    "cpu": "Xeon",
    "cores": 2,
    "commit": "c" * 40,
    "memory_bytes": 16 * 1024**3,
}
SYSTEM = {"backend": "processes", "nodes": 4, "cpus_per_node": 0.4, **FACTS}
BAD_INPUT = tuple(criterion for criterion in CRITERIA if criterion.id == "bad_input")
CERTIFIED = certificates(["bad_input"])
RUNS = st.sampled_from(["one", "two", "soak-3"])


def events(*, refused: bool = True) -> list[Timed]:
    """A run that is good enough for one criterion; or in which bad input was accepted."""
    found: list[Timed] = [(T0, Environment(values=FACTS))]
    for record in refusals():
        assert isinstance(record, Refusal)
        status = 2 if refused else 0
        found.append((T0 + 5, dataclasses.replace(record, exit_code=status)))
    return found


GOOD = evidence(events(), run="good")


def judged(log: CampaignLog | None, records: Sequence[Evidence] = (GOOD,)) -> GateResult:
    return decide(records, criteria=BAD_INPUT, certificates=CERTIFIED, campaigns=log)


def begun(log: Path, run: str, **facts: object) -> Path:
    """A run that began and gathers evidence; returns where that will be."""
    place = log.parent / run / "evidence.jsonl"
    campaigns.begin(log, run, evidence=place, command="pytest -m validation", system={})
    campaigns.gathering(log, run, {**SYSTEM, **facts})
    return place


def ended(log: Path, run: str, status: str = "PASS", **facts: object) -> None:
    begun(log, run, **facts)
    campaigns.end(log, run, "finished", sha256="0" * 64, verdicts={"bad_input": status})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that lists the good run."""
    path = tmp_path / campaigns.FILE
    ended(path, "good")
    return path


def test_complete_pool_is_go(log: Path) -> None:
    result = judged(read_logs([log]))
    assert (result.decision, result.left_out, result.reservations) == (Decision.GO, (), ())


def test_failed_run_that_was_left_out_opens(log: Path) -> None:
    ended(log, "bad", "FAIL")
    result = judged(read_logs([log]))
    assert result.decision is Decision.INCONCLUSIVE
    assert (
        "failed in bad, of the same system, which was left out"
        in result.verdict("bad_input").reason
    )
    assert [one.run for one in result.left_out] == ["bad"]


def test_every_output_names_the_left_out_run(log: Path) -> None:
    ended(log, "bad", "FAIL")
    result = judged(read_logs([log]))
    words = "run bad of "
    assert words in summary(result)
    assert any(words in line for line in reservation_lines(result))
    assert "bad</th>" in render_page(result, [GOOD])
    shown = as_object(result)["left_out"]
    assert isinstance(shown, list)
    assert (shown[0]["run"], list(shown[0]["failed"])) == ("bad", ["bad_input"])


def test_every_verdict_names_its_system() -> None:
    result = judged(None)
    assert len(result.system_id) == 8
    rows = as_object(result)["verdicts"]
    assert isinstance(rows, list)
    assert [row["system"] for row in rows] == [result.system_id]
    assert f"| `bad_input` | `{result.system_id}` |" in summary(result)
    other = evidence([(T0, Environment(values={**FACTS, "cores": 3})), *events()[1:]])
    assert judged(None, [other]).system_id != result.system_id


@pytest.mark.parametrize(
    ("facts", "counts"),
    [
        ({}, True),
        ({"commit": "d" * 40}, False),
        ({"backend": "simulated"}, False),
        ({"nodes": 3}, False),
    ],
)
def test_only_the_same_system_counts(log: Path, facts: dict[str, object], counts: bool) -> None:
    ended(log, "bad", "FAIL", **facts)
    result = judged(read_logs([log]))
    assert bool(result.left_out) is counts
    assert (result.decision is Decision.GO) is not counts


@pytest.mark.parametrize(("days", "counts"), [(29.0, True), (31.0, False)])
def test_old_runs_do_not_count(log: Path, days: float, counts: bool) -> None:
    ended(log, "bad", "FAIL")
    found = read_logs([log])
    now = found.campaigns[-1].begun_at + days * DAY_S
    result = decide([GOOD], criteria=BAD_INPUT, certificates=CERTIFIED, now=now, campaigns=found)
    assert bool(result.left_out) is counts


@pytest.mark.parametrize("refused", [True, False])
def test_killed_run_counts_with_its_failures(log: Path, refused: bool) -> None:
    """SIGKILL leaves neither an end in the log nor a close record in the evidence."""
    place = begun(log, "killed")
    write(place, events(refused=refused), run="killed")
    lines = place.read_bytes().splitlines(keepends=True)
    place.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    result = judged(read_logs([log]))
    assert [one.status for one in result.left_out] == ["abandoned"]
    assert result.left_out[0].failed == (() if refused else ("bad_input",))
    assert (result.decision is Decision.GO) is refused


@pytest.mark.parametrize("damage", ["missing", "edited"])
def test_killed_run_without_readable_evidence_rules_out_go(log: Path, damage: str) -> None:
    place = begun(log, "killed")
    if damage == "edited":
        write(place, events(refused=False), run="killed")
        place.write_bytes(place.read_bytes().replace(b'"exit_code":0', b'"exit_code":2', 1))
    result = judged(read_logs([log]))
    assert result.decision is Decision.INCONCLUSIVE
    assert "its evidence cannot be read" in result.reservations[0]


def test_run_without_evidence_is_only_shown(log: Path) -> None:
    with (
        pytest.raises(KeyError),
        campaigns.logged(log, "early", evidence=log.parent / "early", command="x", system=SYSTEM),
    ):
        raise KeyError("a secret")
    result = judged(read_logs([log]))
    assert result.left_out[0].text.endswith("failed, no FAIL; ended by KeyError")
    assert result.decision is Decision.GO


@pytest.mark.parametrize("case", ["none", "unlisted", "digest", "cut"])
def test_unknown_runs_rule_out_go(log: Path, case: str) -> None:
    if case == "digest":
        campaigns.end(log, "good", "finished", sha256="1" * 64, verdicts={})
    found = read_logs([log])
    if case == "none":
        found = CampaignLog()
    elif case == "unlisted":
        found = dataclasses.replace(found, campaigns=found.campaigns[1:])
    elif case == "cut":
        log.write_bytes(log.read_bytes().split(b"\n", 1)[1])
        found = read_logs([log])
        assert "line 1" in found.problems[0]
    result = judged(found)
    assert result.verdict("bad_input").status is Status.PASS
    assert result.decision is Decision.INCONCLUSIVE
    assert result.reservations


def test_resumed_run_counts_with_its_last_end(log: Path) -> None:
    ended(log, "soak", "FAIL")
    ended(log, "soak", "PASS")
    result = judged(read_logs([log]))
    assert (result.left_out[0].run, result.left_out[0].failed) == ("soak", ())
    begun(log, "soak")
    assert judged(read_logs([log])).left_out[0].status == "abandoned"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_change_of_the_log_is_found(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But not lines that are cut from the end: then a run of the pool is missing there."""
    path = tmp_path_factory.mktemp("log") / campaigns.FILE
    for run in data.draw(st.lists(RUNS, min_size=2, max_size=4)):
        ended(path, run)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    # Lengths depend on the time, and what is drawn must not.
    at = int(data.draw(st.floats(0, 1)) * (len(lines) - 1))
    kind = data.draw(st.sampled_from(["drop", "repeat", "swap", "byte"]))
    if kind == "drop":
        lines[:] = lines[:at] + lines[at + 1 :] if at < len(lines) - 1 else lines[1:]
    elif kind == "repeat":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = (at + 1) % len(lines)
        lines[at], lines[other] = lines[other], lines[at]
    else:
        place = int(data.draw(st.floats(0, 1)) * (len(lines[at]) - 2))
        changed = bytearray(lines[at])
        changed[place] = changed[place] ^ data.draw(st.sampled_from([1, 2, 4, 64]))
        lines[at] = bytes(changed)
    path.write_bytes(b"".join(lines))
    assert read_logs([path]).problems
    with pytest.raises(InputError, match="move this file away"):
        begun(path, "next")


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1))
def test_write_that_was_cut_is_repaired(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever the file ends, the runs before it are known, and the next run can begin."""
    path = tmp_path_factory.mktemp("log") / campaigns.FILE
    for run in ("one", "two"):
        ended(path, run)
    content = path.read_bytes()
    whole = content[: int(share * len(content))]
    path.write_bytes(whole)
    before = read_logs([path])
    assert not before.problems
    ended(path, "next")
    after = read_logs([path])
    assert [c.run for c in after.campaigns] == [*(c.run for c in before.campaigns), "next"]
    assert not after.problems


def test_runs_may_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / campaigns.FILE
    names = [f"run-{number}" for number in range(6)]
    threads = [threading.Thread(target=ended, args=(path, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_logs([path])
    assert not found.problems
    assert sorted(one.run for one in found.campaigns if one.ended) == names


def probes(begin: float, hours: float, *, down: tuple[float, float] | None = None) -> list[Timed]:
    count = int(hours * 60) + 1
    times = [begin + 60.0 * number for number in range(count)]
    return [
        (T0 + at, job(T0 + at, missing=NODES if down and down[0] <= at < down[1] else ()))
        for at in times
    ]


@pytest.mark.parametrize(
    ("second", "hours"),
    [(0.0, "24.10"), (1800.0, "24.60"), (25 * 3600.0, "48.20")],
)
def test_hours_watched_twice_count_once(second: float, hours: str) -> None:
    """Two soaks of 24.1 h are never 48 h of one run, also if they follow each other."""
    both = [
        evidence(probes(0.0, 24.1), run="a"),
        evidence(probes(second, 24.1), run="b", began=T0 + second),
    ]
    verdict = judge(uptime, both)
    assert verdict.status is Status.INCONCLUSIVE, verdict
    assert f"{hours} h watched" in verdict.measured
    assert "24.10 h of one run watched, of 48 h" in verdict.reason


def test_outage_seen_twice_counts_once() -> None:
    down = (7200.0, 7500.0)
    both = [
        evidence(probes(0.0, 50.0, down=down), run="a"),
        evidence(probes(30.0, 50.0, down=down), run="b", began=T0 + 30),
    ]
    assert "1 outage," in judge(uptime, both).reason

"""Positions on a file that grows, their record, and its check by the backtest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ga.analysis.holdout import positions
from ga.cli import main
from ga.errors import InputError
from ga.exported import Exported
from ga.families import get_family
from ga.genome import Genome
from ga.live.check import CHANGED, MISSING, REPAINTED, UNRECORDED, check
from ga.live.follow import Follower
from ga.live.growing import GrowingFiles
from ga.live.record import Line, Record, read_record
from ga.market import Market
from ga.sources import MarketSpec, load_market
from tests.support.engine_fixtures import frame

BARS, FIRST = 240, 224
HOUR = 3600
LATE = 4e9
"""A clock at which every bar has ended."""
FAST = Exported(key="a" * 64, genome=Genome("ema_crossover", (5.0, 18.0, 0.001, 0.5, 0.0)))
MIDDLE = tuple(g.clip((g.low + g.high) / 2) for g in get_family("stochastic_oscillator").genes)
OTHER = Exported(key="b" * 64, genome=Genome("stochastic_oscillator", MIDDLE))
TABLE = frame(BARS)
TEXT = TABLE.to_csv(index=False)
LINES = TEXT.splitlines(keepends=True)


def text(bars: int) -> str:
    return "".join(LINES[: 1 + bars])


def started(file: Path, record: Record | None, **given: object) -> tuple[Follower, list[Line]]:
    """A follower of a file, and the lines that it emits."""
    emitted: list[Line] = []
    told: list[str] = []
    options = {"clock": lambda: LATE, "delay": 0.0, "emit": emitted.append, **given}
    follower = Follower(
        (FAST, OTHER),
        GrowingFiles(MarketSpec(spec=str(file)), told.append),
        name=str(file),
        record=record,
        path=file,
        **options,  # type: ignore[arg-type]
    )
    return follower, emitted


def recorded(tmp_path: Path, until: int = BARS) -> Path:
    """A record of the bars from FIRST - 1 to ``until``, by one poll for each."""
    file, state = tmp_path / "asset.csv", tmp_path / "state.jsonl"
    with Record(state) as record:
        file.write_text(text(FIRST))
        follower, _ = started(file, record)
        for bars in range(FIRST, until + 1):
            file.write_text(text(bars))
            assert follower.step() == 1
    return state


def require_backtest(market: Market, lines: Sequence[Line]) -> None:
    """Each bar once, from the first line to the last of the market, with the backtest's targets."""
    first = market.times.tolist().index(lines[0].time)
    assert [line.time for line in lines] == market.times[first : first + len(lines)].tolist()
    for one in (FAST, OTHER):
        found = [line.positions[one.key]["asset"] for line in lines]
        expected = positions(market, one.genome)[first : first + len(lines), 0]
        assert found == expected.tolist()
        assert np.any(expected != 0.0)


@hypothesis_settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pieces=st.lists(st.integers(1, 400), min_size=3, max_size=12),
    late=st.lists(st.booleans(), min_size=12, max_size=12),
    restarts=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_growing_file_gives_each_bar_once(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[int],
    late: list[bool],
    restarts: list[bool],
) -> None:
    folder = tmp_path_factory.mktemp("growing")
    file, state = folder / "asset.csv", folder / "state.jsonl"
    file.write_text(text(FIRST))
    at = len(text(FIRST))
    record = Record(state)
    follower, _ = started(file, record, clock=lambda: 0.0)
    for piece, is_late, restart in zip(pieces, late, restarts, strict=False):
        follower.step()
        if restart:
            record.__exit__(None, None, None)
            record = Record(state)
            follower, _ = started(file, record, clock=lambda late=is_late: LATE if late else 0.0)
        at = min(at + piece, len(TEXT))
        file.write_text(TEXT[:at])
    record.__exit__(None, None, None)
    file.write_text(TEXT)
    with Record(state) as record:
        follower, _ = started(file, record)
        follower.step()
    header, lines = read_record(state)
    market = load_market(str(file))
    assert header.bars + len(lines) == BARS
    require_backtest(market, lines)
    assert check(header, lines, market).first is None


def test_bar_closes_by_clock_or_successor(tmp_path: Path) -> None:
    file = tmp_path / "asset.csv"
    file.write_text(text(FIRST))
    end = load_market(str(file)).times[-1] / 1e9 + HOUR
    now = end + 9.0
    follower, lines = started(file, None, clock=lambda: now, delay=10.0)
    assert follower.step() == 1
    assert lines[-1].time / 1e9 == end - 2 * HOUR
    now = end + 10.0
    assert follower.step() == 1
    assert lines[-1].time / 1e9 == end - HOUR
    now = 0.0
    file.write_text(text(FIRST + 2))
    assert follower.step() == 1
    assert follower.step() == 0


def test_incomplete_last_line_is_not_closed(tmp_path: Path) -> None:
    file = tmp_path / "asset.csv"
    file.write_text(text(FIRST))
    follower, lines = started(file, None)
    assert follower.step() == 1
    file.write_text(text(FIRST + 1)[:-1])
    assert follower.step() == 0
    file.write_text(text(FIRST + 1))
    assert follower.step() == 1
    require_backtest(load_market(str(file)), lines)


def test_file_written_anew_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "asset.csv"
    file.write_text(text(FIRST + 5))
    follower, lines = started(file, None)
    assert follower.step() == 1
    for short in (text(100), text(FIRST)):
        file.write_text(short)
        assert follower.step() == 0
    file.write_text(text(FIRST + 6))
    assert follower.step() == 1
    assert len(lines) == 2


@pytest.mark.parametrize("resumed", [False, True])
def test_changed_past_ends_following(tmp_path: Path, resumed: bool) -> None:
    file, state = tmp_path / "asset.csv", recorded(tmp_path, FIRST + 3)
    with Record(state) as record:
        follower, lines = started(file, record)
        if not resumed:
            assert follower.step() == 0
        table = TABLE.copy()
        table.loc[FIRST + 1, "volume"] += 1.0
        table.to_csv(file, index=False)
        assert follower.step() == 0
        with pytest.raises(InputError, match="--check"):
            follower.step()
    assert not lines


def test_line_cut_by_crash_is_repeated(tmp_path: Path) -> None:
    state = recorded(tmp_path)
    whole = state.read_bytes()
    for cut in (whole[:-1], whole[: whole[:-1].rfind(b"\n") + 9]):
        state.write_bytes(cut)
        assert len(read_record(state)[1]) == BARS - FIRST
        with Record(state) as record:
            follower, lines = started(tmp_path / "asset.csv", record)
            assert follower.step() == len(lines) == 1
        assert state.read_bytes() == whole


def test_record_has_one_writer_and_its_strategies(tmp_path: Path) -> None:
    state = recorded(tmp_path, FIRST)
    with Record(state) as record:
        with pytest.raises(InputError, match="another process"):
            Record(state)
        source = GrowingFiles(MarketSpec(spec=str(tmp_path / "asset.csv")), print)
        with pytest.raises(InputError, match="in this order"):
            Follower(
                (OTHER, FAST), source, name="", record=record, path=state, clock=float, delay=0.0,
                emit=print,
            )  # fmt: skip


def _rewritten(state: Path, change: Callable[[list[dict[str, object]]], None]) -> None:
    lines = [json.loads(line) for line in state.read_text().splitlines()]
    change(lines)
    state.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _moved(lines: list[dict[str, object]]) -> None:
    lines[4]["positions"] = {FAST.key: {"asset": 0.125}, OTHER.key: {"asset": 0.0}}


DEFECTS: dict[str, tuple[str, int, Callable[[Path, Path], None]]] = {
    "position": (REPAINTED, FIRST + 2, lambda _, state: _rewritten(state, _moved)),
    "lost line": (UNRECORDED, FIRST + 2, lambda _, state: _rewritten(state, lambda a: a.pop(4))),
    "twice": (
        UNRECORDED,
        FIRST + 2,
        lambda _, state: _rewritten(state, lambda a: a.insert(5, a[4])),
    ),
    "lost bar": (
        MISSING,
        FIRST + 2,
        lambda file, _: TABLE.drop(index=FIRST + 2).to_csv(file, index=False),
    ),
    "new volume": (
        CHANGED,
        FIRST + 2,
        lambda file, _: TABLE.assign(
            volume=TABLE["volume"].where(TABLE.index != FIRST + 2, 1.5)
        ).to_csv(file, index=False),
    ),
    "old volume": (
        CHANGED,
        FIRST - 2,
        lambda file, _: TABLE.assign(volume=TABLE["volume"].where(TABLE.index != 3, 1.5)).to_csv(
            file, index=False
        ),
    ),
    "end lost": (MISSING, BARS - 9, lambda file, _: TABLE[: BARS - 9].to_csv(file, index=False)),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_check_names_first_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    kind, bar, defect = DEFECTS[name]
    state, file = recorded(tmp_path), tmp_path / "asset.csv"
    argv = ("signals", "--check", str(state), "--market", str(file))
    assert main.main(argv) == 0
    assert f"{BARS - FIRST + 1} bars" in capsys.readouterr().out
    defect(file, state)
    assert main.main([*argv, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["difference"]
    assert found["kind"] == kind
    assert found["time"] == f"{TABLE['time'][bar]}Z"
    assert main.main(argv) == 1
    assert kind in capsys.readouterr().out


def test_repainting_strategy_is_found(tmp_path: Path) -> None:
    """Its live positions depend on how much of the history was there."""
    state = recorded(tmp_path)
    header, lines = read_record(state)
    market = load_market(str(tmp_path / "asset.csv"))
    late = [
        Line(
            time=line.time,
            bar=line.bar,
            positions={
                one.key: {"asset": float(positions(market, one.genome)[-1, 0])}
                for one in (FAST, OTHER)
            },
        )
        for line in lines
    ]
    found = check(header, late, market).first
    assert found is not None
    assert found.kind == REPAINTED


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{}\n",
        b"[]\n",
        b'{"format": "evolution-gate/positions/1"}\n',
        b"no JSON\n",
    ],
)
def test_damaged_record_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    state = tmp_path / "state.jsonl"
    state.write_bytes(damage)
    assert main.main(["signals", "--check", str(state), "--market", "goog"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--follow",), "no strategy given"),
        ((), "0 strategies"),
        (("a", "--state", "s"), "--follow"),
        (("--check", "s", "--follow"), "leave strategies"),
        (("a", "--follow", "--poll", "0"), "--poll must be"),
        (("s.json", "s.json", "--follow"), "given twice"),
        (("s.json", "--follow"), "neither a file nor a folder"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [gene.name for gene in get_family("ema_crossover").genes]
    document = {
        "format": "evolution-gate/strategy/1", "kernel_version": 8, "key": "a",
        "family": "ema_crossover", "genes": dict(zip(names, FAST.genome.genes, strict=True)),
    }  # fmt: skip
    Path("s.json").write_text(json.dumps(document))
    assert main.main(["signals", *argv, "--market", "goog"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err

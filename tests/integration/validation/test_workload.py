"""A workload's end is reported as it was: success, refusal, crash or hang."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from validation.stages.evolve_process import Evolve, EvolveResult, WorkloadSpec, launch_local

SPEC = WorkloadSpec(seed=1, market="synthetic:assets=1,bars=400", population_size=8, generations=2)
SCRIPT = """
import sys, time
print({out!r})
print({err!r}, file=sys.stderr)
time.sleep({nap})
sys.exit({code})
"""


def ended(
    tmp_path: Path, *, out: str = "{}", err: str = "", nap: float = 0, code: int = 0,
    before: Callable[[Evolve], None] = lambda _: None,
) -> EvolveResult:  # fmt: skip
    script = SCRIPT.format(out=out, err=err, nap=nap, code=code)

    def launch(_argv: Sequence[str], env: Mapping[str, str]) -> object:
        return launch_local([sys.executable, "-c", script], env)

    with Evolve(
        SPEC,
        store="sqlite:///unused.db",
        folder=tmp_path,
        name="w",
        arguments=[],
        env={},
        launch=launch,  # type: ignore[arg-type]
    ) as evolve:
        before(evolve)
        return evolve.finish(5.0 if nap else 60.0)


def test_real_evolution_is_followed(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'l.db'}"
    arguments = ["--mode", "local", "--workers", "1"]
    with Evolve(
        SPEC, store=store, folder=tmp_path, name="w", arguments=arguments, env={}
    ) as evolve:
        assert evolve.wait_ready(60.0)
        # Where nothing has compiled the families yet, it does.
        result = evolve.finish(600.0)
    assert result.exit_code == 0
    assert result.digest is not None
    assert result.run == result.result["run"]
    assert sum(b.size for b in result.batches) == result.number("evaluations") > 0


def test_refused_run_keeps_its_last_line(tmp_path: Path) -> None:
    result = ended(tmp_path, err="ga: bad market", code=2)
    assert (result.exit_code, result.error, result.run) == (2, "ga: bad market", None)


def test_finish_time_is_the_process_exit(tmp_path: Path) -> None:
    """What was done to it after its end did not hit it."""
    asked: list[float] = []

    def late(evolve: Evolve) -> None:
        wait_until(lambda: not evolve.running, seconds=math.inf, what="its end", every=0.01)
        time.sleep(0.5)  # The delay that finished_at must not contain.
        asked.append(time.time())

    result = ended(tmp_path, before=late)
    assert result.started_at < result.finished_at < asked[0] - 0.25


def test_hanging_run_is_killed_and_reported(tmp_path: Path) -> None:
    result = ended(tmp_path, nap=60)
    assert result.exit_code < 0
    assert "killed by the gate" in str(result.error)


@pytest.mark.parametrize("line", ["ray.exceptions.OutOfMemoryError: x", "MemoryError"])
def test_exhausted_memory_is_detected(tmp_path: Path, line: str) -> None:
    assert ended(tmp_path, err=line, code=1).out_of_memory == (line,)


def test_success_without_json_has_no_digest(tmp_path: Path) -> None:
    result = ended(tmp_path, out="(raylet) a notice")
    assert (result.exit_code, result.digest) == (0, None)
    assert "not one JSON object" in str(result.error)

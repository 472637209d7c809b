"""How the processes that evaluate on a cluster are known from outside."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from ga.execution.ray import remote
from ga.execution.ray.tasks import EVALUATE, EVALUATE_APART, PROCESS_NAMES, evaluates

_NAMES_ALONE = """
import sys
import ga.execution.ray.tasks
print(sorted({name.partition(".")[0] for name in sys.modules} & {"ray", "numba", "numpy"}))
"""
_OWN_TITLE = """
import ray
from pathlib import Path
from ga.execution.ray import remote

def title():
    return Path("/proc/self/cmdline").read_text().split("\\0")[0]

# What the driver makes of a function, made of this one.
remote.evaluate = remote.evaluate_apart = title
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
for apart in (False, True):
    print(ray.get(remote.evaluation_task(ray, apart=apart).remote()))
"""


def test_task_names_import_neither_ray_nor_numba() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NAMES_ALONE], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("apart", [False, True])
def test_tasks_have_published_names(apart: bool) -> None:
    ray = SimpleNamespace(remote=lambda **options: lambda function: (function, options))
    function, options = remote.evaluation_task(ray, apart=apart)
    assert function is (remote.evaluate_apart if apart else remote.evaluate)
    assert options["name"] == (EVALUATE_APART if apart else EVALUATE)
    assert options["max_retries"] == 0


def test_evaluating_process_is_recognised_by_name() -> None:
    for name in PROCESS_NAMES:
        assert evaluates([name])
        assert evaluates([name, "more"])
    for other in ([], [""], ["ray::IDLE"], ["ray::_warm"], ["python", *PROCESS_NAMES]):
        assert not evaluates(other)


@pytest.mark.stack
def test_ray_worker_has_task_name_while_evaluating() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OWN_TITLE], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == list(PROCESS_NAMES), done.stderr
    assert all(evaluates([title]) for title in done.stdout.split())

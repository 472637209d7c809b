"""A gate that a signal ends says so by its exit status, after it has cleaned up."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import wait_until

_CONFTEST = """
import pathlib, threading
import validation.pytest_plugin
from evolution_gate.fixtures.system import termination

pytest_plugins = ["validation.pytest_plugin"]
here = pathlib.Path(__file__).parent

def campaign(config):
    termination.owe((here / "cleaned").touch)
    (here / "under way").touch()
    threading.Event().wait()

validation.pytest_plugin.gather_evidence = campaign
"""


def test_sigterm_gives_the_shell_exit_status(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(_CONFTEST)
    (tmp_path / "test_it.py").write_text("def test_it(gate_result): pass")
    argv = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    argv += ["-p", "no:cacheprovider", "--gate=phase2", str(tmp_path)]
    # Others' plugins take longer to load than all of this.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=env
    ) as process:
        wait_until(
            (tmp_path / "under way").exists,
            seconds=math.inf,
            what="the campaign is under way",
            every=0.01,
            unless=lambda: process.poll() is not None,
        )
        process.terminate()
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "ended by SIGTERM" in said
    assert (tmp_path / "cleaned").exists()

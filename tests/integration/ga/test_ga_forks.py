"""Where the sockets of worker processes go, and what is ended with the program."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ga.errors import InputError
from ga.execution import forkserver
from tests.support.waiting import wait_until

_SOCKETS = """
import os
from multiprocessing import util
from pathlib import Path
from ga.execution import forkserver
forkserver.start_forkserver()
place = Path(util.get_temp_dir())
print(place, oct(place.stat().st_mode & 0o777), len(os.listdir(place)))
print(os.environ.get("RAY_TMPDIR"))
forkserver.end_children()
"""


def sockets(temporary: Path) -> tuple[Path, str, str]:
    """(folder, its mode and number of sockets, Ray's folder) of a process with this ``TMPDIR``."""
    given = {k: v for k, v in os.environ.items() if k != "RAY_TMPDIR"}
    done = subprocess.run(
        [sys.executable, "-c", _SOCKETS],
        env={**given, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, ray = done.stdout.splitlines()
    place, _, rest = said.partition(" ")
    return Path(place), rest, ray


@pytest.mark.parametrize("kind", ["long", "missing"])
def test_socket_folder_is_short_private_and_removed(tmp_path, kind):
    temporary = tmp_path / ("x" * 90)
    if kind == "long":
        temporary.mkdir()
    place, mode, ray = sockets(temporary)
    assert mode == "0o700 1"
    assert len(str(place)) < 70
    assert not place.is_relative_to(temporary)
    assert not place.exists()
    assert len(ray) < 40
    assert list(tmp_path.iterdir()) == ([temporary] if kind == "long" else [])


def test_missing_socket_folder_is_an_input_error(monkeypatch):
    monkeypatch.setattr(forkserver, "takes_sockets", lambda _place, _names: False)
    with pytest.raises(InputError, match="set TMPDIR to a folder with a short path"):
        forkserver.short_folder()


def test_folder_must_accept_sockets_of_length(tmp_path):
    assert not forkserver.takes_sockets(str(tmp_path / "missing"), 0)
    assert not forkserver.takes_sockets("/tmp", 97)
    assert forkserver.takes_sockets("/tmp", 96)
    assert list(tmp_path.iterdir()) == []


def test_processes_started_in_block_ignore_interrupts():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with forkserver.ignoring_interrupts():
        heard = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert heard.stdout == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def alive(number: int) -> bool:
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _stay(ready: Path) -> None:
    os.setpgid(0, 0)
    child = subprocess.Popen(["sleep", "60"])
    ready.with_suffix(".new").write_text(str(child.pid))
    ready.with_suffix(".new").rename(ready)
    signal.pause()


def test_child_process_ends_with_its_group(tmp_path):
    ready = tmp_path / "pid"
    process = multiprocessing.get_context("spawn").Process(target=_stay, args=(ready,))
    process.start()
    wait_until(
        ready.exists,
        seconds=math.inf,
        what="the process has a child",
        every=0.01,
        unless=lambda: not process.is_alive(),
    )
    of_group = int(ready.read_text())
    forkserver.end_children()
    assert process.exitcode == -signal.SIGKILL
    wait_until(lambda: not alive(of_group), seconds=30, what="its child is gone", every=0.01)

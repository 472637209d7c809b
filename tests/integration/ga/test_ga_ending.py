"""How a command ends, whatever ends it: one line or none, and an exit status that says which."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ga import workflow
from ga.cli import main
from ga.cli.exit_status import Ended, line_of, status_of
from ga.errors import InputError, LedgerError
from tests.support.waiting import wait_until

EVOLVE = (
    *("evolve", "--market", "synthetic:bars=600", "--mode", "local", "--workers", "1"),
    *("--population-size", "12", "--families", "rsi_filter"),
)


def failing(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("bad\n  input"), 2, "ga: bad input"),
        (LedgerError("lost"), 1, "ga: lost"),
        (KeyboardInterrupt(), 130, "ga: interrupted; continue with: resume it"),
        (Ended(signal.SIGTERM), 143, "ga: ended by SIGTERM; continue with: resume it"),
        (Ended(signal.SIGHUP), 129, "ga: ended by SIGHUP; continue with: resume it"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/some/file"),
            1,
            "ga: /some/file: No space left on device; make space",
        ),
        (OSError(errno.EPIPE, "Broken pipe"), 1, "ga: Broken pipe"),
        (OSError("planted"), 1, "ga: planted"),
    ],
)
def test_every_error_is_one_line(capsys, error, status, line):
    assert status_of(failing(error), hint=lambda: "resume it") == status
    assert capsys.readouterr().err == line + "\n"


def test_os_error_names_files_and_remedy():
    error = OSError(errno.EACCES, "Permission denied", "/a", None, "/b")
    assert line_of(error).startswith("/a to /b: Permission denied; check its rights")


def _streams(how: str) -> str:
    """A command of Python that ends as ``python -m ga`` does; ``how`` it prints."""
    return (
        "import sys\nfrom ga.cli import exit_status\n"
        "exit_status.open_standard_streams()\nexit_status.watch_standard_streams()\n"
        f"def work():\n    {how}\n    return 0\n"
        "sys.exit(exit_status.status_of(work))"
    )


PRINTS = ("print('one')", "print('x' * 100_000)", "print('one', flush=True)")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "how", [*PRINTS, "__import__('argparse').ArgumentParser().parse_args(['-h'])"]
)
def test_broken_pipe_is_silent(how, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", _streams(how)],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("how", PRINTS)
def test_full_disk_behind_stdout_is_one_line(how, unbuffered):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", _streams(how)],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        b"ga: stdout: cannot be written (No space left on device); free some space, or redirect it"
    ]


def test_interrupt_while_flushing_is_one_line():
    """The buffer of ``Connection.send`` is in a frame that the exception keeps, and itself."""
    how = (
        "buffer = __import__('io').BytesIO(b'sent').getbuffer()\n"
        "    try:\n        raise KeyboardInterrupt\n"
        "    except KeyboardInterrupt as error:\n        kept = error\n        raise"
    )
    done = subprocess.run([sys.executable, "-c", _streams(how)], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (130, b"ga: interrupted\n")


def test_closed_stream_number_is_not_reused(tmp_path):
    how = f"import os; print(os.open({str(tmp_path / 'file')!r}, os.O_CREAT) > 2, file=sys.stderr)"
    script = 'exec "$0" -c "$1" <&- >&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, _streams(how)], stderr=subprocess.PIPE
    )
    assert (done.returncode, done.stderr) == (0, b"True\n")


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_text_of_no_encoding_is_escaped(encoding):
    how = "print('\\udcff \\u00e9', file=sys.stderr)\n    print('\\udcff \\u2581')"
    done = subprocess.run(
        [sys.executable, "-c", _streams(how)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\udcff ")


@pytest.mark.parametrize("how", ["criteria", "--help"])
def test_gate_without_reader_is_silent(how):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "validation", how], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_gate_on_full_disk_gives_no_verdict():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "validation", "--help"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        b"error: stdout: cannot be written (No space left on device); free some space, or redirect"
        b" it"
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_backups_at_an_interval(tmp_path, number):
    store, mark = str(tmp_path / "l.db"), f"mark-{tmp_path.name}-{os.getpid()}"
    assert main.main([*EVOLVE, "--generations", "1", "--store", store]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "ga", "backup", "b", "--every", "1", "--store", store],
        cwd=tmp_path,
        env={**os.environ, "GA_MARK": mark, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("b written: ")
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} >= {"b", "l.db"}
    assert not list(tmp_path.glob(".*"))
    wait_until(lambda: not _of(mark), seconds=60, what=lambda: f"the end of {_of(mark)}")


def test_deleted_working_directory_is_refused(tmp_path):
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m ga runs'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the current folder cannot be used" in done.stderr


def test_unwritable_log_ends_run_with_remedy(tmp_path, capsys):
    store = str(tmp_path / "l.db")
    assert main.main([*EVOLVE, "--log", "/dev/full", "--store", store]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("ga: --log /dev/full: cannot be written (No space left")
    assert "Traceback" not in err


def test_resume_hint_names_run_and_store(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GA_STORE", raising=False)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def hint(*argv: str) -> str:
        assert main.main([*EVOLVE, "--run-id", "0" * 12, *argv]) == 130
        return capsys.readouterr().err.splitlines()[-1]

    monkeypatch.setattr(main.ProgressLine, "show", interrupt)
    go_on = "ga: interrupted; continue with: python -m ga resume 000000000000"
    assert hint() == go_on
    assert hint("--store", "my own.db") == f"{go_on} --store 'my own.db'"
    monkeypatch.setenv("GA_STORE", "third.db")
    assert hint() == go_on
    monkeypatch.setattr(workflow, "make_evaluator", interrupt)
    assert hint("--store", "fourth.db") == "ga: interrupted"


_SIGNALS = """
from ga.cli.interrupts import Signals
signals = Signals()
import os, signal, sys, time
from ga.cli import exit_status
signals.clean_up = lambda: os.write(1, b"cleaned")
def work():
    {prepare}
    try:
        os.write(1, b"up;")
        time.sleep(60)
    finally:
        os.write(1, b"in order;")
        {finally_}
status = exit_status.status_of(work)
signals.end_at_once()
sys.exit(status)
"""


def signalled(number: int, *, prepare: str, finally_: str = "pass") -> tuple[int, str, str]:
    code = _SIGNALS.format(prepare=prepare, finally_=finally_)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.read(3) == b"up;"
    process.send_signal(number)
    out, err = process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_process_with_cleanup(number):
    name = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    heeded = signalled(number, prepare="signals.end_in_order()")
    assert heeded == (128 + number, "in order;", f"ga: {name}\n")
    assert signalled(number, prepare="pass") == (128 + number, "cleaned", "")


def test_second_signal_ends_at_once():
    again = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    found = signalled(signal.SIGINT, prepare="signals.end_in_order()", finally_=again)
    assert found == (143, "in order;cleaned", "")


def test_ignored_signal_stays_ignored():
    script = 'trap "" HUP; exec "$0" -c "$1"'
    code = "import os; from ga.cli.interrupts import Signals; Signals()"
    code += "; os.kill(os.getpid(), 1); print(1)"
    done = subprocess.run(["sh", "-c", script, sys.executable, code], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"1\n")


def test_signal_during_finalizer_is_not_lost():
    in_vain = "type('X', (), {'__del__': lambda _: os.kill(os.getpid(), 2)})()"
    code = _SIGNALS.format(prepare=f"signals.end_in_order(); {in_vain}", finally_="pass")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"ga: interrupted\n")
    assert done.stdout in (b"up;in order;", b"")


def _of(mark: str) -> list[int]:
    """Processes that have a mark in their environment, and are not dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (folder / "environ").read_bytes()
            dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if marked and not dead:
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    ("mode", "number"),
    [
        ("local", signal.SIGINT),
        ("local", signal.SIGHUP),
        pytest.param("distributed", signal.SIGTERM, marks=pytest.mark.stack),
    ],
)
def test_ended_run_leaves_no_process_or_folder(tmp_path, mode, number):
    temporary, mark = tmp_path / "t", f"mark-{tmp_path.name}-{os.getpid()}"
    temporary.mkdir()
    argv = [*EVOLVE, "--mode", mode, "--generations", "100000", "--store", "l.db"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ga", *argv],
        cwd=tmp_path,
        # Ray's own folder stays after it.
        env={**os.environ, "TMPDIR": "/tmp", "XDG_RUNTIME_DIR": "", "GA_MARK": mark},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    # Of a cluster that still starts, or of a run that is on.
    for line in process.stderr:
        if line.startswith("mode:" if mode == "distributed" else "generation"):
            break
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number
    last = err.splitlines()[-1]
    assert last.startswith(
        f"ga: {'interrupted' if number == signal.SIGINT else f'ended by {number.name}'}"
    )
    if mode == "local":
        assert "; continue with: python -m ga resume " in last
        assert last.endswith(" --store l.db")
    assert "Traceback" not in err
    wait_until(lambda: not _of(mark), seconds=60, what=lambda: f"the end of {_of(mark)}")

"""Passwords: in nothing that is printed, logged, stored or served."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolution_gate.fixtures.services import datastores
from ga.cli import main
from ga.event_log import BatchLog
from ga.execution.local import LocalEvaluator
from ga.redaction import redact
from tests.support.metrics import scrape

SECRET = "hunter2"
EVOLVE = (
    *("evolve", "--market", "synthetic:assets=2,bars=600,seed=1", "--population-size", "12"),
    *("--generations", "2", "--seed", "7", "--mode", "local", "--workers", "1"),
)


@pytest.fixture
def ga(capsys, monkeypatch, tmp_path: Path):
    """Runs a command; returns its status and all that it printed."""
    monkeypatch.chdir(tmp_path)
    for name in ("GA_STORE", "GA_CACHE_URL", "GA_CACHE_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str) -> tuple[int, str]:
        status = main.main(argv)
        return status, "".join(capsys.readouterr())

    return run


words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1)


@given(user=words, password=words, before=words, after=words)
def test_any_password_in_url_is_redacted(user: str, password: str, before: str, after: str) -> None:
    """However malformed the URL is: with ``@``, ``/`` and ``:`` in its password too."""
    secret = f"<{password}>"
    for url in (f"redis://:{secret}@host:1/0", f"postgresql://{user}:{secret}@host/db"):
        assert secret not in redact(f"{before} {url}: {after}")
    assert secret not in redact(f"postgresql://host/db?user=ga&password={secret}")


def test_text_without_password_is_unchanged() -> None:
    text = "--address 10.0.0.1:6379: no Ray cluster answers there; see https://docs.ray.io/x?y=1"
    assert redact(text) == text


@pytest.mark.parametrize(
    "store",
    [
        f"postgresql://ga:{SECRET}@127.0.0.1:1/ga",
        f"postgresql://ga:{SECRET}@127.0.0.1:port/ga",
        f"postgresql://ga:a@{SECRET}@127.0.0.1:1/ga",
        f"postgresql://ga:a/{SECRET}@127.0.0.1:1/ga",
        f"postgresql://127.0.0.1:1/ga?user=ga&password={SECRET}",
        f"mysql://ga:{SECRET}@127.0.0.1/ga",
        f"ga:{SECRET}@127.0.0.1/ga",
        f"://ga:{SECRET}@127.0.0.1/ga",
    ],
)
def test_unopenable_store_hides_password(ga, store: str, monkeypatch) -> None:
    for argv in (("runs",), EVOLVE):
        for words in (("--store", store), (f"--store={store}",), ()):
            monkeypatch.setenv("GA_STORE", "unused.db" if words else store)
            status, said = ga(*argv, *words)
            assert status == 2
            assert "--store" in said
            assert SECRET not in said


@pytest.mark.parametrize("form", ["{0} {1}", "{0}={1}"])
@pytest.mark.parametrize(
    ("option", "url", "variable"),
    [
        ("--store", f"postgresql://ga:{SECRET}@127.0.0.1:1/ga", "GA_STORE"),
        ("--store", f"postgresql://127.0.0.1:1/ga?user=ga&password={SECRET}", "GA_STORE"),
        ("--cache", f"redis://:{SECRET}@127.0.0.1:1/0", "GA_CACHE_URL"),
    ],
)
def test_password_on_command_line_is_refused(
    ga, tmp_path: Path, option: str, url: str, variable: str, form: str
) -> None:
    other = ("--cache", "redis://127.0.0.1:1/0") if option == "--store" else ("--store", "a.db")
    status, said = ga(*EVOLVE, *other, *form.format(option, url).split(" "))
    assert status == 2
    assert said.startswith(f"ga: {option}: a password on the command line")
    assert variable in said
    assert SECRET not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", [f"redis://:{SECRET}@127.0.0.1:1", f"ga:{SECRET}@nowhere.invalid:1"]
)
def test_address_error_hides_password(ga, address: str, monkeypatch) -> None:
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: _refuse())
    status, said = ga(*EVOLVE[:-4], "--mode", "distributed", "--address", address)
    assert status == 2
    assert "--address" in said
    assert SECRET not in said


def _refuse() -> None:
    raise OSError("planted: nobody there")


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}@127.0.0.1:1/0", f"redis://:{SECRET}@127.0.0.1:x", f"h:{SECRET}@h"]
)
def test_cache_error_hides_password(ga, tmp_path: Path, url: str, monkeypatch) -> None:
    log = tmp_path / "log.jsonl"
    monkeypatch.setenv("GA_CACHE_URL", url)
    status, said = ga(*EVOLVE, "--store", "a.db", "--log", str(log))
    assert status == (0 if url.endswith(":1/0") else 2)
    assert "cache" in said
    assert SECRET not in said + (log.read_text() if log.exists() else "")


def test_run_writes_no_password(ga, tmp_path: Path, monkeypatch) -> None:
    """A server that refuses the password given: the one who says most in its errors."""
    served: list[dict] = []
    evaluate = LocalEvaluator.evaluate
    log = tmp_path / "log.jsonl"

    def watched(self, genomes):
        served.append(scrape(json.loads(log.read_text().splitlines()[0])["url"]))
        return evaluate(self, genomes)

    monkeypatch.setattr(LocalEvaluator, "evaluate", watched)
    redis = datastores.start_redis("test-ga-secrets", tmp_path)
    try:
        port = redis.url.rpartition(":")[2]
        monkeypatch.setenv("GA_CACHE_URL", f"redis://:{SECRET}@127.0.0.1:{port}")
        monkeypatch.setenv("GA_STORE", str(tmp_path / "ledger.db"))
        status, said = ga(*EVOLVE, "--metrics-port", "0", "--log", str(log))
    finally:
        redis.process.kill()
        redis.process.wait()
    assert status == 0
    assert said.count("cannot be used") == 1
    assert len(served) == 2
    assert SECRET not in said + log.read_text() + str(served)
    for file in tmp_path.glob("ledger.db*"):
        assert SECRET.encode() not in file.read_bytes()
    assert [e["event"] for e in map(json.loads, log.read_text().splitlines())].count("cache") == 1


def test_warnings_are_redacted(tmp_path: Path, capsys) -> None:
    log = tmp_path / "log.jsonl"
    with BatchLog(log, "abc") as lines:
        lines.warn("planted", f"redis://:{SECRET}@host:1 is gone")
    assert SECRET not in capsys.readouterr().err + log.read_text()


@pytest.fixture(scope="module")
def postgres() -> Iterator[datastores.Service]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # PostgreSQL runs as another user when we are root, and must reach its own part.
        folder.chmod(0o711)
        service = datastores.start_postgres("test-ga-secrets", folder)
        yield service
        service.process.send_signal(signal.SIGINT)
        service.process.wait()


@pytest.mark.stack
def test_libpq_password_sources_are_used(
    ga, postgres: datastores.Service, tmp_path: Path, monkeypatch
) -> None:
    user, _, rest = postgres.url.removeprefix("postgresql+psycopg://").partition(":")
    password, _, place = rest.rpartition("@")
    bare = f"postgresql://{user}@{place}"
    for name in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(name, raising=False)
    status, said = ga(*EVOLVE, "--store", bare)
    assert status == 2
    assert "password" in said
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", password)
        status, said = ga(*EVOLVE, "--store", bare)
        assert status == 0
        assert password not in said
    file = tmp_path / "pgpass"
    file.touch(0o600)
    file.write_text(f"*:*:*:*:{password}\n")
    assert os.stat(file).st_mode & 0o077 == 0
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert ga("runs", "--store", bare)[0] == 0

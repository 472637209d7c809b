"""The result cache: a hit equals what would have been computed, and no fault changes a run."""

from __future__ import annotations

import json
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

import ga.result_cache
from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.event_log import BatchLog
from ga.families import KERNEL_VERSION
from ga.result_cache import TTL_SECONDS, Cache, encode, maker, open_cache, parse_url
from tests.support.cache_server import Server
from tests.support.engine import Engine
from tests.support.waiting import wait_until

KEY = "ab" * 32


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def opened(server: Server, warnings: list[str]) -> Iterator[Callable[..., Cache]]:
    """Opens caches on the server, and closes them."""
    made: list[Cache] = []

    def make(pause: float = 30.0) -> Cache:
        made.append(Cache(parse_url(server.url), warn=warnings.append, pause_seconds=pause))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def requesting_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads of all requests to the server from now on: each takes a connection."""
    found: list[str] = []
    take = redis.ConnectionPool.get_connection

    def taken(*args: object, **rest: object) -> object:
        found.append(threading.current_thread().name)
        return take(*args, **rest)

    monkeypatch.setattr(redis.ConnectionPool, "get_connection", taken)
    return found


def writers() -> set[threading.Thread]:
    """The threads that write to caches."""
    return {thread for thread in threading.enumerate() if thread.name == "cache"}


@pytest.fixture
def engine(market, settings, tmp_path: Path) -> Engine:
    return Engine(market, settings, tmp_path)


@pytest.fixture(scope="module")
def digest(market, settings, tmp_path_factory) -> str:
    engine = Engine(market, settings, tmp_path_factory.mktemp("undisturbed"))
    return engine.go(engine.start("plain.db")).digest


def test_failed_outcome_is_not_encoded(opened, server: Server) -> None:
    failed = Outcome(key=KEY, fitness=None, error="planted")
    with pytest.raises(ValueError, match="not cached"):
        encode(failed, maker())
    cache = opened()
    cache.put_many([failed, Outcome(key="cd" * 32, fitness=1.5)])
    cache.close()
    assert [key.decode()[-64:] for key in server.client.scan_iter()] == ["cd" * 32]


def test_second_run_is_served_from_cache(
    engine: Engine, digest: str, opened, server: Server
) -> None:
    cache = opened()
    first = engine.go(engine.start("first.db"), cache=cache)
    written = "SELECT key, fitness, trades, max_drawdown, generation FROM evaluations ORDER BY key"
    computed = engine.rows(written)
    assert engine.rows("SELECT DISTINCT attempts FROM evaluations") == [(1,)]
    cache.close()
    keys = server.client.keys()
    assert len(keys) == len(computed) == first.evaluations
    lives = [server.client.ttl(key) for key in keys]
    assert all(TTL_SECONDS - 120 < life <= TTL_SECONDS for life in lives)
    assert {server.client.strlen(key) for key in keys} == {32}

    second = engine.go(engine.start("second.db"), cache=opened())
    assert first.digest == second.digest == digest
    assert (second.evaluations, second.cached, second.failed) == (0, first.evaluations, 0)
    assert engine.rows(written) == computed
    assert engine.rows("SELECT DISTINCT attempts FROM evaluations") == [(0,)]
    assert engine.rows("SELECT count(*) FROM individuals") == [(160,)]


def test_damaged_stored_values_are_misses(
    engine: Engine, digest: str, opened, server: Server
) -> None:
    cache = opened()
    total = engine.go(engine.start("first.db"), cache=cache).evaluations
    cache.close()
    keys = sorted(server.client.keys())
    good = server.client.get(keys[9])
    server.client.set(keys[0], b"")
    server.client.set(keys[1], b"not ours")
    server.client.set(keys[2], good[:8] + b"\0" + good[9:])
    server.client.set(keys[3], good)
    server.client.delete(keys[4])
    server.client.delete(keys[5])
    server.client.hset(keys[5], "a", "list")
    cache = opened()
    second = engine.go(engine.start("second.db"), cache=cache)
    assert second.digest == digest
    assert (second.evaluations, second.cached) == (6, total - 6)
    assert cache.damaged == 4
    cache.close()
    # What was wrong is right again.
    assert server.client.get(keys[3]) != good
    assert server.client.type(keys[5]) == b"string"


def test_wrong_stale_and_truncated_outcomes_change_nothing(
    engine: Engine, digest: str, opened, server: Server
) -> None:
    """One key in ten, each in another way; every one is evaluated again, and counted."""
    cache = opened()
    engine.go(engine.start("first.db"), cache=cache)
    cache.close()
    rows = "SELECT key, fitness, trades, max_drawdown, generation FROM evaluations ORDER BY key"
    computed = engine.rows(rows)
    keys = sorted(server.client.keys())
    spoiled = keys[::10]
    for number, key in enumerate(spoiled):
        value, another = server.client.get(key), server.client.get(keys[1])
        name = key.decode()[-64:]
        older = maker().replace(f":{KERNEL_VERSION}:", f":{KERNEL_VERSION - 1}:")
        server.client.set(
            key,
            (
                another,
                value[: number % 32],
                bytes([value[0] ^ 1, *value[1:]]),
                encode(Outcome(key=name, fitness=9.0, trades=1), older),
                struct.pack("<dqd", 9.0, 1, 0.0),
            )[number % 5],
        )
    assert len(spoiled) > 5
    cache = opened()
    second = engine.go(engine.start("second.db"), cache=cache)
    assert second.digest == digest
    assert engine.rows(rows) == computed
    assert (second.evaluations, second.cached) == (len(spoiled), len(keys) - len(spoiled))
    assert cache.damaged == len(spoiled)
    again = engine.rows("SELECT key FROM evaluations WHERE attempts = 1 ORDER BY key")
    assert [key for (key,) in again] == [key.decode()[-64:] for key in spoiled]


def test_answer_of_another_length_only_warns(opened, warnings, monkeypatch) -> None:
    cache = opened(pause=3600.0)
    monkeypatch.setattr(redis.Redis, "mget", lambda *_: [None])
    assert cache.get_many([KEY, "cd" * 32]) == {}
    assert len(warnings) == 1
    assert "not one value for each key" in warnings[0]


def test_namespaces_share_no_outcome(server: Server, warnings) -> None:
    kept = Outcome(key=KEY, fitness=1.0)
    first, same, other = (
        Cache(parse_url(server.url, namespace=name), warn=warnings.append)
        for name in ("one", "one", "two")
    )
    first.put_many([kept])
    first.close()
    assert same.get_many([KEY]) == {KEY: kept}
    assert other.get_many([KEY]) == {}
    same.close()
    other.close()
    assert warnings == []


def test_other_kernel_or_compiler_version_is_a_miss(opened, monkeypatch) -> None:
    kept = Outcome(key=KEY, fitness=1.0)
    cache = opened()
    cache.put_many([kept])
    cache.close()
    assert opened().get_many([KEY]) == {KEY: kept}
    with monkeypatch.context() as patch:
        patch.setattr(ga.result_cache, "KERNEL_VERSION", 999)
        assert opened().get_many([KEY]) == {}
    with monkeypatch.context() as patch:
        patch.setattr(ga.result_cache, "version", lambda name: f"9.{name}")
        assert opened().get_many([KEY]) == {}
    with monkeypatch.context() as patch:
        patch.setattr(ga.result_cache, "FORMAT", 999)
        assert opened().get_many([KEY]) == {}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_redis_loss_during_run_only_warns(
    engine: Engine, digest: str, server: Server, capsys, monkeypatch, how: int
) -> None:
    run, requests = engine.start("lost.db"), []

    def before(generation: int) -> None:
        if generation == 1:
            server.signal(how)
            requests.append(requesting_threads(monkeypatch))

    with BatchLog(engine.log, run) as log:
        others = writers()
        cache = Cache(
            parse_url(server.url),
            warn=lambda text: log.warn("cache", text),
            # However slow this machine is, the writer does not try again within the run.
            pause_seconds=3600.0,
        )
        assert len(writers() - others) == 1
        summary = engine.go(run, cache=cache, before=before)
        cache.close()
        assert writers() <= others
    assert summary.digest == digest
    # One try of the run, and one of the writer if it was not done with the generation before.
    (after,) = requests
    assert len(after) == len(set(after)), after
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("ga: cache 127.0.0.1:")
    assert "changes no result" in err
    lines = [json.loads(line) for line in engine.log.read_text().splitlines()]
    assert [line["level"] for line in lines if line["event"] == "cache"] == ["warning"]
    assert {line["run"] for line in lines} == {run}
    assert server.password not in err + engine.log.read_text()


def test_hanging_server_costs_one_timeout(opened, server: Server, warnings, monkeypatch) -> None:
    cache = opened(pause=3600.0)
    cache.get_many([KEY])
    server.signal(signal.SIGSTOP)
    requests = requesting_threads(monkeypatch)
    for _ in range(50):
        assert cache.get_many([KEY]) == {}
        cache.put_many([Outcome(key=KEY, fitness=1.0)])
    assert requests == ["MainThread"]
    assert len(warnings) == 1


def test_put_never_blocks_and_queue_is_bounded(opened, monkeypatch) -> None:
    writing, go_on, written = threading.Event(), threading.Event(), []

    def execute(pipeline: redis.client.Pipeline, **_: object) -> list[object]:
        writing.set()
        # A caller that waits for the writer is late, and does not wait for ever.
        go_on.wait(60.0)
        written.append(len(pipeline))
        return []

    monkeypatch.setattr(redis.client.Pipeline, "execute", execute)
    cache = opened()
    batch = [Outcome(key=f"{i:064x}", fitness=1.0) for i in range(500)]
    cache.put_many(batch)
    assert writing.wait(60.0)
    for _ in range(100):
        cache.put_many(batch)
    assert written == []
    go_on.set()
    cache.close()
    # One batch was being written and 64 were queued; the others were dropped.
    assert written == [500] * 65


def test_restarted_server_is_used_again(opened, server: Server, warnings) -> None:
    cache = opened(pause=0.1)
    kept = Outcome(key=KEY, fitness=2.0)
    for _ in range(2):
        server.signal(signal.SIGKILL)
        assert cache.get_many([KEY]) == {}
        server.start_again()

        def is_kept() -> bool:
            if cache.get_many([KEY]) == {KEY: kept}:
                return True
            cache.put_many([kept])
            return False

        wait_until(is_kept, seconds=10, what="the server is used again")
    assert len(warnings) == 1


def test_restart_between_calls_is_transparent(opened, server: Server, warnings) -> None:
    cache = opened()
    assert cache.get_many([KEY]) == {}
    server.signal(signal.SIGKILL)
    server.start_again()
    assert cache.get_many([KEY]) == {}
    assert warnings == []


def test_full_server_warns_without_showing_values(opened, server: Server, warnings) -> None:
    server.client.config_set("maxmemory", 1)
    cache = opened()
    cache.put_many([Outcome(key=KEY, fitness=1.0)])
    cache.close()
    assert len(warnings) == 1
    assert "maxmemory" in warnings[0]
    assert KEY not in warnings[0]


def test_server_that_is_not_redis_only_warns(warnings) -> None:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        cache = open_cache(f"redis://127.0.0.1:{port}/0", warn=warnings.append)
        assert cache is not None
        assert cache.get_many([KEY]) == {}
        cache.close()
        thread.join()
    assert len(warnings) == 1


def test_password_is_read_from_file(tmp_path: Path, server: Server, warnings, monkeypatch) -> None:
    file = tmp_path / "password"
    file.write_text(server.password + "\n")
    monkeypatch.setenv("GA_CACHE_PASSWORD_FILE", str(file))
    bare = server.url.replace(f":{server.password}@", "")
    cache = open_cache(bare, warn=warnings.append)
    assert cache is not None
    assert cache.get_many([KEY]) == {}
    cache.close()
    assert warnings == []
    # The one in the URL is the one that counts.
    assert parse_url("redis://:other@h", str(file)).password == "other"
    monkeypatch.setenv("GA_CACHE_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"GA_CACHE_PASSWORD_FILE .*none: cannot be read"):
        open_cache(bare, warn=warnings.append)

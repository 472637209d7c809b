"""Each workload has its own part of the result cache, except one that is served from another's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from evolution_gate.fixtures.services import datastores
from validation.stages.cache_namespaces import CacheNamespaces
from validation.stages.evolve_process import Evolve, WorkloadSpec
from validation.stages.ledger_audit import audit

SPEC = WorkloadSpec(
    seed=3, market="synthetic:assets=1,bars=400,seed=2", population_size=8, generations=3
)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    service = datastores.start_redis("test-gate-cache", tmp_path)
    yield service.url
    service.process.kill()
    service.process.wait()


def evolved(tmp_path: Path, name: str, cache: dict[str, str]) -> tuple[str | None, str, int]:
    """Digest, content and hits of an evolution with a cache."""
    store = f"sqlite:///{tmp_path / 'ledger.db'}"
    arguments = ["--mode", "local", "--workers", "1"]
    with Evolve(
        SPEC, store=store, folder=tmp_path, name=name, arguments=arguments, env={}, cache=cache
    ) as evolve:
        ended = evolve.finish(600.0)
    assert ended.error is None
    assert ended.run is not None
    found = audit(store, ended.run, name, SPEC, seed=1, cached=True)
    assert (found.mismatched, found.irregular) == (0, 0)
    assert found.content is not None
    assert found.from_cache is not None
    return ended.digest, found.content, found.from_cache


def test_only_a_served_workload_hits(tmp_path: Path, url: str) -> None:
    said: list[str] = []
    caches = CacheNamespaces(url, said.append)
    assert caches.on
    first = evolved(tmp_path, "first", caches.environment("first"))
    cold = evolved(tmp_path, "cold", caches.environment("cold"))
    served = evolved(tmp_path, "served", caches.environment("first"))
    assert first[:2] == cold[:2] == served[:2]
    assert (first[2], cold[2]) == (0, 0)
    assert served[2] > 0
    with redis.Redis.from_url(url) as client:
        assert len(client.keys("*-first:*")) == len(client.keys("*-cold:*")) == served[2]
        client.set("another's", "kept")
        caches.forget("first")
        assert client.keys("*-first:*") == []
        caches.forget("cold")
        assert client.keys() == [b"another's"]
    # Another campaign on the same server finds nothing of this one.
    assert CacheNamespaces(url, said.append).environment("first") != caches.environment("first")
    assert said == []


def test_lost_server_is_reported_and_harmless() -> None:
    said: list[str] = []
    CacheNamespaces("redis://127.0.0.1:1/0", said.append).forget("first")
    assert said == ["outcomes of first stay in the cache: ConnectionError"]


def test_without_server_there_is_no_cache() -> None:
    caches = CacheNamespaces(None, print)
    assert not caches.on
    assert caches.environment("first") == {"GA_CACHE_URL": ""}
    caches.forget("first")

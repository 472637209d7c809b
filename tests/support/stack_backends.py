"""The backends of tests of the real stack: processes, and containers in the nightly run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evolution_gate import fixtures
from evolution_gate.fixtures import Stack, images
from evolution_gate.fixtures.backends.container import stack as containers
from tests.support import grafana_double

# The short gate of every submission breaks a stack of containers already.
CONTAINERS = pytest.param("containers", marks=pytest.mark.nightly)


@contextmanager
def running_stack(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of two nodes; containers get a stand-in for Grafana's image if there is none."""
    if backend == "processes":
        with fixtures.start_stack(nodes=2, backend="processes") as stack:
            yield stack
        return
    if missing := containers.available():
        pytest.skip(missing)
    client = containers.connect()
    with pytest.MonkeyPatch.context() as patch:
        made = None
        if images.find(client, "grafana") is None:
            base = str(images.find(client, "engine"))
            made = grafana_double.make(client, base, tmp_path_factory.mktemp("grafana"))
            patch.setenv("GA_IMAGE_GRAFANA", made)
        with fixtures.start_stack(nodes=2, backend="containers") as stack:
            yield stack
        if made is not None:
            client.images.remove(made)
    client.close()

"""Read a metrics endpoint."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

Series = dict[tuple[str, tuple[str, ...]], float]


def scrape(url: str) -> Series:
    """Every sample by its name and the values of its labels, those of ``run`` left out."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(v for k, v in sorted(sample.labels.items()) if k != "run")
            found[sample.name, labels] = sample.value
    return found

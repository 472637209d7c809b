"""Strategies in files that ``ga export`` wrote: usable without the ledger that they are from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ga.errors import InputError
from ga.families import KERNEL_VERSION, get_family
from ga.files import read_text
from ga.genome import Genome

FORMAT: Final = "evolution-gate/strategy/1"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """One exported strategy."""

    key: str
    """Its evaluation key in the run that found it."""
    genome: Genome


def read_exported(path: Path) -> Exported:
    """The strategy in a file.

    Raises:
        InputError: it cannot be read, has another format, or is of another kernel version.
    """
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); export it again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: not a strategy of format {FORMAT}; write one with: ga export")
    require_kernels(path, document.get("kernel_version"))
    return exported_of(path, document)


def require_kernels(path: Path, version: object) -> None:
    """Refuse a file that another kernel version wrote.

    Raises:
        InputError: it is another one, so that signals may differ.
    """
    if version != KERNEL_VERSION:
        raise InputError(
            f"{path}: exported for kernels of version {version}, these are"
            f" {KERNEL_VERSION}: its signals may differ; evolve and export it again"
        )


def exported_of(path: Path, document: Mapping[str, object]) -> Exported:
    """The strategy that a JSON object with ``key``, ``family`` and ``genes`` describes.

    Args:
        path: the file that it is from, for messages.

    Raises:
        InputError: its family is unknown, or a gene is missing or out of bounds.
    """
    family = get_family(str(document.get("family")))
    genes = document.get("genes")
    names = [gene.name for gene in family.genes]
    if not isinstance(genes, dict) or sorted(genes) != sorted(names):
        raise InputError(f"{path}: genes must be {', '.join(names)}; export it again")
    values = []
    for gene in family.genes:
        value = genes[gene.name]
        if not isinstance(value, int | float) or value != gene.clip(float(value)):
            raise InputError(
                f"{path}: gene {gene.name} is {value}, outside {gene.low:g}..{gene.high:g};"
                " export it again"
            )
        values.append(float(value))
    key = document.get("key")
    if not isinstance(key, str) or not key:
        raise InputError(f"{path}: has no key; export it again")
    return Exported(key=key, genome=Genome(family.name, tuple(values)))

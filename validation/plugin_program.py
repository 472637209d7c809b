"""Program that loads the files of ``--with``, and judges nothing but their criteria.

``python -m validation.plugin_program FD`` reads its request from stdin and writes the answer to the
file descriptor FD: see ``plugin_process``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ga.errors import InputError
from validation.consistency.check import ReadKinds
from validation.contract import Criterion, CriterionPlugin
from validation.evidence.errors import EvidenceError
from validation.evidence.log import Evidence, pool
from validation.left_out import read_any
from validation.plugin_loading import load
from validation.verdict import judge


def main(descriptor: int) -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.read())
    try:
        plugins = [load(one) for one in request["files"]]
        records = [read_any(Path(one)) for one in request["evidence"]]
        if records:
            pool(records)
        answer: Mapping[str, object] = {"plugins": [_plugin(one, records) for one in plugins]}
    except (EvidenceError, InputError) as error:
        answer = {"error": str(error)}
    except OSError as error:
        answer = {"error": f"{error.filename}: {error.strerror}"}
    with os.fdopen(descriptor, "w", encoding="ascii") as pipe:
        pipe.write(json.dumps(answer))


def _plugin(plugin: CriterionPlugin, records: Sequence[Evidence]) -> dict[str, Any]:
    return {
        "argument": plugin.argument,
        "name": plugin.name,
        "file": str(plugin.file),
        "criteria": [_criterion(one, records) for one in plugin.criteria],
        "records": [
            {"kind": one.KIND, "fields": [field.name for field in dataclasses.fields(one)]}
            for one in plugin.records
        ],
        "mutants": [
            {
                "name": one.name,
                "criterion": one.criterion,
                "expects": one.expects,
                "on_containers": one.on_containers,
            }
            for one in plugin.mutants
        ],
    }


def _criterion(criterion: Criterion, records: Sequence[Evidence]) -> dict[str, Any]:
    said = {
        field.name: getattr(criterion, field.name)
        for field in dataclasses.fields(criterion)
        if field.name != "verdict"
    }
    read = ReadKinds(records)
    verdict = judge(criterion.verdict, read.records) if records else None
    return {
        **said,
        "verdict": None if verdict is None else dataclasses.asdict(verdict),
        "kinds": sorted(read.kinds),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""A certificate counts for one gate, one engine and its dependencies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from ga.errors import InputError
from tests.support.evidence_builders import certificates
from validation import certificates as module
from validation.certificates import certified, read_certificates, refused
from validation.criteria.registry import MUTANTS
from validation.extension import valid_certificates
from validation.mutation.runner import certify

ONES = certificates(["speedup"])


def stored(path: Path, **changes: object) -> Path:
    lines = [json.dumps({**asdict(one), **changes}) + "\n" for one in ONES]
    path.write_text("".join(lines))
    return path


def test_certificate_of_this_system_counts(tmp_path: Path) -> None:
    path = stored(tmp_path / "c.jsonl")
    assert certified(read_certificates(path), MUTANTS) == {"speedup"}
    assert refused(path) == ()
    assert all(one.python.startswith("3.") for one in read_certificates(path))


def test_shipped_certificates_count_for_unchanged_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, tried = tmp_path / "own.jsonl", []

    def left(_: Path, wanted: Sequence[tuple[str, str]], *__: object) -> None:
        tried.extend(wanted)

    monkeypatch.setattr(module, "SHIPPED", stored(tmp_path / "shipped.jsonl"))
    assert certified(valid_certificates(own, []), MUTANTS) == {"speedup"}
    certify(own, criteria=["speedup"], say=print, run_trials=left)
    assert tried == []
    certify(own, criteria=["speedup"], say=print, run_trials=left, force=True)
    assert len(tried) == len(ONES)
    monkeypatch.setattr(module, "SHIPPED", stored(tmp_path / "shipped.jsonl", code="0" * 64))
    assert valid_certificates(own, []) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"code": "0" * 64}, "another version of the gate"),
        ({"engine": "0" * 64}, "another engine"),
        ({"dependencies": ONES[0].dependencies.replace("ray ", "ray 0.")}, "ray 0."),
        ({"dependencies": ""}, "unknown dependencies"),
    ],
)
def test_difference_is_named(changes: dict[str, object], reason: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "c.jsonl", **changes)
    assert read_certificates(path) == ()
    (said,) = refused(path)
    assert said.startswith(f"{len(ONES)} made with ")
    assert reason in said


def test_certificate_of_an_older_gate_does_not_count(tmp_path: Path) -> None:
    fields = {k: v for k, v in asdict(ONES[0]).items() if k not in ("engine", "dependencies")}
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(fields) + "\n")
    assert read_certificates(path) == ()


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "1" * 100_000, "[]", '{"code": NaN}', "\ud800", '{"at": 1, "at": 2}']
)
def test_damaged_file_is_refused_in_one_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(line.encode("utf-8", "surrogatepass") + b"\n")
    with pytest.raises(InputError, match="line 1") as refusal:
        read_certificates(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("part", [0, 1])
def test_half_of_the_mutants_certifies_nothing_more(part: int) -> None:
    """A criterion with a mutant that was not tried is not certified."""
    names = {mutant.criterion for mutant in MUTANTS}
    tried = MUTANTS[part::2]
    found = certified(
        [one for one in certificates(names) if one.defect == "none"] + certificates(names, tried),
        MUTANTS,
    )
    untried = {mutant.criterion for mutant in MUTANTS if mutant not in tried}
    assert found == names - untried

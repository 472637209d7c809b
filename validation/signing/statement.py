"""The in-toto statement of a decision: which files it rests on, and what was decided.

Certificates and campaign logs grow: a line is added for every trial and every run. Of them the
first bytes are signed, and how many (annotation ``bytes``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ga import __version__
from validation.code_hashes import code_hash
from validation.decision import GateResult
from validation.decision_json import as_object
from validation.evidence.chained_lines import canonical
from validation.evidence.errors import EvidenceError
from validation.evidence.files import FileContent, parse_document
from validation.provenance import Source
from validation.signing.state import SignatureError
from validation.soak.segments import MANIFEST, Folder
from validation.stages.environment import environment

TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:evolution-gate:decision:v1"
EVIDENCE: Final = "evidence"
SEGMENT: Final = "segment of a soak"
CERTIFICATES: Final = "certificates"
LOG: Final = "campaign log"
THRESHOLDS: Final = "file of thresholds"
PAGE: Final = "page"
_ROLE, _BYTES = "role", "bytes"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One file that is signed."""

    name: str
    """Path from the folder of the statement."""
    sha256: str
    role: str
    size: int | None = None
    """Of a file that grows: how many of its first bytes have this digest."""

    def data(self) -> dict[str, object]:
        """As a resource descriptor of in-toto."""
        notes = {_ROLE: self.role} | ({} if self.size is None else {_BYTES: self.size})
        return {"name": self.name, "digest": {"sha256": self.sha256}, "annotations": notes}

    @classmethod
    def read(cls, data: Any) -> Subject:
        """The reverse.

        Raises:
            KeyError, TypeError: it has another form.
        """
        notes = data["annotations"]
        found = cls(
            name=data["name"],
            sha256=data["digest"]["sha256"],
            role=notes[_ROLE],
            size=notes.get(_BYTES),
        )
        texts = (found.name, found.sha256, found.role)
        if not all(isinstance(one, str) for one in texts) or type(found.size) not in (
            int,
            type(None),
        ):
            raise TypeError("a subject has a field of another type")
        return found


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What was signed, as far as it is checked."""

    subjects: tuple[Subject, ...]
    decision: str

    def of(self, role: str) -> tuple[Subject, ...]:
        """Its subjects of one role."""
        return tuple(one for one in self.subjects if one.role == role)


def write_statement(
    result: GateResult,
    growing: Mapping[str, Sequence[FileContent]],
    pages: Sequence[FileContent],
    folder: Path,
) -> bytes:
    """The statement of a decision.

    Args:
        result: The decision.
        growing: By role, the certificates and logs that it rests on.
        pages: Files that show the decision, in ``folder``.
        folder: Where the statement is stored.
    """
    subjects = [one for source in result.sources for one in _of_evidence(source, folder)]
    subjects += [
        Subject(
            name=_name(file.path, folder), sha256=file.digest(), role=role, size=len(file.content)
        )
        for role, files in growing.items()
        for file in files
    ]
    subjects += [
        Subject(name=_name(page.path, folder), sha256=page.digest(), role=PAGE) for page in pages
    ]
    decided = as_object(result)
    facts = environment()
    statement = {
        "_type": TYPE,
        "subject": [one.data() for one in subjects],
        "predicateType": PREDICATE,
        "predicate": {
            **{name: decided[name] for name in ("decision", "system", "system_id", "targets")},
            **{name: decided[name] for name in ("verdicts", "uncertified", "reservations")},
            **{name: decided[name] for name in ("plugins", "left_out")},
            "runs": [
                {
                    "run": source.run,
                    "sha256": source.sha256,
                    "seed": source.seed,
                    "started_at": source.started_at,
                    "backend": source.backend,
                    "closed": source.closed,
                }
                for source in result.sources
            ],
            "gate": {"version": __version__, "commit": facts["commit"], "code": code_hash()},
            "signed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }
    return canonical(statement).encode("ascii")


def read_statement(payload: bytes) -> Statement:
    """A statement, after its signature was checked.

    Raises:
        SignatureError: it is not about a decision of this gate.
    """
    try:
        fields = parse_document(payload)
        if fields["_type"] != TYPE or fields["predicateType"] != PREDICATE:
            raise SignatureError("what was signed is not a decision of this gate")
        return Statement(
            subjects=tuple(map(Subject.read, fields["subject"])),
            decision=str(fields["predicate"]["decision"]),
        )
    except (EvidenceError, KeyError, TypeError, AttributeError) as error:
        raise SignatureError(f"what was signed cannot be read ({type(error).__name__})") from None


def _of_evidence(source: Source, folder: Path) -> Iterator[Subject]:
    place = Path(source.path)
    soak = place.is_dir()
    name = _name(place / MANIFEST if soak else place, folder)
    yield Subject(name=name, sha256=source.sha256, role=EVIDENCE)
    for file, digest in Folder.load(place).segments if soak else ():
        if digest is not None:
            yield Subject(name=_name(place / file, folder), sha256=digest, role=SEGMENT)


def _name(path: Path, folder: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve())

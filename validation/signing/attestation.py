"""The attestation of a decision: signs it, and checks it against the files that are judged now."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ga.errors import InputError
from validation.decision import Decision, GateResult
from validation.evidence.errors import EvidenceError, in_one_line
from validation.evidence.files import FileContent, read_document, read_file
from validation.judging import Judged
from validation.provenance import Source
from validation.signing.keys import PrivateKey, PublicKey
from validation.signing.state import Signature, SignatureError, State
from validation.signing.statement import (
    CERTIFICATES,
    EVIDENCE,
    LOG,
    PAGE,
    THRESHOLDS,
    Statement,
    Subject,
    read_statement,
    write_statement,
)

FILE: Final = "attestation.json"
"""Name of the envelope in the folder of a run."""
VERDICT: Final = "verdict.json"
"""Name of the decision next to an envelope that the command line made."""
_KEY_ID: Final = re.compile("[0-9a-f]{64}")


def place_of(files: Sequence[Path], named: Path | None) -> Path | None:
    """Where the attestation of a decision is: ``named``, or in the folder of the one run.

    None: of several runs without a name there is none.
    """
    if named is not None:
        return named
    if len(files) != 1:
        return None
    (file,) = files
    return (file if file.is_dir() else file.parent) / FILE


def require_place(files: Sequence[Path], named: Path | None) -> Path:
    """``place_of``, where it is needed.

    Raises:
        InputError: several runs, and no name.
    """
    place = place_of(files, named)
    if place is None:
        raise InputError(
            "several runs have no common folder: name their attestation with --attestation FILE"
        )
    return place


def read_again(files: Sequence[FileContent]) -> tuple[FileContent, ...]:
    """The same files as they are now; those that are not there are left out."""
    there = [one.path for one in files if one.path.exists()]
    return tuple(FileContent(path=path, content=read_file(path)) for path in there)


def signed_by(key: PrivateKey, judged: Judged) -> Judged:
    """The decision as its pages show it: they are written before the envelope that names them."""
    signature = Signature(state=State.SIGNED, key_id=key.public.id)
    return replace(judged, result=replace(judged.result, signature=signature))


def sign(judged: Judged, key: PrivateKey, place: Path, *, pages: Sequence[Path] = ()) -> Path:
    """Sign a decision and store the envelope.

    Args:
        judged: The decision, and what it rests on.
        key: Who signs.
        place: The envelope's file; one that is there is replaced.
        pages: Files that show the decision, next to ``place``.

    Returns:
        The envelope's path.

    Raises:
        OSError: a file cannot be read or written.
    """
    growing = {
        CERTIFICATES: [judged.certificates] if judged.certificates.content else [],
        LOG: judged.logs,
        THRESHOLDS: _thresholds(judged),
    }
    shown = [FileContent(path=page, content=page.read_bytes()) for page in pages]
    payload = write_statement(judged.result, growing, shown, place.parent)
    text = json.dumps(key.sign(payload), indent=1) + "\n"
    draft = place.with_name(f"{place.name}.new")
    draft.write_text(text, encoding="ascii")
    os.replace(draft, place)
    return place


def said(place: Path | None) -> Signature:
    """What an envelope says about itself; nobody has checked it."""
    if place is None or not os.path.lexists(place):
        return Signature()
    try:
        signatures: Any = read_document(place)["signatures"]
        key_id = str(signatures[0]["keyid"])
    except (EvidenceError, OSError, LookupError, TypeError):
        key_id = ""
    # It is printed.
    named = key_id if _KEY_ID.fullmatch(key_id) else ""
    return Signature(state=State.NOT_CHECKED, key_id=named)


def verified(judged: Judged, place: Path, key: PublicKey) -> GateResult:
    """The decision, after its signature was checked.

    It is never better than what was signed: GO takes a signed GO. So lines that were added to a log
    since then can make it worse, and nothing else.

    Raises:
        SignatureError: the signature is missing, by another key, or over other bytes.
    """
    try:
        statement = read_statement(key.payload_of(_envelope(place)))
        _require_evidence(statement, judged.result.sources)
        certificates = [judged.certificates] if judged.certificates.content else []
        _require_prefixes(statement.of(CERTIFICATES), certificates)
        _require_prefixes(statement.of(LOG), judged.logs)
        _require_prefixes(statement.of(THRESHOLDS), _thresholds(judged))
        _require_pages(statement.of(PAGE), place.parent)
    except SignatureError as error:
        raise SignatureError(f"{place}: {error}") from None
    result = judged.result
    if result.decision is Decision.GO and statement.decision != result.decision_text:
        result = replace(
            result,
            decision=Decision.INCONCLUSIVE,
            reservations=(
                *result.reservations,
                f"the signed decision is {statement.decision}; sign a new one",
            ),
        )
    return replace(result, signature=Signature(state=State.VERIFIED, key_id=key.id))


def _thresholds(judged: Judged) -> list[FileContent]:
    file = judged.result.targets.file
    return [] if file is None else [file]


def _envelope(place: Path) -> dict[str, Any]:
    try:
        return read_document(place)
    except FileNotFoundError:
        raise SignatureError("no signature; make one with: gate FILE --sign KEY") from None
    except (EvidenceError, OSError) as error:
        raise SignatureError(in_one_line(error).removeprefix(f"{place}: ")) from None


def _require_evidence(statement: Statement, sources: Sequence[Source]) -> None:
    signed = {one.sha256 for one in statement.of(EVIDENCE)}
    judged = {source.sha256: source for source in sources}
    if other := [source for digest, source in judged.items() if digest not in signed]:
        raise SignatureError(f"{other[0].path} is not what was signed")
    if missing := [one for one in statement.of(EVIDENCE) if one.sha256 not in judged]:
        raise SignatureError(f"it was signed together with {missing[0].name!r}; name that, too")


def _require_prefixes(subjects: Sequence[Subject], files: Sequence[FileContent]) -> None:
    for one in subjects:
        size = one.size
        if size is None or not any(
            0 <= size <= len(file.content) and file.digest(size) == one.sha256 for file in files
        ):
            raise SignatureError(f"the {one.role} is missing, or not what was signed")


def _require_pages(subjects: Sequence[Subject], folder: Path) -> None:
    for one in subjects:
        page = folder / one.name
        if Path(one.name).name != one.name or not page.exists():
            continue
        try:
            content = read_file(page)
        except (EvidenceError, OSError) as error:
            raise SignatureError(in_one_line(error)) from None
        if FileContent(path=page, content=content).digest() != one.sha256:
            raise SignatureError(f"{page} is not what was signed; sign it again")

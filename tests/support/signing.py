"""Keys, and a run that gives GO, for tests of signatures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.support.evidence_builders import certificates, passing, write
from tests.support.evidence_records import Timed
from validation.campaigns import log as campaigns
from validation.criteria.registry import CRITERIA
from validation.evidence.identity import identity
from validation.evidence.log import FILE, read_evidence

OPTIONS = ("--max-age", "100000", "--certificates", "certificates.jsonl")
PASSWORD = "correct horse battery staple"


def key_files(folder: Path, name: str = "key", password: str = "") -> tuple[Path, Path]:
    """A new key: its private and its public file."""
    key = Ed25519PrivateKey.generate()
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub"
    locked = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    secret.chmod(0o600)
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return secret, public


def run_folder(folder: Path, run: str = "run", events: Sequence[Timed] | None = None) -> Path:
    """Evidence of a run, listed in the campaign log of ``folder``."""
    file = write(folder / run / FILE, passing() if events is None else events, run=run)
    record, log = read_evidence(file), folder / campaigns.FILE
    campaigns.begin(log, run, evidence=file, command="pytest", system=identity(record))
    campaigns.end(log, run, "finished", sha256=record.sha256)
    return file.parent


def certify_all(folder: Path) -> Path:
    """Certificates of every criterion."""
    path = folder / "certificates.jsonl"
    lines = [json.dumps(asdict(one)) for one in certificates([c.id for c in CRITERIA])]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return path

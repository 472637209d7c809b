"""Would the gate catch a broken system? Defects are planted in a copy of the tree, run on a real
stack, and judged like anything else; see ``python -m validation certify``."""

from __future__ import annotations

from validation.sabotage.certificates import (
    Certificate,
    certified,
    code_hash,
    false_alarms,
    read_certificates,
)
from validation.sabotage.certify import CERTIFICATES, certify
from validation.sabotage.defects import DEFECTS, Defect

__all__ = [
    "CERTIFICATES",
    "DEFECTS",
    "Certificate",
    "Defect",
    "certified",
    "certify",
    "code_hash",
    "false_alarms",
    "read_certificates",
]

"""``python -m tests.support.poisoned``: ``python -m ga`` with the families of ``poison``."""

from __future__ import annotations

import sys

import ga.families
from ga.cli import main
from ga.ledger import records
from tests.support import poison

if __name__ == "__main__":
    ga.families.FAMILIES = poison.families()
    main.Settings = records.Settings = poison.PoisonSettings
    sys.exit(main.main())

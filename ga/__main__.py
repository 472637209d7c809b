"""``python -m ga``."""

import sys

from ga.cli import main

if __name__ == "__main__":
    sys.exit(main())

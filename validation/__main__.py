"""``python -m validation``."""

from validation.cli.main import main

raise SystemExit(main())

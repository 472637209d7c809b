"""``python -m validation``, and the command ``evolution-gate``."""

import sys

from ga.cli import exit_status


def run() -> None:
    """Run one command and exit with its status."""
    exit_status.open_standard_streams()
    exit_status.watch_standard_streams()
    from validation.cli.main import UNUSABLE, main

    try:
        status = main()
    except SystemExit as ended:
        # ``--help``, or bad options.
        status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    sys.exit(exit_status.after_output(status, unwritten=UNUSABLE, prefix="error:"))


if __name__ == "__main__":
    run()

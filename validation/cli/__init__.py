"""The command line: ``python -m validation``."""

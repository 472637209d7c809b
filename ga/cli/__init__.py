"""The command line: ``python -m ga``."""

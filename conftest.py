"""Options and outcomes of the validation suite; see ``validation/pytest_plugin.py``."""

pytest_plugins = ["validation.pytest_plugin"]

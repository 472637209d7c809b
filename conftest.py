"""Options and outcomes of the validation suite; the fixtures live in ``validation/plugin.py``."""

pytest_plugins = ["validation.plugin"]

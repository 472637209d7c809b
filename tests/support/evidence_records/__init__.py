"""Single synthetic records: see ``validation.simulation``."""

# ruff: noqa: F401, F403
from validation.simulation.monitors import answered, machine, observer, services
from validation.simulation.records import *

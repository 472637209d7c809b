"""Single synthetic records: see ``validation.simulation``."""

# ruff: noqa: F401, F403
from validation.simulation.load import *
from validation.simulation.monitors import (
    answered,
    job,
    machine,
    observer,
    services,
    start_up,
)
from validation.simulation.records import *
from validation.simulation.resources import price

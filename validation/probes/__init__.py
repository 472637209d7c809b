"""What is watched from outside while things break: each probe writes evidence, and only that."""

from __future__ import annotations

from validation.probes.observe import Observe
from validation.probes.panels import ask_all
from validation.probes.watch import Outages, Watch
from validation.probes.webhook import Webhook

__all__ = ["Observe", "Outages", "Watch", "Webhook", "ask_all"]

"""Evaluators turn genomes into outcomes: on this machine, or on a Ray cluster."""

from __future__ import annotations

from ga.evaluators.base import BatchResult, Evaluator
from ga.evaluators.local import LocalEvaluator

__all__ = ["BatchResult", "Evaluator", "LocalEvaluator"]

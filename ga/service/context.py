"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass

from ga.ledger import Ledger
from ga.service.database_watch import DatabaseWatch
from ga.service.event_hub import EventHub
from ga.service.job_store import Job, JobStore
from ga.service.limits import Limits
from ga.service.middleware import Metrics
from ga.service.problem_details import ProblemError
from ga.service.supervisor import Runner
from ga.service.tokens import Audit


@dataclass(frozen=True, kw_only=True)
class Context:
    """The parts of the service that handlers use."""

    ledger: Ledger
    store: JobStore
    runner: Runner
    watch: DatabaseWatch
    events: EventHub
    limits: Limits
    metrics: Metrics
    audit: Audit

    def job(self, run: str) -> Job:
        """An evolution that was accepted.

        Raises:
            ProblemError: 404, there is none.
        """
        job = self.store.get(run)
        if job is None:
            raise ProblemError(404, f"no evolution {run}")
        return job

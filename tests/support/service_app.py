"""The service's application in the process of the test."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from ga.ledger import open_ledger
from ga.service.app import make_app
from ga.service.job_store import JobStore
from ga.service.limits import Limits
from ga.service.supervisor import Runner, engine_command
from ga.service.tokens import Tokens

TOKEN = "a-token-of-the-tests-alone"
GOOD = {"market": "synthetic:bars=600", "population_size": 12, "generations": 2}


class Service:
    """An application whose evolutions stay where they are until a test moves them."""

    def __init__(
        self,
        folder: Path,
        *,
        token: str | Tokens = TOKEN,
        hosts: list[str] | None = None,
        **limits: object,
    ) -> None:
        self.ledger = open_ledger(str(folder / "ledger.db"), create=True)
        self.store = JobStore(self.ledger.engine)
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        runner = Runner(
            self.store,
            self.limits,
            command=engine_command(self.limits, address=None, workers=1),
            env={},
            say=print,
        )
        self.app = make_app(
            ledger=self.ledger,
            store=self.store,
            runner=runner,
            limits=self.limits,
            token=token,
            hosts=hosts,
        )
        self.http = TestClient(self.app, headers={"Authorization": f"Bearer {TOKEN}"})

    def submit(self, key: str = "one", **changes: object):
        body = {**GOOD, **changes}
        return self.http.post("/v1/evolutions", json=body, headers={"Idempotency-Key": key})

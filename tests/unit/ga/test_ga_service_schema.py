"""The service's description, fuzzed: whatever is sent, no answer is 5xx, and every answer is one
that the description promises."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from ga.service.supervisor import Runner
from tests.support.service_app import GOOD, TOKEN, Service

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
SUBMIT = "POST /v1/evolutions"
EXAMPLES = 12
BARE = {"GET /healthz", "GET /readyz"}
"""Routes where there is nothing that could be wrong."""
ROUTES = {
    *BARE,
    SUBMIT,
    "GET /v1/evolutions",
    "GET /v1/evolutions/{run}",
    "DELETE /v1/evolutions/{run}",
    "GET /v1/evolutions/{run}/events",
    "GET /v1/evolutions/{run}/strategies",
    "GET /v1/evolutions/{run}/strategies/{key}",
    "GET /metrics",
    "GET /v1/audit",
}
load_all_checks()
# Which markets there are, and how large an evolution may be, no schema says.
BEYOND_SCHEMA = [
    check for check in CHECKS.get_all() if check.__name__ == "positive_data_acceptance"
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("fuzzed"), queued=10)
    with (
        contextlib.closing(made.ledger),
        made.http,
        pytest.MonkeyPatch.context() as patch,
    ):
        # As if evolutions were looked after; they stay where they are.
        patch.setattr(Runner, "alive", property(lambda _: True))
        yield made


def fuzz(
    service: Service,
    route: str,
    mode: GenerationMode,
    change: Callable[[schemathesis.Case], None] = lambda _: None,
    examples: int = EXAMPLES,
) -> Counter[int]:
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    operations = {found.ok().label: found.ok() for found in schema.get_all_operations()}
    assert set(operations) == ROUTES
    seen: Counter[int] = Counter()

    @given(case=operations[route].as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case) -> None:
        change(case)
        excluded = BEYOND_SCHEMA if route == SUBMIT else []
        answer = case.call_and_validate(headers=HEADERS, excluded_checks=excluded)
        assert answer.status_code < 500
        seen[answer.status_code] += 1

    send()
    return seen


@pytest.mark.parametrize("route", sorted(ROUTES - {SUBMIT}))
def test_valid_examples_match_schema(service: Service, route: str) -> None:
    assert fuzz(service, route, GenerationMode.POSITIVE)


@pytest.mark.parametrize("route", sorted(ROUTES - BARE))
def test_invalid_examples_are_rejected(service: Service, route: str) -> None:
    seen = fuzz(service, route, GenerationMode.NEGATIVE)
    assert any(status >= 400 for status in seen)


def test_submissions_follow_schema_until_queue_full(service: Service) -> None:
    def possible(case: schemathesis.Case) -> None:
        case.body["market"] = GOOD["market"]
        for name in ("families", "assets", "start", "end", "timeframe"):
            case.body.pop(name, None)
        # In JSON Schema 1.0 is an integer; here it is not.
        for name, least in (("seed", 0), ("folds", 1), ("population_size", 1), ("generations", 1)):
            case.body[name] = int(min(case.body.get(name, least), 100))

    seen = fuzz(service, SUBMIT, GenerationMode.POSITIVE, possible, examples=30)
    assert set(seen) <= {200, 202, 409, 429}
    assert seen[202] == 10
    assert seen[429]
    assert fuzz(service, SUBMIT, GenerationMode.POSITIVE)[422]


@pytest.mark.parametrize("route", sorted(route for route in ROUTES if "{run}" in route))
def test_existing_evolution_follows_schema(service: Service, route: str) -> None:
    run, _ = service.store.accept("known", {**GOOD}, most=1000)
    service.store.move(run, "finished")

    def known(case: schemathesis.Case) -> None:
        case.path_parameters["run"] = run

    seen = fuzz(service, route, GenerationMode.POSITIVE, known)
    expected = 409 if route.startswith("DELETE") else 404 if "{key}" in route else 200
    assert set(seen) == {expected}

"""The routes of evolutions and of their strategies. Handlers that ask the database are plain
functions: they run in threads, and the loop stays quick.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import ValidationError

from ga.errors import InputError
from ga.families import get_family
from ga.ledger.columns import DamagedError
from ga.ledger.soundness import require_genomes
from ga.ledger.strategies import candidates
from ga.listing import CANDIDATES
from ga.presentation import sharpe_row, strategy_row
from ga.service.context import Context
from ga.service.guards import plain_json
from ga.service.job_store import ConflictError, FullError, Job
from ga.service.limits import Limits
from ga.service.listings import Listings
from ga.service.models import (
    MARKET,
    EvolutionRequest,
    Evolutions,
    EvolutionState,
    ListedStrategy,
    State,
    Strategies,
    Strategy,
)
from ga.service.problem_details import ProblemError, described
from ga.sources.selection import parse_selection

RunId = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
_CURSOR: Final = r"^[0-9]{1,12}\.[0-9]{1,9}_[0-9a-f]{12}$"
Limit = Annotated[int, Query(ge=1, le=100)]


def add_evolutions(routes: APIRouter, context: Context) -> None:
    """Submit, list, show and cancel evolutions."""

    @routes.post(
        "/v1/evolutions",
        operation_id="submitEvolution",
        status_code=202,
        dependencies=[Depends(plain_json)],
        response_model=EvolutionState,
        responses={
            200: {"model": EvolutionState, "description": "Submitted before with this key"},
            **described(400, 401, 403, 408, 409, 413, 422, 429, 500, 503),
        },
    )
    def submit(
        request: EvolutionRequest,
        response: Response,
        http: Request,
        idempotency_key: Annotated[str, Header(pattern=r"^[\x21-\x7e]{1,200}$")],
    ) -> EvolutionState:
        """Submit an evolution. 202: it is stored, and will be evolved whatever happens to the
        service. The same key and body again give the same evolution.
        """
        _check(request, context.limits)
        try:
            body = request.model_dump(mode="json")
            run, new = context.store.accept(idempotency_key, body, most=context.limits.queued)
        except ConflictError:
            detail = "this Idempotency-Key was used with another body; take a new one"
            raise ProblemError(409, detail) from None
        except FullError:
            detail = f"{context.limits.queued} evolutions have not ended yet; try again later"
            raise ProblemError(429, detail, {"Retry-After": "10"}) from None
        http.state.run = run
        response.headers["Location"] = f"/v1/evolutions/{run}"
        if new:
            context.runner.wake()
        else:
            response.status_code = 200
        return evolution_state(context.job(run))

    _add_list(routes, context)

    @routes.get(
        "/v1/evolutions/{run}",
        operation_id="getEvolution",
        response_model=EvolutionState,
        responses=described(401, 403, 404, 422, 429, 500, 503),
    )
    def get_evolution(run: RunId) -> EvolutionState:
        """One evolution."""
        return evolution_state(context.job(run))

    @routes.delete(
        "/v1/evolutions/{run}",
        operation_id="cancelEvolution",
        response_model=EvolutionState,
        responses=described(401, 403, 404, 408, 409, 413, 422, 429, 500, 503),
    )
    def cancel(run: RunId) -> EvolutionState:
        """Cancel an evolution that has not ended; what it has in the ledger stays."""
        job = context.job(run)
        if not context.store.move(run, "cancelled") and context.job(run).state != "cancelled":
            raise ProblemError(409, f"evolution {run} has ended: {context.job(job.run).state}")
        context.runner.wake()
        return evolution_state(context.job(run))


def _add_list(routes: APIRouter, context: Context) -> None:
    @routes.get(
        "/v1/evolutions",
        operation_id="listEvolutions",
        response_model=Evolutions,
        responses=described(401, 403, 422, 429, 500, 503),
    )
    def list_evolutions(
        limit: Limit = 20,
        state: State | None = None,
        market: Annotated[str | None, Query(pattern=MARKET)] = None,
        since: Annotated[float | None, Query(ge=0, le=1e11)] = None,
        after: Annotated[str | None, Query(pattern=_CURSOR)] = None,
    ) -> Evolutions:
        """Accepted evolutions, newest first: of a state, of a market, accepted since a time in
        seconds since the epoch, and after an earlier page.
        """
        created, _, run = (after or "").partition("_")
        found = context.store.newest(
            limit + 1,
            state,
            market=market,
            since=since,
            after=(float(created), run) if after else None,
        )
        page = found[:limit]
        more = len(found) > limit
        return Evolutions(
            evolutions=[evolution_state(job) for job in page],
            next=f"{page[-1].created_at!r}_{page[-1].run}" if more else None,
        )


def add_strategies(routes: APIRouter, context: Context) -> None:
    """Show what evolutions found."""
    listings = Listings(context.ledger)

    @routes.get(
        "/v1/evolutions/{run}/strategies",
        operation_id="listStrategies",
        response_model=Strategies,
        responses=described(401, 403, 404, 409, 422, 429, 500, 503),
    )
    def strategies(
        run: RunId, limit: Limit = 20, every: Annotated[bool, Query(alias="all")] = False
    ) -> Strategies:
        """The best strategies of an evolution so far. They are distinct: of strategies whose
        returns correlate by 0.7 or more the best one, at most two of a family. With ``all``: the
        best ones as stored, even if they are alike, without statistics and benchmarks.
        """
        context.job(run)
        context.ledger.require_sound("runs", run=run, anchored=("strategies",))
        if not every:
            listed = listings.get(run)
            return listed.model_copy(update={"strategies": listed.strategies[:limit]})
        found = context.ledger.strategies(run, limit)
        require_genomes(found)
        rows = [{**strategy_row(one), **sharpe_row(one)} for one in found]
        return Strategies(strategies=[ListedStrategy.model_validate(row) for row in rows])

    @routes.get(
        "/v1/evolutions/{run}/strategies/{key}",
        operation_id="getStrategy",
        response_model=Strategy,
        responses=described(401, 403, 404, 422, 429, 500, 503),
    )
    def strategy(run: RunId, key: Annotated[str, Path(pattern="^[0-9a-f]{8,64}$")]) -> Strategy:
        """One strategy by its key, or by the first eight letters of it."""
        context.job(run)
        context.ledger.require_sound("runs", run=run, anchored=("strategies",))
        best = context.ledger.strategies(run, 100)
        # A distinct list also has strategies of families that are not among the best.
        best += candidates(context.ledger.engine, run, CANDIDATES)
        for one in best:
            if one.outcome.key.startswith(key):
                require_genomes([one])
                return Strategy.model_validate({**strategy_row(one), **sharpe_row(one)})
        raise ProblemError(404, f"no strategy {key} among the best of {run}")


def _check(request: EvolutionRequest, limits: Limits) -> None:
    for name in ("population_size", "generations"):
        asked, most = getattr(request, name), getattr(limits, name)
        if asked > most:
            raise InputError(f"{name} {asked:,} is over this service's limit of {most:,}")
    for family in request.families or ():
        get_family(family)
    limits.market(request.market)
    parse_selection(
        assets=request.assets,
        start=request.start,
        end=request.end,
        timeframe=request.timeframe,
    )


def evolution_state(job: Job) -> EvolutionState:
    """As the service shows it.

    Raises:
        LedgerError: its stored request is none.
    """
    try:
        request = EvolutionRequest.model_validate(job.body)
    except ValidationError as error:
        reason = f"{error.error_count()} fields are not those of a request"
        raise DamagedError("requests", "body", reason, job.run) from None
    return EvolutionState(
        id=job.run,
        state=job.state,
        request=request,
        generation=job.generation,
        digest=job.digest,
        error=job.error,
        created_at=job.created_at,
        ended_at=job.ended_at,
    )

"""Models of requests and responses for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ga.backtest.simulation import Costs

State = Literal["queued", "running", "finished", "failed", "cancelled"]
OPEN: tuple[State, ...] = ("queued", "running")
MARKET = r"^[\x21-\x7e]{1,200}$"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:\-]{1,40}$")]
Time = Annotated[str, Field(pattern=r"^[0-9T:.+Z\-]{4,40}$")]


class EvolutionRequest(BaseModel):
    """An evolution to run; the fields are the options of ``python -m ga evolve``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    market: Annotated[str, Field(pattern=MARKET)]
    assets: Annotated[list[Name], Field(min_length=1, max_length=100)] | None = None
    start: Time | None = None
    end: Time | None = None
    timeframe: Annotated[str, Field(pattern=r"^[0-9]{1,4}[a-z]{1,3}$")] | None = None
    population_size: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    generations: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    families: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]],
            Field(min_length=1, max_length=14),
        ]
        | None
    ) = None
    folds: Annotated[int, Field(ge=1, le=100)] = 4
    fee: Annotated[float, Field(ge=0.0, lt=0.5)] = Costs().fee
    slippage: Annotated[float, Field(ge=0.0, lt=0.5)] = Costs().slippage
    mode: Literal["auto", "local", "distributed"] = "auto"


class EvolutionState(BaseModel):
    """An accepted evolution, and how far it is."""

    id: str
    state: State
    request: EvolutionRequest
    generation: int
    """Generations in the ledger."""
    digest: str | None
    """Of the history so far; None before the first generation."""
    error: str | None
    created_at: float
    """Seconds since the epoch."""
    ended_at: float | None


class Evolutions(BaseModel):
    """Accepted evolutions, newest first."""

    evolutions: list[EvolutionState]
    next: str | None = None
    """The parameter ``after`` of the next page; None on the last."""


class Event(BaseModel):
    """One event of a stream; ``data`` is JSON: a generation, or how the evolution ended."""

    event: Literal["generation", "end"]
    data: str
    id: str = ""
    """The generation's number, to go on after it by Last-Event-ID; the end has none."""


class Strategy(BaseModel):
    """One strategy; Sharpe ratios are annualised and net, and None until its run has ended."""

    key: str
    family: str
    genes: dict[str, float]
    fitness: float | None
    trades: int
    max_drawdown: float
    generation: int
    in_sample_sharpe: float | None
    out_of_sample_sharpe: float | None
    holdout_sharpe: float | None


class Statistics(BaseModel):
    """Statistics of a portfolio on one part of the history, net of costs; fractions, not per cent.

    ``sharpe`` is annualised, a mean over folds and assets; ``turnover`` is a year's; ``exposure``
    is the share of bars with a position.
    """

    bars: int
    sharpe: float
    cagr: float
    volatility: float
    max_drawdown: float
    turnover: float
    exposure: float
    trades: int


class ListedStrategy(Strategy):
    """A strategy of a list."""

    statistics: dict[str, Statistics] | None = None
    """By part: ``in-sample``, ``out-of-sample``, ``hold-out``; None in a list of ``all``."""


class Benchmark(BaseModel):
    """A position that never changes, on the same market and costs."""

    name: str
    position: float
    """Fraction of equity in each asset, from -1 (short) to 1 (long)."""
    statistics: dict[str, Statistics]


class Strategies(BaseModel):
    """The best strategies of a run, best first, and the benchmarks of its market."""

    strategies: list[ListedStrategy]
    benchmarks: list[Benchmark] = []
    """Empty in a list of ``all``, and before the first generation."""


class AuditEntry(BaseModel):
    """A change, or one that was refused."""

    at: float
    """Seconds since the epoch."""
    token: str
    """The name of the token's owner."""
    role: str
    client: str | None
    method: str
    path: str
    outcome: str | int
    """``done``, ``forbidden``, or the status of the refusal."""
    run: str | None = None


class AuditEntries(BaseModel):
    """Changes, newest first."""

    entries: list[AuditEntry]


class Health(BaseModel):
    """The service lives, or is ready for work."""

    status: Literal["ok"]


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str

"""Evolution from Python: ``evolve`` and ``load_run``."""

from __future__ import annotations

import gc
import operator
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from ga import workflow
from ga.api.loading import MarketData, load_market, pin, with_source
from ga.api.results import Run, make_run
from ga.api.words import python_words
from ga.appraisal import stored
from ga.backtest.simulation import Costs
from ga.evaluation.settings import Settings
from ga.evolution import Plan
from ga.execution.forkserver import start_forkserver
from ga.families import FAMILIES
from ga.ledger import Ledger
from ga.ledger.connection import explained_database_errors
from ga.market import Market
from ga.progress import ProgressLine
from ga.runner import Progress
from ga.store_url import url_of

_DEFAULT = Costs()


class _Listener:
    """What ``progress`` asks for."""

    def __init__(self, progress: bool | Callable[[Progress], None]) -> None:
        self._progress = progress
        self.run: str | None = None

    def say(self, text: str) -> None:
        if self._progress is True:
            print(text, file=sys.stderr)

    def begun(self, run: str) -> None:
        self.run = run

    def reading(self, ledger: Ledger) -> AbstractContextManager[None]:
        del ledger
        return nullcontext()

    def watching(self) -> AbstractContextManager[Callable[[Progress], None]]:
        if callable(self._progress):
            return nullcontext(self._progress)
        return _line() if self._progress else nullcontext(lambda _: None)


@contextmanager
def _line() -> Iterator[Callable[[Progress], None]]:
    with ProgressLine() as line:
        yield line.show


# Long: the documentation of its arguments is half of it.
def evolve(
    market: Market | MarketData,
    *,
    seed: int = 0,
    population_size: int = 200,
    generations: int = 20,
    families: str | Sequence[str] | None = None,
    folds: int = 4,
    fee: float = _DEFAULT.fee,
    slippage: float = _DEFAULT.slippage,
    mode: str = "auto",
    workers: int | None = None,
    address: str | None = None,
    store: str | Path | None = None,
    top: int = 5,
    distinct: bool = True,
    time_budget: float | None = None,
    stop_after: int | None = None,
    progress: bool | Callable[[Progress], None] = True,
) -> Run:
    """Evolve trading strategies on a market, and measure the best on its hold-out.

    Equal markets and equal arguments up to ``slippage`` give the same run, bit for bit, and the
    digest that ``python -m ga evolve`` prints.

    Args:
        market: What ``load_market`` returned, or takes.
        seed: Fixes the history.
        population_size: Individuals of a generation.
        generations: Number of generations, with the first, which is random.
        families: Names of strategy families; by default all that the market has the data for.
        folds: Walk-forward folds.
        fee: Fraction of the traded value.
        slippage: How much worse than the open a trade is filled, as a fraction of the price.
        mode: ``local``: processes of this machine; ``distributed``: a Ray cluster; ``auto``: with
            an address the faster one, else ``local``.
        workers: Processes or slots; all by default.
        address: ``HOST:PORT`` of a Ray cluster.
        store: The ledger: a file, ``sqlite:///FILE`` or ``postgresql://...``. Commands can
            continue, verify and show the run. By default the run is not kept.
        top: Number of strategies to keep, at most 1000.
        distinct: Keep the best of each cluster of strategies whose returns correlate by 0.7 or
            more, at most two of a family; False: the best, even if they are alike.
        time_budget: Seconds after which the run ends, between two generations. Its history is then
            the beginning of the whole one, and with a store ``python -m ga resume`` continues it.
        stop_after: Generations without a better fitness after which the run ends likewise.
        progress: True: a bar on a terminal, else lines, on stderr; a function: called with each
            ``Progress``; False: none.

    Raises:
        InputError: a bad argument or market.
        MachineError: this machine cannot evaluate.
        ClusterError: no worker can be started.
        LedgerError: the store is unavailable or damaged.
        KeyboardInterrupt: Ctrl-C; the workers have ended, and a note says how to continue a run
            with a store.
    """
    listener = _Listener(progress)
    with (
        python_words(),
        _collectable(),
        _ledger(store) as ledger,
        explained_database_errors(ledger),
    ):
        names = tuple(families.split(",")) if isinstance(families, str) else families
        plan = Plan(
            seed=operator.index(seed),
            population_size=operator.index(population_size),
            generations=operator.index(generations),
            families=tuple(FAMILIES) if names is None else tuple(names),
        )
        settings = Settings(costs=Costs(fee=fee, slippage=slippage), folds=folds)
        options = workflow.Options(
            store=ledger, mode=mode, workers=workers, address=address, top=top,
            all_alike=not distinct, time_budget=time_budget, stop_after=stop_after,
        )  # fmt: skip
        start_forkserver()
        loaded = market if isinstance(market, Market) else load_market(market)
        with _resumable(listener, None if store is None else ledger) as kept:
            _, result = workflow.evolve(
                lambda: loaded,
                pin=lambda one: pin(one, kept),
                plan=plan,
                families=names,
                settings=settings,
                options=options,
                listener=listener,
            )
    return make_run(result, loaded, None if store is None else str(store))


def load_run(store: str | Path, run: str, *, top: int = 5, distinct: bool = True) -> Run:
    """Open a finished run of a ledger.

    Args:
        store: See ``evolve``.
        run: The start of its id, as ``python -m ga runs`` lists it.
        top: Number of strategies to keep, at most 1000.
        distinct: See ``evolve``.

    Raises:
        InputError: there is no such run, it is not finished, or its market has changed.
        LedgerError: the store is unavailable or damaged.
    """
    with python_words(), explained_database_errors(str(store)):
        source, result = stored(str(store), run, top=top, all_alike=not distinct)
    return make_run(result, with_source(result.market, source), str(store))


@contextmanager
def _ledger(store: str | Path | None) -> Iterator[str]:
    """The store, or a temporary one."""
    if store is not None:
        yield str(store)
        return
    with tempfile.TemporaryDirectory(prefix="ga-") as folder:
        yield str(Path(folder) / "ga.db")


@contextmanager
def _resumable(listener: _Listener, store: str | None) -> Iterator[str | None]:
    """Say how to continue a run in a store that is interrupted; gives the store."""
    try:
        yield store
    except KeyboardInterrupt as error:
        if listener.run is not None and store is not None:
            shown = url_of(store).render_as_string() if "://" in store else store
            command = ["python", "-m", "ga", "resume", listener.run, "--store", shown]
            error.add_note(f"continue with: {shlex.join(command)}")
        raise


@contextmanager
def _collectable() -> Iterator[None]:
    """Undo at the end what a run does to the garbage collector, which is the user's."""
    frozen = gc.get_freeze_count()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()

"""New generations of all watched evolutions, read by one thread for all watchers.

The number of queries depends on the time and on the watched evolutions, never on the number of
watchers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ga.errors import LedgerError
from ga.service.database_watch import ERRORS, DatabaseWatch
from ga.service.job_store import GenerationEvent, Job, JobStore
from ga.service.models import OPEN

_POLL: Final = 0.25
_LEAST_PAUSE: Final = 0.02
"""Seconds between two rounds when watchers arrive."""
_IDLE_ROUNDS: Final = 20
_MOST_WAITING: Final = 1_000
"""Generations that wait for one watcher; with more it is dropped, because it does not read."""


@dataclass(frozen=True)
class End:
    """The evolution has ended, or does not exist any more."""

    job: Job | None


class DroppedError(Exception):
    """The watcher is too slow, or the service ends."""


class Subscription:
    """What one watcher has not read yet. It is read in the event loop that made it."""

    def __init__(self, hub: EventHub, run: str) -> None:
        self.run = run
        self._hub, self._loop = hub, asyncio.get_running_loop()
        self._waiting: asyncio.Queue[GenerationEvent | End | None] = asyncio.Queue()

    async def next(self, seconds: float) -> GenerationEvent | End | None:
        """The next generation or the end; None when nothing happened within ``seconds``.

        Raises:
            DroppedError: nothing more will come.
        """
        try:
            found = await asyncio.wait_for(self._waiting.get(), seconds)
        except TimeoutError:
            return None
        if found is None:
            raise DroppedError
        return found

    def push(self, news: Sequence[GenerationEvent | End | None]) -> None:
        """Add news, from any thread; None drops the watcher."""
        try:
            self._loop.call_soon_threadsafe(self._add, news)
        except RuntimeError:
            # Its loop has ended, and the watcher with it.
            self.close()

    def close(self) -> None:
        """End it."""
        self._hub.leave(self)

    def _add(self, news: Sequence[GenerationEvent | End | None]) -> None:
        for one in news:
            self._waiting.put_nowait(one)
        if self._waiting.qsize() > _MOST_WAITING:
            self._waiting = asyncio.Queue()
            self._waiting.put_nowait(None)
            self.close()


@dataclass
class _Topic:
    """One watched evolution."""

    after: int | None = None
    """The last generation that its watchers have or get; None until the first has read them."""
    watchers: list[Subscription] = field(default_factory=list)


class EventHub:
    """Watched evolutions and their watchers. May be used from any thread."""

    def __init__(self, store: JobStore, watch: DatabaseWatch) -> None:
        self._store, self._watch = store, watch
        self._topics: dict[str, _Topic] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def join(self, run: str) -> Subscription:
        """Watch a run, in the current event loop. After it, read the generations so far, and then
        call ``begin``: what is committed later is pushed.

        Raises:
            DroppedError: the service ends.
        """
        subscription = Subscription(self, run)
        with self._lock:
            if self._closed:
                raise DroppedError
            self._topics.setdefault(run, _Topic()).watchers.append(subscription)
        return subscription

    def begin(self, run: str, after: int) -> None:
        """A watcher of ``run`` has read the generations up to ``after``."""
        with self._lock:
            topic = self._topics.get(run)
            if topic is not None and topic.after is None:
                topic.after = after
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="events", daemon=True)
                self._thread.start()
        self._wake.set()

    def leave(self, subscription: Subscription) -> None:
        """Forget a watcher."""
        with self._lock:
            topic = self._topics.get(subscription.run)
            if topic is not None and subscription in topic.watchers:
                topic.watchers.remove(subscription)
                if not topic.watchers:
                    del self._topics[subscription.run]

    def close(self) -> None:
        """Drop all watchers: the service ends."""
        with self._lock:
            self._closed = True
            leaving = [one for topic in self._topics.values() for one in topic.watchers]
            self._topics.clear()
        self._wake.set()
        for one in leaving:
            one.push([None])

    def poll(self) -> None:
        """Push what is new to all watchers."""
        with self._lock:
            after = {run: t.after for run, t in self._topics.items() if t.after is not None}
        if after and self._watch.away is None:
            self._poll(after)

    def _poll(self, after: Mapping[str, int]) -> None:
        try:
            # The states first: what a run had committed when it ended is then in the events.
            jobs = {job.run: job for job in self._store.jobs(list(after))}
            events = self._store.events_of(after)
        except ERRORS:
            self._watch.suspect()
            return
        except LedgerError:
            # The rows of one are damaged; the watchers of the others go on.
            if len(after) > 1:
                for run, number in after.items():
                    self._poll({run: number})
            else:
                self._drop(*after)
            return
        for run in after:
            news: list[GenerationEvent | End | None] = [*events.get(run, ())]
            job = jobs.get(run)
            ended = job is None or job.state not in OPEN
            with self._lock:
                topic = self._topics.get(run)
                if topic is None:
                    continue
                watchers = list(topic.watchers)
                if events.get(run):
                    topic.after = events[run][-1].generation
                if ended:
                    # A watcher that comes later gets a topic of its own.
                    del self._topics[run]
            if ended:
                news.append(End(job))
            if news:
                for one in watchers:
                    one.push(news)

    def _drop(self, run: str) -> None:
        with self._lock:
            topic = self._topics.pop(run, None)
        for one in [] if topic is None else topic.watchers:
            one.push([None])

    def _run(self) -> None:
        idle = 0
        while True:
            self._wake.wait(_POLL)
            self._wake.clear()
            self.poll()
            with self._lock:
                idle = 0 if self._topics else idle + 1
                if self._closed or idle > _IDLE_ROUNDS:
                    self._thread = None
                    return
            threading.Event().wait(_LEAST_PAUSE)

"""Sends every query of every dashboard as Grafana does, and records whether it returns data."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from evolution_gate.fixtures.deploy_files import DEPLOY
from evolution_gate.fixtures.system.http_client import session
from validation.evidence.log import Sink
from validation.evidence.records_monitoring import Panel, Probe, Via
from validation.evidence.records_target import NotRun
from validation.monitors.panel_expectations import EXPECTATIONS

DASHBOARDS: Final = DEPLOY / "grafana" / "dashboards"
_TIMEOUT: Final = 10.0
_STEP_SECONDS: Final = 5
_MOST_POINTS: Final = 1_000
_SETTLED_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query of a panel."""

    dashboard: str
    panel: str
    source: str
    """The data source's uid."""
    query: str
    """PromQL, without variables."""
    unit: str = ""
    """Unit that the panel shows its values in."""
    number: int = 0
    """Place among the panel's queries."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a query over some time."""

    values: tuple[tuple[float, ...], ...]
    """The finite values of each series, in the order of time."""

    @property
    def points(self) -> int:
        """Number of all values."""
        return sum(len(series) for series in self.values)

    @property
    def mean(self) -> float | None:
        """Mean of all values; None without any."""
        return math.fsum(v for s in self.values for v in s) / self.points if self.points else None

    @property
    def last(self) -> float | None:
        """The newest value of the first series that has one."""
        return next((series[-1] for series in self.values if series), None)


_VARIABLE: Final = re.compile(r',(\w+)=~"\$\1"|\{(\w+)=~"\$\2"\}')


def without_variables(query: str) -> str:
    """The query while every variable is on All: a matcher such as ``node=~"$node"`` selects all."""
    return _VARIABLE.sub("", query)


def queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """The queries of a dashboard's JSON, including those in collapsed rows."""

    def inside(panels: Iterable[Mapping[str, Any]]) -> Iterator[Query]:
        for panel in panels:
            yield from inside(panel.get("panels", ()))
            unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
            for number, target in enumerate(panel.get("targets", ())):
                yield Query(
                    dashboard=str(dashboard["title"]),
                    panel=str(panel["title"]),
                    source=str(target["datasource"]["uid"]),
                    query=without_variables(str(target["expr"])),
                    unit=str(unit),
                    number=number,
                )

    return inside(dashboard["panels"])


def checked_in() -> list[Query]:
    """The queries of the dashboards that are deployed."""
    return [
        query
        for path in sorted(DASHBOARDS.glob("*.json"))
        for query in queries(json.loads(path.read_text()))
    ]


ENGINE_PANELS: Final = "panels of the engine"
"""Name of the part that is left out where Prometheus does not scrape the engines of a run."""


def is_of_engine(query: str) -> bool:
    """Whether a query asks for series of an engine."""
    return re.search(r"\bga[_:]", query) is not None


class Prometheus:
    """Sends queries to Prometheus itself.

    Args:
        url: base URL.
    """

    via: Via = "prometheus"

    def __init__(self, url: str) -> None:
        self._url, self._http = url.rstrip("/"), session()

    def answer(self, query: Query, begin: float, end: float) -> Answer:
        """Values of the query from ``begin`` to ``end`` (Unix seconds).

        Raises:
            OSError, ValueError, KeyError: no answer, or a refusal.
        """
        step = max(_STEP_SECONDS, math.ceil((end - begin) / _MOST_POINTS))
        answer = self._http.get(
            f"{self._url}/api/v1/query_range",
            params={"query": query.query, "start": str(begin), "end": str(end), "step": str(step)},
            timeout=_TIMEOUT,
        ).json()
        if answer["status"] != "success":
            raise ValueError(str(answer.get("error", "refused")))
        rows = answer["data"]["result"]
        return Answer(values=tuple(_finite(value for _, value in row["values"]) for row in rows))


class Grafana:
    """Sends the queries of Grafana's own dashboards to Prometheus through Grafana.

    Args:
        url: base URL; may contain ``user:password@``, else the server must allow anonymous access.
    """

    via: Via = "grafana"

    def __init__(self, url: str) -> None:
        self._url, self._http = url.rstrip("/"), session()

    def health(self) -> tuple[bool, str]:
        """Whether Grafana and its database are healthy, and its answer."""
        try:
            response = self._http.get(f"{self._url}/api/health", timeout=_TIMEOUT)
            well = response.status_code == 200 and response.json().get("database") == "ok"
        except (OSError, ValueError) as error:
            # The error's text contains the URL, which may contain a password.
            return False, type(error).__name__
        return well, f"HTTP {response.status_code}"

    def dashboards(self, like: Sequence[Query]) -> list[Query]:
        """Grafana's own queries of the dashboards with the same titles.

        Raises:
            OSError, ValueError, KeyError: it does not answer, or refuses.
        """
        titles = {query.dashboard for query in like}
        found: list[Query] = []
        for entry in self._get("/api/search?type=dash-db"):
            if entry["title"] in titles:
                answer = self._get(f"/api/dashboards/uid/{entry['uid']}")
                found += queries(answer["dashboard"])
        return found

    def answer(self, query: Query, begin: float, end: float) -> Answer:
        """See ``Prometheus.answer``."""
        asked = {
            "refId": "A",
            "datasource": {"type": "prometheus", "uid": query.source},
            "expr": query.query,
            "range": True,
            "intervalMs": _STEP_SECONDS * 1000,
            "maxDataPoints": _MOST_POINTS,
        }
        body = {
            "queries": [asked],
            "from": str(int(begin * 1000)),
            "to": str(int(end * 1000)),
        }
        response = self._http.post(f"{self._url}/api/ds/query", json=body, timeout=_TIMEOUT)
        result = response.json()["results"]["A"]
        if "error" in result:
            raise ValueError(str(result["error"]))
        # The first field of a frame is the time, the others are series.
        return Answer(
            values=tuple(
                _finite(series)
                for frame in result["frames"]
                for series in frame["data"]["values"][1:]
            )
        )

    def _get(self, path: str) -> Any:
        response = self._http.get(f"{self._url}{path}", timeout=_TIMEOUT)
        if response.status_code != 200:
            raise ValueError(f"{path.partition('?')[0]}: HTTP {response.status_code}")
        return response.json()


def ask_all(
    writer: Sink,
    *,
    prometheus: str,
    grafana: str | None,
    since: float,
    nodes: int | None = None,
    engine: bool = True,
) -> None:
    """Send every query over the time from ``since`` to now, and record the results.

    Uses Grafana when there is one. A query that Grafana lacks is recorded as one without data. What
    a panel must show is asked of Prometheus itself, by another query.

    Args:
        nodes: Nodes alive by the control service; None if it does not answer.
        engine: Whether this Prometheus scrapes the engines of the run. If not, the panels of their
            series are left out, and the record says so.
    """
    wanted = [query for query in checked_in() if engine or not is_of_engine(query.query)]
    if not engine:
        writer.add(
            NotRun(
                stage=ENGINE_PANELS,
                criteria=("grafana_functional",),
                missing={"engine metrics": "its Prometheus does not scrape the gate's engines"},
            )
        )
    source = Prometheus(prometheus)
    # A scrape that is going on now would be in one of two answers only.
    now = time.time() - _SETTLED_S
    there, why = {(query.dashboard, query.panel, query.query): query for query in wanted}, ""
    server: Prometheus | Grafana = source
    if grafana is not None:
        server = Grafana(grafana)
        began = time.monotonic()
        well, detail = server.health()
        took = time.monotonic() - began
        writer.add(Probe(probe="grafana", ok=well, latency_s=took, detail=detail, excused=False))
        try:
            held, why = server.dashboards(wanted), "Grafana does not have this panel"
        except (OSError, ValueError, KeyError) as error:
            held, why = [], f"Grafana does not show its dashboards ({type(error).__name__})"
        there = {(query.dashboard, query.panel, query.query): query for query in held}
    for query in wanted:
        shown = there.get((query.dashboard, query.panel, query.query))
        if shown is None:
            writer.add(_panel(query, server.via, why, of=len(wanted)))
        else:
            # Data source and unit are those that Grafana uses.
            own = replace(query, source=shown.source, unit=shown.unit)
            writer.add(_asked(server, source, own, since, now, nodes=nodes, of=len(wanted)))


def _asked(
    server: Prometheus | Grafana,
    source: Prometheus,
    query: Query,
    begin: float,
    end: float,
    *,
    nodes: int | None,
    of: int,
) -> Panel:
    """Send a panel's query, and the second one that says what it must show."""
    try:
        shown = server.answer(query, begin, end)
    except (OSError, ValueError, KeyError) as error:
        text = type(error).__name__ if isinstance(error, OSError) else str(error)
        return _panel(query, server.via, f"no answer ({text})", of=of)
    found = replace(
        _panel(query, server.via, "", of=of),
        points=shown.points, unit=query.unit, mean=shown.mean, last=shown.last,
    )  # fmt: skip
    expected = EXPECTATIONS.get((query.dashboard, query.panel), ())
    if query.number >= len(expected):
        return found
    wanted = expected[query.number]
    try:
        second = source.answer(replace(query, query=wanted.query), begin, end)
    except (OSError, ValueError, KeyError):
        return found
    counts = {"nodes": nodes, "available": None if nodes is None else int(nodes > 0)}
    return replace(
        found, expected_unit=wanted.unit, expected_mean=second.mean, tolerance=wanted.tolerance,
        own=None if wanted.own is None else counts[wanted.own],
    )  # fmt: skip


def _panel(query: Query, via: Via, detail: str, *, of: int) -> Panel:
    """The record of a query without an answer."""
    return Panel(
        dashboard=query.dashboard,
        panel=query.panel,
        query=query.query,
        via=via,
        points=0,
        detail=detail,
        of=of,
    )


def _finite(values: Iterable[Any]) -> tuple[float, ...]:
    # JSON has no NaN: Prometheus sends text, Grafana null.
    numbers = (float(value) for value in values if value is not None)
    return tuple(number for number in numbers if math.isfinite(number))

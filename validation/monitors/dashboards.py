"""Sends every query of every dashboard as Grafana does, and records whether it returns data."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from evolution_gate.fixtures.deploy_files import DEPLOY
from evolution_gate.fixtures.system.http_client import session
from validation.evidence.log import Sink
from validation.evidence.records_monitoring import Panel, Probe, Via

DASHBOARDS: Final = DEPLOY / "grafana" / "dashboards"
_TIMEOUT: Final = 10.0
_STEP_SECONDS: Final = 5
_MOST_POINTS: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query of a panel."""

    dashboard: str
    panel: str
    source: str
    """The data source's uid."""
    query: str
    """PromQL, without variables."""


def queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """The queries of a dashboard's JSON, including those in collapsed rows."""

    def inside(panels: Iterable[Mapping[str, Any]]) -> Iterator[Query]:
        for panel in panels:
            yield from inside(panel.get("panels", ()))
            for target in panel.get("targets", ()):
                yield Query(
                    dashboard=str(dashboard["title"]),
                    panel=str(panel["title"]),
                    source=str(target["datasource"]["uid"]),
                    query=str(target["expr"]),
                )

    return inside(dashboard["panels"])


def checked_in() -> list[Query]:
    """The queries of the dashboards that are deployed."""
    return [
        query
        for path in sorted(DASHBOARDS.glob("*.json"))
        for query in queries(json.loads(path.read_text()))
    ]


class Prometheus:
    """Sends queries to Prometheus itself.

    Args:
        url: base URL.
    """

    via: Via = "prometheus"

    def __init__(self, url: str) -> None:
        self._url, self._http = url.rstrip("/"), session()

    def points(self, query: Query, begin: float, end: float) -> int:
        """Number of finite values of the query from ``begin`` to ``end`` (Unix seconds).

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
        return _finite(value for row in answer["data"]["result"] for _, value in row["values"])


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

    def points(self, query: Query, begin: float, end: float) -> int:
        """See ``Prometheus.points``."""
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
        return _finite(
            value
            for frame in result["frames"]
            for series in frame["data"]["values"][1:]
            for value in series
        )

    def _get(self, path: str) -> Any:
        response = self._http.get(f"{self._url}{path}", timeout=_TIMEOUT)
        if response.status_code != 200:
            raise ValueError(f"{path.partition('?')[0]}: HTTP {response.status_code}")
        return response.json()


def ask_all(writer: Sink, *, prometheus: str, grafana: str | None, since: float) -> None:
    """Send every query over the time from ``since`` to now, and record the results.

    Uses Grafana when there is one. A query that Grafana lacks is recorded as one without data.
    """
    wanted = checked_in()
    now = time.time()
    if grafana is None:
        for query in wanted:
            writer.add(_ask(Prometheus(prometheus), query, since, now, of=len(wanted)))
        return
    server = Grafana(grafana)
    well, detail = server.health()
    writer.add(Probe(probe="grafana", ok=well, latency_s=0.0, detail=detail, excused=False))
    try:
        there, why = set(server.dashboards(wanted)), "Grafana does not have this panel"
    except (OSError, ValueError, KeyError) as error:
        there, why = set(), f"Grafana does not show its dashboards ({type(error).__name__})"
    for query in wanted:
        if query in there:
            writer.add(_ask(server, query, since, now, of=len(wanted)))
        else:
            writer.add(_panel(query, "grafana", 0, why, of=len(wanted)))


def _ask(server: Prometheus | Grafana, query: Query, begin: float, end: float, *, of: int) -> Panel:
    try:
        points, detail = server.points(query, begin, end), ""
    except (OSError, ValueError, KeyError) as error:
        text = type(error).__name__ if isinstance(error, OSError) else str(error)
        points, detail = 0, f"no answer ({text})"
    return _panel(query, server.via, points, detail, of=of)


def _panel(query: Query, via: Via, points: int, detail: str, *, of: int) -> Panel:
    return Panel(
        dashboard=query.dashboard,
        panel=query.panel,
        query=query.query,
        via=via,
        points=points,
        detail=detail,
        of=of,
    )


def _finite(values: Iterable[Any]) -> int:
    # JSON has no NaN: Prometheus sends text, Grafana null.
    return sum(1 for value in values if value is not None and math.isfinite(float(value)))

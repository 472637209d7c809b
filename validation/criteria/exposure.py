"""An unauthenticated client gets nothing, and no secret is written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.evidence.log import Evidence
from validation.evidence.records_network import Leak, Listener, Search, Survey
from validation.mutation import injectors
from validation.mutation.patches import patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    format_list,
    inconclusive,
    plural,
)

_GUARDED: Final = ("postgres", "redis")
"""Services that require a password on loopback too."""


_NEEDS: Final = (
    "a survey of every socket of the stack, and a search of the run's folder, about 10 s"
)


def exposure(records: Records) -> Verdict:
    """No socket serves an unauthenticated client, and no secret was written down.

    A socket on loopback, or in a private network without a route out, is reachable from this
    machine only. In the private network metrics may be public, and nothing else.
    """
    wrong: list[str] = []
    unknown: list[str] = []
    listeners: list[Listener] = []
    surveys: list[Survey] = []
    for record in records:
        surveys += record.all(Survey)
        listeners += record.all(Listener)
        wrong += [f"{leak.secret} is written in {leak.file}" for leak in record.all(Leak)]
        unknown += _holes(record)
    for one in listeners:
        when = ", while an evolution ran" if one.at_work else ""
        name = f"{one.service} at {one.address} ({one.network}{when})"
        if _opened(one):
            wrong.append(f"{name} accepts unauthenticated clients: {one.attempt}")
        elif _unanswered(one):
            unknown.append(f"{name}: {one.attempt or 'not tried'}")
    if wrong:
        return Verdict(
            status=Status.FAIL, measured=plural(len(wrong), "finding"), reason=format_list(wrong)
        )
    if not surveys:
        raise InconclusiveError(format_list(unknown or ["no survey of the sockets"]), needs=_NEEDS)
    during = [one for one in listeners if one.at_work]
    measured = (
        f"{plural(len(listeners) - len(during), 'socket')} of the idle stack and {len(during)} "
        f"during an evolution: {_counted(listeners)}"
    )
    if unknown:
        return inconclusive(format_list(unknown), needs=_NEEDS, measured=measured)
    return Verdict(
        status=Status.PASS,
        measured=measured,
        reason="each socket beyond loopback was tried without credentials, in its own network; "
        "the services accept the right credentials; no secret in the run's files, the stack's logs "
        "or its images' history",
    )


def _opened(one: Listener) -> bool:
    if one.access == "open":
        return one.reach != "loopback" or one.service in _GUARDED
    return one.access == "metrics" and one.reach == "outside"


def _unanswered(one: Listener) -> bool:
    if one.service in _GUARDED:
        return one.access != "refused"
    return one.reach != "loopback" and one.access in ("unknown", "not tried")


def _counted(listeners: Sequence[Listener]) -> str:
    loopback = sum(one.reach == "loopback" for one in listeners)
    metrics = sum(one.reach == "stack" and one.access == "metrics" for one in listeners)
    refused = sum(one.reach != "loopback" and one.access == "refused" for one in listeners)
    return (
        f"{loopback} on loopback, {refused} refuse unauthenticated clients, {metrics} give metrics "
        "in the private network"
    )


def _holes(record: Evidence) -> list[str]:
    """What is missing in one run's survey."""
    surveys, listeners = record.all(Survey), record.all(Listener)
    found: list[str] = []
    if not surveys and not listeners and not record.all(Search):
        return found
    idle = [one for one in surveys if not one.at_work]
    busy = [one for one in surveys if one.at_work]
    if len(idle) != 1:
        return [f"run {record.run}: {plural(len(idle), 'survey')}, not one"]
    if len(busy) > 1:
        return [f"run {record.run}: {plural(len(busy), 'survey')} while work ran, not one"]
    if not busy:
        found.append("the sockets were not looked at while an evolution ran")
    elif not busy[0].evaluating:
        found.append("nothing was evaluated from beginning to end of the survey during work")
    for survey in surveys:
        found += _unseen(survey, [one for one in listeners if one.at_work == survey.at_work])
    if not any(one.files and one.secrets for one in record.all(Search)):
        found.append("the run's files were not searched for secrets")
    return found


def _unseen(survey: Survey, listeners: Sequence[Listener]) -> list[str]:
    """What is missing in one survey."""
    found: list[str] = []
    if len(listeners) != survey.listeners or not listeners:
        found.append(f"{len(listeners)} of {survey.listeners} sockets are in the record")
    if survey.unreadable or not survey.processes:
        found.append(f"{survey.unreadable} of {survey.processes} processes could not be read")
    if "dashboard" not in survey.credentials:
        found.append("the dashboard was not tried with its token")
    for name, let_in in survey.credentials.items():
        if let_in is not True:
            found.append(f"{name} refuses the right credentials too, so its refusals prove nothing")
    services = {one.service for one in listeners}
    found += [
        f"no socket of {name} was found"
        for name in _GUARDED
        if name in survey.credentials and name not in services
    ]
    return found


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="exposure",
            statement="An unauthenticated client gets nothing, and no secret is written down",
            target="nothing beyond this machine without authentication",
            clause='Pre-Deployment Checklist: "Network ports 8265, 10001, 8000, 5432, 6379, ..."',
            evidence_needed="every listening socket of the stack, idle and at work, tried without "
            "and with credentials, and a search of the run's files for secrets",
            passes=(
                "every listening socket of the stack was found, while it was idle and again while "
                "an evolution ran on it, and beyond loopback each refuses "
                "unauthenticated clients (in the stack's private network it may serve metrics); "
                "PostgreSQL and Redis refuse wrong and common passwords, on loopback too, and "
                "accept the right one; no secret is in a file of the run, a log of the stack "
                "or an image's history (a page with a secret is removed, and the run fails)"
            ),
            fails="an unauthenticated client got an answer, or a secret was written down",
            measures=(
                "at two moments, before any work and during an evolution whose metrics are served: "
                "all TCP sockets that processes of the stack listen on, with the answers that a "
                "client without credentials gets in each network"
            ),
            clock=(
                "the kernel's tables of sockets, of every process of the stack; a separate program "
                "is the client"
            ),
            limits=(
                "sockets that are open at other moments only, UDP, guesses of passwords beyond "
                "the few that are tried, and flaws of a protocol that asks for credentials"
            ),
            verdict=exposure,
            position=230,
        ),
    ),
    mutants=(
        Mutant(
            name="an engine open to all while it evolves",
            criterion="exposure",
            stages=("sockets", "sockets at work", "secrets"),
            patches=patch(
                "ga/metrics.py",
                "start_http_server(port, host, registry)",
                'start_http_server(port, "0.0.0.0", registry)',
            ),
        ),
        Mutant(
            name="a socket open to all",
            criterion="exposure",
            stages=("sockets", "secrets"),
            injector=injectors.open_socket,
            on_containers=True,
        ),
        Mutant(
            name="an account with a common password",
            criterion="exposure",
            stages=("sockets", "secrets"),
            injector=injectors.default_password,
            on_containers=True,
        ),
    ),
)

"""The same seed gives the same history, local or distributed, whatever is killed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation import statistics
from validation.contract import CLOCK, RECEIPTS, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import short
from validation.evidence.log import Evidence
from validation.evidence.queries import killed_during, workloads
from validation.evidence.records import Workload
from validation.evidence.records_ledger import Audit, NodeCheck
from validation.mutation import injectors
from validation.mutation.patches import (
    OTHER_LOG,
    OTHER_ON_CLUSTER,
    UNCHECKED,
    ZEROED_ON_CLUSTER,
    patch,
)
from validation.verdict import (
    Records,
    Status,
    Verdict,
    format_list,
    inconclusive,
    plural,
)

_NO_DIFFERENCE: Final = "no difference is allowed between equal workloads"


def reproducibility(records: Records) -> Verdict:
    """The same seed and settings give one history: locally, on any cluster, whatever is killed.

    Workloads are grouped by seed, market, population and generations, across all runs. One group
    must span both arms, two different sizes, and a confirmed kill.
    """
    groups: dict[tuple[object, ...], list[tuple[Evidence, Workload]]] = {}
    wrong: list[str] = []
    for record in records:
        wrong += [
            f"node {check.node} ({check.processor}) gets no work: {check.refused}"
            for check in record.all(NodeCheck)
            if check.refused is not None
        ]
        for workload in workloads(record).values():
            if workload.exit_code != 0:
                continue
            if workload.digest is None:
                wrong.append(f"{workload.id} finished without a digest")
                continue
            key = (
                workload.seed,
                workload.market,
                workload.population_size,
                workload.generations,
            )
            groups.setdefault(key, []).append((record, workload))
    for members in groups.values():
        wrong += _differences(members)
    # The first of each group is what the others are compared to.
    trials = sum(len(members) - 1 for members in groups.values())
    if wrong:
        bounds = statistics.proportion(len(wrong), max(trials, len(wrong)))
        return Verdict(
            status=Status.FAIL,
            measured=plural(len(wrong), "difference"),
            interval=(bounds.lower, bounds.upper),
            reason=format_list(wrong),
            budget=_NO_DIFFERENCE,
        )
    compared = sum(len(members) for members in groups.values() if len(members) > 1)
    measured = f"{compared} histories equal" if compared else ""
    interval = (0.0, statistics.zero_count_upper(trials)) if trials else None
    missing = [_uncovered(members) for members in groups.values()]
    if not all(missing):
        return Verdict(
            status=Status.PASS,
            measured=measured,
            interval=interval,
            reason="every stored column is equal locally, on the cluster, at different sizes, "
            "from the result cache, and with a node killed;"
            f" on {_processors(records)}",
            budget=_NO_DIFFERENCE,
        )
    nearest = min(missing, key=len) if missing else ["finished workloads"]
    return inconclusive(
        "no group of equal workloads covers everything"
        if groups
        else "no workload finished with a digest",
        needs="equal workloads with " + ", ".join(nearest) if missing else nearest[0],
        measured=measured,
        interval=interval,
        budget=_NO_DIFFERENCE,
    )


def _differences(members: Sequence[tuple[Evidence, Workload]]) -> list[str]:
    """Equal workloads whose histories, or any other stored value, differ."""
    first = members[0][1]
    wrong = [
        f"{first.id} gives {short(first.digest)}, {other.id} gives {short(other.digest)}"
        for _, other in members[1:]
        if other.digest != first.digest
    ]
    known = [(workload.id, _content(record, workload)) for record, workload in members]
    known = [(name, content) for name, content in known if content is not None]
    wrong += [
        f"{known[0][0]} and {name} stored other values: digests of all columns "
        f"{short(known[0][1])}, {short(content)}"
        for name, content in known[1:]
        if content != known[0][1]
    ]
    return wrong


def _content(record: Evidence, workload: Workload) -> str | None:
    """The digest of all columns of a workload; None if it was not computed."""
    found = [audit.content for audit in record.all(Audit) if audit.workload == workload.id]
    return found[0] if found else None


def _served(record: Evidence, workload: Workload) -> int:
    """Evaluations of a workload that came from the result cache."""
    audits = [audit for audit in record.all(Audit) if audit.workload == workload.id]
    return sum(audit.from_cache or 0 for audit in audits)


def _uncovered(members: Sequence[tuple[Evidence, Workload]]) -> list[str]:
    """What a group of equal workloads still lacks to prove reproducibility."""
    arms = {workload.arm for _, workload in members}
    sizes = {(workload.nodes, workload.workers) for _, workload in members}
    lacks = [f"a {arm} one" for arm in ("local", "distributed") if arm not in arms]
    if len(sizes) < 2:
        lacks.append("two different sizes")
    if not any(_served(record, workload) for record, workload in members):
        lacks.append("one served from the result cache")
    if not all(_content(record, workload) for record, workload in members):
        lacks.append("a digest of all columns of each")
    if not all(_checked(record, workload) for record, workload in members):
        lacks.append("the processor of every node, and that it computes the same bits")
    if not any(killed_during(record, workload) for record, workload in members):
        lacks.append("a node killed while one ran, with a receipt")
    return lacks


def _checked(record: Evidence, workload: Workload) -> bool:
    """Whether all nodes that answered, at least one, had passed the numerics check before."""
    mine = [c for c in record.all(NodeCheck) if c.workload == workload.id and c.refused is None]
    nodes = {c.node for c in mine if (c.node == "local") == (workload.arm == "local")}
    return bool(nodes) and all(c.digest for c in mine)


def _processors(records: Records) -> str:
    """Every processor that evaluated, with the number of nodes."""
    nodes: dict[str, set[str]] = {}
    for record in records:
        for check in record.all(NodeCheck):
            if check.digest and check.refused is None:
                nodes.setdefault(check.processor, set()).add(check.node)
    return ", ".join(f"{name} ({plural(len(of), 'node')})" for name, of in sorted(nodes.items()))


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="reproducibility",
            statement="The same seed gives the same history, local or distributed, "
            "whatever is killed",
            target="equal digests",
            unit="share of histories different",
            clause='Purpose of the plan: "computational scaling from single-machine to '
            'multi-worker distributed processing", which must not change results',
            evidence_needed="equal workloads: local, distributed, two sizes, one served from the "
            "result cache, one with a node killed",
            passes=(
                "equal digests of the history and of all columns locally, distributed, at two "
                "sizes, served from the result cache, and with a node killed; the processor of "
                "every node named"
            ),
            fails="two differ, or a node was refused because it computes other bits",
            measures=(
                "workloads of equal plan, after their end: the digest of the history that each "
                "process reported, and a digest over every table and column that the database "
                "lists: fitness, trades, drawdown, errors, genes, generations, and the Sharpe "
                "ratios of final strategies, hold-out included"
            ),
            clock=(
                "the gate's own SQL. Left out are only ids, times, modes, owners, the number of "
                "attempts, and the tables of attempts and nodes, which tell how a run went; "
                "`no_data_loss` checks that their values are possible"
            ),
            limits=(
                "results that are wrong in the same way everywhere, which `no_data_loss` looks "
                "for; processors other than those named; values that somebody forges in the cache "
                "together with their checksum. Each workload has a cache of its own that is empty "
                "at its start, except the one that is served from an earlier one's"
            ),
            verdict=reproducibility,
            trusts=(
                CLOCK,
                RECEIPTS,
            ),
            position=150,
        ),
    ),
    mutants=(
        Mutant(
            name="a harness monitor that is silent until the end",
            criterion="reproducibility",
            stages=("reference", "recovery"),
            injector=injectors.observer_stopped,
            on_containers=True,
            expects="INCONCLUSIVE",
        ),
        Mutant(
            name="another result on the cluster",
            criterion="reproducibility",
            stages=("reference", "recovery"),
            patches=OTHER_ON_CLUSTER,
        ),
        Mutant(
            name="a cache that returns another genome's outcome for one key in a thousand",
            criterion="reproducibility",
            stages=("reference",),
            patches=patch(
                "ga/result_cache.py",
                "                found[key] = outcome\n",
                "                found[key] = outcome\n"
                "                if int(key[:8], 16) % 1000 == 0:\n"
                "                    found[key] = next(iter(found.values()))._replace(key=key)\n",
            ),
        ),
        Mutant(
            name="no trades and no drawdown on the cluster",
            criterion="reproducibility",
            stages=("reference", "recovery"),
            patches=ZEROED_ON_CLUSTER,
        ),
        Mutant(
            name="nodes whose processor computes other bits, without a check",
            criterion="reproducibility",
            stages=("reference", "recovery"),
            patches=(*OTHER_LOG, *UNCHECKED),
        ),
        Mutant(
            name="a node whose processor computes other bits, and gets no work",
            criterion="reproducibility",
            stages=("reference", "recovery"),
            injector=injectors.odd_node,
        ),
    ),
)

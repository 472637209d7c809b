"""Write the generated part of docs/architecture.md: a diagram of the imports, and two tables.

``python -m tools.architecture`` rewrites the part between the two markers. With ``--check`` it
writes nothing, and the exit status is 1 if the part is out of date.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tools.imports import imports_of, modules_of, top_packages

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = Path("docs") / "architecture.md"
PROGRAM: Final = "tools.architecture"
BEGIN: Final = f"<!-- begin: written by python -m {PROGRAM} -->"
END: Final = f"<!-- end: written by python -m {PROGRAM} -->"
WHERE: Final = (
    ("reads prices from a file, an exchange or a generator", "ga", "MarketSpec"),
    ("decides how the times of a market file are read", "ga", "read_times"),
    ("reads a file or a folder of prices in any layout", "ga", "load_files"),
    ("makes a market of data frames", "ga", "load_frames"),
    ("opens a stored run from Python", "ga", "load_run"),
    ("does what the command line and the Python API share", "ga", "Listener"),
    ("aligns assets, and finds gaps in their bars", "ga", "align"),
    ("describes a strategy family and its genes", "ga", "Family"),
    ("breeds the next generation", "ga", "Evolution"),
    ("draws the random numbers of a seed, purpose, generation and index", "ga", "keyed"),
    ("drives a run: evaluate, commit, fail over, fail back", "ga", "Runner.warm_up"),
    ("chooses local or distributed evaluation (`--mode auto`)", "ga", "make_evaluator"),
    ("computes the fitness of a batch of genomes", "ga", "evaluate_batch"),
    ("fixes what a result depends on, and its evaluation key", "ga", "evaluation_key"),
    ("decides whether an entry of the fitness cache is believed", "ga", "decode"),
    ("quarantines a genome that crashes workers: on this machine", "ga", "Pool._quarantine"),
    ("dispatches batches to a cluster, and quarantines there", "ga", "Dispatcher"),
    ("dispatches the work of a lost node again", "ga", "Dispatcher._requeue"),
    ("connects again after a lost cluster, and when", "ga", "Reconnector"),
    ("checks that a node computes the reference bits", "ga", "prove"),
    ("stores a run, and resumes it", "ga", "Ledger"),
    ("creates or changes the ledger's tables, one version a file", "ga", "migrate"),
    ("assembles the HTTP service", "ga", "make_app"),
    ("serves the routes of evolutions: submit, list, cancel", "ga", "add_evolutions"),
    ("starts a cluster, and injects faults into it", "fixtures", "start_stack"),
    ("removes what was started, whichever signal ends the program", "fixtures", "by_signal"),
    ("cuts a node's network, and confirms it", "fixtures", "BaseNode.partition"),
    ("finds and breaks a deployed Compose project", "fixtures", "ComposeStack"),
    ("finds and breaks a RayCluster on Kubernetes", "fixtures", "KubernetesStack"),
    ("applies CPU and memory limits to a node", "fixtures", "Group.create"),
    ("defines what a receipt of a fault contains", "fixtures", "Receipt"),
    ("runs the stages of a campaign", "validation", "run_campaign"),
    ("watches for days, in segments that survive a kill", "validation", "Segments"),
    ("runs the campaign under pytest, one test a criterion", "validation", "pytest_generate_tests"),
    ("checks `--allow-faults` and `--confirm`", "validation", "consent_of"),
    ("refuses or undoes faults on a deployed target", "validation", "Guard"),
    ("writes and reads an evidence file, a chain of hashes", "validation", "EvidenceWriter"),
    ("defines a criterion and lists all of them", "validation", "Criterion"),
    ("decides on one criterion (one file each), here on recovery", "validation", "worker_recovery"),
    ("checks that records do not contradict each other", "validation", "open_if_violated"),
    ("certifies: lists the mutants to try, and copies the tree", "validation", "certify"),
    ("certifies: plants a mutant, runs its stages, stores the result", "validation", "_planted"),
    ("turns verdicts into GO, NO-GO or INCONCLUSIVE", "validation", "decide"),
    ("computes confidence bounds of shares, means and ratios", "validation", "geometric_mean"),
    ("renders the HTML report of a gate run", "reports", "render_page"),
    ("draws the charts of the report", "reports", "timeline"),
)
"""What the code does, its top-level package, and its name there: a class, a function, or
``Class.method`` if several classes have the method.
"""


class OutdatedError(ValueError):
    """The source tree or the page does not match this program."""


def generated(root: Path, where: Sequence[tuple[str, str, str]] = WHERE) -> str:
    """The generated part of the page, without its markers.

    Raises:
        OutdatedError: a name of ``where`` is defined nowhere, or more than once.
    """
    found = ["## Where do I find the code that ...", _where(root, where)]
    return "\n\n".join([diagram(root), "## Package folders", _packages(root), *found])


def diagram(root: Path) -> str:
    """A Mermaid diagram of the imports between top-level packages."""
    names = top_packages(root)
    tops = {(one.source.split(".")[0], one.target.split(".")[0]) for one in imports_of(root)}
    arrows = sorted(arrow for arrow in tops if arrow[0] != arrow[1])
    lines = ["```mermaid", "flowchart TD", *(f"    {name}" for name in names)]
    return "\n".join([*lines, *(f"    {source} --> {target}" for source, target in arrows), "```"])


def package_folders(root: Path) -> dict[str, str | None]:
    """Every folder with Python files in a top-level package -> the first sentence of the docstring
    of its ``__init__``; None without an ``__init__`` or docstring.
    """
    folders = {path.parent for path in modules_of(root).values()}
    found: dict[str, str | None] = {}
    for folder in sorted(folders):
        init = folder / "__init__.py"
        text = ast.get_docstring(ast.parse(init.read_text("utf-8"))) if init.is_file() else None
        found[folder.relative_to(root).as_posix()] = first_sentence(text) if text else None
    return found


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line, as Markdown."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s", paragraph)[0].replace("``", "`").replace("|", r"\|")


def _packages(root: Path) -> str:
    rows = [f"| `{name}/` | {text or '(none)'} |" for name, text in package_folders(root).items()]
    return "\n".join(["| package | what it is |", "| --- | --- |", *rows])


def _where(root: Path, where: Sequence[tuple[str, str, str]]) -> str:
    places: dict[tuple[str, str], list[str]] = {}
    for name, path in modules_of(root).items():
        for defined in _defined(ast.parse(path.read_text(encoding="utf-8"))):
            place = path.relative_to(root).as_posix()
            places.setdefault((name.split(".")[0], defined), []).append(place)
    rows = []
    for what, package, wanted in where:
        files = places.get((package, wanted), [])
        if len(files) != 1:
            raise OutdatedError(
                f"{wanted} is defined {len(files)} times in {package}/ ({', '.join(files)}); "
                "correct WHERE in tools/architecture.py"
            )
        rows.append(f"| {what} | `{wanted.split('.')[0]}` | `{files[0]}` |")
    return "\n".join(["| ... | name | file |", "| --- | --- | --- |", *rows])


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names of the classes and functions of a module, and of the methods of its classes."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)
            )


def updated(page: str, part: str, *, program: str = PROGRAM) -> str:
    """The page with its generated part replaced.

    Args:
        program: The module that writes the part; the markers name it.

    Raises:
        OutdatedError: the page lacks a marker.
    """
    first, last = BEGIN.replace(PROGRAM, program), END.replace(PROGRAM, program)
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise OutdatedError(f"the page must have the lines {first} and {last}")
    return f"{before}{begin}\n\n{part}\n\n{end}{after}"


def rewrite(path: Path, part: str, *, program: str, check: bool) -> int:
    """Rewrite the generated part of a page, or check it; returns the exit status."""
    page = path.read_text(encoding="utf-8")
    new = updated(page, part, program=program)
    if new == page:
        return 0
    if check:
        print(f"{path.name} is out of date; run: python -m {program}", file=sys.stderr)
        return 1
    path.write_text(new, encoding="utf-8")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite the page, or check it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.architecture", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    options = parser.parse_args(argv)
    try:
        return rewrite(ROOT / PAGE, generated(ROOT), program=PROGRAM, check=options.check)
    except OutdatedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())

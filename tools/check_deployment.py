"""Checks the files of ``deploy/`` with hadolint, yamllint, kubernetes-validate and checkov.

    python -m tox -e deploy

installs the checkers with their versions and runs them. ``deploy/checks.toml`` lists the findings
that are accepted, each with its reason. A finding that is not listed, or an entry that accepts
nothing any more, is an error.

The checkers know no RayCluster and no RayJob. So the pods of their templates are written out as
plain pods, and checked like the others.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[1] / "deploy"
ACCEPTED: Final = FOLDER / "checks.toml"
KUBERNETES: Final = "kuberay"
_RAY: Final = "ray.io/"
_OPERATOR: Final = "monitoring.coreos.com/"
"""Its PrometheusRule is tested by promtool."""
_NAMESPACE: Final = "evolution-gate"
_SENT: Final = Path(__file__).parents[1] / "fixtures/backends/kubernetes/manifests.py"
"""What the gate sends to the Kubernetes API; the module imports nothing of the gate."""


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """What a checker found in a file."""

    checker: str
    rule: str
    """The checker's own identifier of the rule."""
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.checker} {self.rule}: {self.message}"


def pods(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What KubeRay makes of a RayCluster (pods) or a RayJob (a job that submits it)."""
    spec, name = document["spec"], document["metadata"]["name"]
    groups = [spec["headGroupSpec"]] if "headGroupSpec" in spec else []
    groups += spec.get("workerGroupSpecs", [])
    for number, group in enumerate(groups):
        labels = group["template"].get("metadata", {}).get("labels", {})
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-{number}", "labels": {**labels, f"{_RAY}cluster": name}},
            "spec": group["template"]["spec"],
        }
    if "submitterPodTemplate" in spec:
        template = {"metadata": {"labels": {"job-name": name}}, **spec["submitterPodTemplate"]}
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"template": template},
        }


def manifests(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """File name -> its documents, with pods in the place of what only KubeRay knows. They are in
    the namespace in which the instructions of ``cluster.yaml`` create them.
    """
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        documents: list[dict[str, Any]] = []
        for document in yaml.safe_load_all(file.read_text()):
            if str(document["apiVersion"]).startswith(_OPERATOR):
                continue
            ours = str(document["apiVersion"]).startswith(_RAY)
            documents += pods(document) if ours else [document]
        for document in documents:
            document["metadata"]["namespace"] = _NAMESPACE
        found[file.name] = documents
    return found


def sent() -> list[dict[str, Any]]:
    """Bodies of the gate's own requests to the Kubernetes API, one of each kind."""
    examples: list[dict[str, Any]] = runpy.run_path(str(_SENT))["examples"]()
    return examples


def judge(
    findings: Sequence[Finding], accepted: Mapping[str, Mapping[str, str]]
) -> tuple[list[str], int]:
    """The errors, one line each, and the number of accepted findings."""
    errors = [str(one) for one in findings if one.rule not in accepted.get(one.checker, {})]
    found = {(one.checker, one.rule) for one in findings}
    errors += [
        f"{ACCEPTED.name}: {checker} {rule} is accepted but not found; remove the entry"
        for checker, rules in accepted.items()
        for rule in rules
        if (checker, rule) not in found
    ]
    return errors, len(findings) - sum(
        one.rule not in accepted.get(one.checker, {}) for one in findings
    )


def hadolint(folder: Path) -> list[Finding]:
    """Its findings in all Dockerfiles."""
    files = sorted(folder.glob("images/*/Dockerfile"))
    done = _run(["hadolint", "--no-fail", "--format", "json", *map(str, files)])
    return [
        Finding(
            checker="hadolint", rule=row["code"], message=row["message"],
            place=f"{Path(row['file']).relative_to(folder.parent)}:{row['line']}",
        )
        for row in json.loads(done)
    ]  # fmt: skip


def yamllint(folder: Path, rules: Mapping[str, Any]) -> list[Finding]:
    """Its findings in all YAML files that people write."""
    settings = json.dumps({"extends": "default", "rules": rules})
    files = [one for one in sorted(folder.rglob("*.y*ml")) if "grafana" not in one.parts]
    done = _run(
        ["yamllint", "--format", "parsable", "--config-data", settings, *map(str, files)],
        allowed=(0, 1),
    )
    pattern = re.compile(r"(.+?):(\d+):\d+: \[\w+\] (.*) \(([\w-]+)\)")
    matches = [found for line in done.splitlines() if (found := pattern.fullmatch(line))]
    return [
        Finding(
            checker="yamllint", rule=one[4], message=one[3],
            place=f"{Path(one[1]).relative_to(folder.parent)}:{one[2]}",
        )
        for one in matches
    ]  # fmt: skip


def kubernetes_validate(files: Sequence[Path]) -> list[Finding]:
    """Fields and values that the published schema of Kubernetes does not have."""
    argv = ["kubernetes-validate", "--strict", "--quiet", *map(str, files)]
    done = _run(argv, allowed=(0, 1))
    return [
        Finding(checker="kubernetes-validate", rule="schema", message=line, place="kuberay")
        for line in done.splitlines()
        if line.strip()
    ]


def checkov(folder: Path, manifest_folder: Path) -> list[Finding]:
    """Its findings in Dockerfiles and Kubernetes manifests; nothing is downloaded."""
    findings = []
    for framework, place in (("dockerfile", folder), ("kubernetes", manifest_folder)):
        argv = ["checkov", "--quiet", "--compact", "--skip-download", "--soft-fail"]
        argv += ["--framework", framework, "--output", "json", "--directory", str(place)]
        answer = json.loads(_run(argv))
        findings += [
            Finding(
                checker="checkov", rule=row["check_id"], message=row["check_name"],
                place=f"{row['file_path'].lstrip('/')} ({row['resource']})",
            )
            for row in answer["results"]["failed_checks"]
        ]  # fmt: skip
    return findings


def _run(argv: Sequence[str], allowed: Sequence[int] = (0,)) -> str:
    """The output of a checker.

    Raises:
        SystemExit: it is not installed, or failed otherwise than by findings.
    """
    program = Path(sys.executable).with_name(argv[0])
    if not program.is_file():
        raise SystemExit(f"{argv[0]} is not installed; run `python -m tox -e deploy`")
    done = subprocess.run([str(program), *argv[1:]], capture_output=True, text=True)
    if done.returncode not in allowed:
        raise SystemExit(f"{argv[0]}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Run all checkers, and print what is not accepted."""
    settings = tomllib.loads(ACCEPTED.read_text())
    with tempfile.TemporaryDirectory() as scratch:
        files, folder = [], Path(scratch) / "kuberay"
        folder.mkdir()
        for name, documents in manifests(FOLDER / KUBERNETES).items():
            file = folder / name
            file.write_text(yaml.safe_dump_all(documents))
            files.append(file)
        # Not for checkov: they are no deployment.
        requests = Path(scratch) / "sent" / "requests.yaml"
        requests.parent.mkdir()
        requests.write_text(yaml.safe_dump_all(sent()))
        findings = [
            *hadolint(FOLDER),
            *yamllint(FOLDER, settings.pop("yamllint-rules")),
            *kubernetes_validate([*files, requests]),
            *checkov(FOLDER, folder),
        ]
    errors, accepted = judge(sorted(findings), settings)
    for error in errors:
        print(error)
    print(f"{len(errors)} errors, {accepted} findings accepted by {ACCEPTED.name}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())

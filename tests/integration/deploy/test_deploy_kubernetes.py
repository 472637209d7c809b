"""The alert on the age of the backups on Kubernetes, tried by Prometheus' own tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from evolution_gate.fixtures.services.monitoring import DEPLOY
from tests.support.promtools import promtool


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kuberay" / name).read_text()))


def test_alert_fires_on_old_or_missing_backup(tmp_path: Path) -> None:
    (rules,) = documents("alerts.yaml")
    _, backup = documents("backup.yaml")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules["spec"]))
    labels = f'namespace="evolution-gate",cronjob="{backup["metadata"]["name"]}"'
    series = f"kube_cronjob_status_last_successful_time{{{labels}}}"
    rule = rules["spec"]["groups"][0]["rules"][0]
    notes = {**rule["annotations"], "value": "1d 13h 0m 0s"}
    expected = {"exp_labels": rule["labels"], "exp_annotations": notes}
    other = {"namespace": "evolution-gate", "cronjob": backup["metadata"]["name"]}
    missing = {
        "exp_labels": {**rule["labels"], **other},
        "exp_annotations": {**notes, "value": "1s"},
    }
    old = [{"series": series, "values": "0x4320"}]

    def at(time: str, alerts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"eval_time": time, "alertname": rule["alert"], "exp_alerts": alerts}

    cases = [
        {"input_series": old, "alert_rule_test": [at("35h", []), at("37h", [expected])]},
        {"input_series": [], "alert_rule_test": [at("20m", []), at("40m", [missing])]},
    ]
    tests = {"rule_files": ["rules.yml"], "tests": [{"interval": "1m", **one} for one in cases]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    done = promtool("test", "rules", tmp_path / "tests.yml")
    assert done.returncode == 0, done.stdout

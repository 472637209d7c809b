"""The cluster on AWS, checked without it."""

from __future__ import annotations

import copy
import shlex
from typing import Any

import pytest
import yaml

from evolution_gate.fixtures.services.monitoring import DEPLOY
from ga.capacity.prices import EXTRAS, NODE

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture
def aws() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "aws" / "cluster.yaml").read_text())


def test_ray_accepts_the_aws_configuration(aws: dict[str, Any]) -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    prepared = util.prepare_config(copy.deepcopy(aws))
    util.validate_config(prepared)
    assert prepared["max_workers"] == 4
    broken = {**aws, "min_wrokers": 2}
    with pytest.raises(jsonschema.ValidationError):
        util.validate_config(util.prepare_config(broken))


def test_aws_machines_follow_the_plan(aws: dict[str, Any]) -> None:
    head, worker = (aws["available_node_types"][name] for name in ("head", "worker"))
    assert aws["head_node_type"] == "head"
    for one in (head, worker):
        assert one["node_config"]["InstanceType"] == "c5.2xlarge"
        assert all(disk["Ebs"]["Encrypted"] for disk in one["node_config"]["BlockDeviceMappings"])
    assert (worker["min_workers"], worker["max_workers"]) == (2, 4)
    assert worker["node_config"]["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"MaxPrice": f"{EXTRAS.spot_cap:.2f}"},
    }
    assert "InstanceMarketOptions" not in head["node_config"]


def test_aws_day_costs_less_than_thirty_dollars(aws: dict[str, Any]) -> None:
    workers = aws["available_node_types"]["worker"]["max_workers"]
    assert aws["max_workers"] == workers
    machines = workers + 1
    for name in ("head", "worker"):
        (disk,) = aws["available_node_types"][name]["node_config"]["BlockDeviceMappings"]
        assert disk["Ebs"]["VolumeSize"] == EXTRAS.disk_gb
        assert aws["available_node_types"][name]["node_config"]["InstanceType"] == NODE.instance
    parts = [
        24 * NODE.on_demand,
        24 * workers * EXTRAS.spot_cap,
        24 * machines * EXTRAS.address_hour,
        machines * EXTRAS.disk_gb * EXTRAS.disk_gb_month * 12 / 365,
        EXTRAS.traffic_gb_day * EXTRAS.traffic_gb,
    ]
    assert max(NODE.spot) <= EXTRAS.spot_cap
    assert sum(parts) < 30
    # The sum at the top of the file.
    text = (DEPLOY / "aws" / "cluster.yaml").read_text()
    assert all(f" ${part:.2f}\n" in text for part in [*parts, sum(parts)])


def test_aws_opens_only_ssh(aws: dict[str, Any]) -> None:
    (start,) = [one for one in aws["head_start_ray_commands"] if "--head" in one]
    assert "--dashboard-host=127.0.0.1" in shlex.split(start)
    # Rules given here are added to Ray's own: inside the group, and ssh.
    assert set(aws["provider"]["security_group"]) == {"GroupName"}
    assert any("RAY_AUTH_MODE=token" in one for one in aws["setup_commands"])
    assert "deploy/secrets" in aws["rsync_exclude"]

"""The compose file as Compose reads it: what is published, limited, checked and kept secret."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
import yaml

from evolution_gate.fixtures.images import IMAGES, PYTHON
from evolution_gate.fixtures.services.monitoring import DEPLOY
from ga.ops.ports import PORTS
from ga.ops.secrets import MONITORING_USER, SECRETS, WEB_CONFIG

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
ONCE: Final = "volumes"
"""Makes folders, and ends."""
LASTING: Final = sorted(SERVICES.keys() - {ONCE})
PINNED: Final = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
VOLUMES: Final = {
    # What the images declare as VOLUME: without a mount there, each start leaves one behind.
    "postgres": "/var/lib/postgresql/data",
    "redis": "/data",
    "prometheus": "/prometheus",
    "alertmanager": "/alertmanager",
}


def test_compose_has_the_planned_services() -> None:
    assert set(LASTING) == {
        "ray-head", "ray-worker-cpu", "ray-worker-memory", "genetic-pool", "postgres", "redis",
        "prometheus", "alertmanager", "grafana", "backup",
    }  # fmt: skip
    (network,) = COMPOSE["networks"].values()
    assert network["ipam"]["config"] == [{"subnet": "172.20.0.0/16"}]
    assert all([*SERVICES[name]["networks"]] == ["genetic-cluster"] for name in LASTING)


def test_only_planned_ports_are_published_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert sorted(published) == sorted(f"127.0.0.1:{port}:{port}" for port in PORTS)


@pytest.mark.parametrize("name", LASTING)
def test_services_have_healthcheck_limits_and_restart(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    # A head needs nothing; all others wait for what they need to be well, not only to be there.
    waits = service.get("depends_on", {})
    assert bool(waits) == (name != "ray-head")
    for other, how in waits.items():
        good = "service_completed_successfully" if other == ONCE else "service_healthy"
        assert how == {"condition": good}


def test_mounted_folders_follow_the_plan() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ())]
    outside = {mount.split(":")[0] for mount in mounts if mount.startswith("../")}
    assert {path.split("/")[1] for path in outside} == {"data", "logs", "results"}
    assert "volumes" not in COMPOSE
    for name, declared in VOLUMES.items():
        inside = [mount.split(":")[1] for mount in SERVICES[name]["volumes"]]
        assert declared in inside


def test_images_are_pinned_and_overridable() -> None:
    for name in IMAGES:
        default = IMAGES[name].public or IMAGES[name].stand_in
        wanted = f"${{GA_IMAGE_{name.upper()}:-{default}}}"
        users = [one for one, service in SERVICES.items() if service["image"] == wanted]
        assert users, wanted
    for image in (*(one.public for one in IMAGES.values()), PYTHON):
        assert image is None or PINNED.fullmatch(image), image
    (redis,) = [
        container["image"]
        for document in yaml.safe_load_all((DEPLOY / "kuberay" / "redis.yaml").read_text())
        if document["kind"] == "StatefulSet"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    assert redis == IMAGES["redis"].public
    dockerfile = (DEPLOY / "images" / "engine" / "Dockerfile").read_text()
    assert f"ARG BASE={PYTHON}\n" in dockerfile


def test_secrets_are_written_by_init_only() -> None:
    files = {name: one["file"] for name, one in COMPOSE["secrets"].items()}
    assert files == {name: f"./secrets/{name}" for name in files}
    assert files.keys() == {*SECRETS, WEB_CONFIG, "pgpass", "alert_webhook_url"}
    used = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used == files.keys()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", name):
                assert str(value).startswith("/run/secrets/"), name
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), name


def test_stored_series_are_limited() -> None:
    command = SERVICES["prometheus"]["command"]
    assert {"--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=5GB"} <= {*command}


def test_monitoring_requires_and_sends_the_password() -> None:
    password = "/run/secrets/monitoring_password"
    expected = {"username": MONITORING_USER, "password_file": password}
    for name in ("prometheus", "alertmanager"):
        service = SERVICES[name]
        command = " ".join([*service.get("entrypoint", ()), *service.get("command", ())])
        assert f"--web.config.file=/run/secrets/{WEB_CONFIG}" in command
        assert {WEB_CONFIG, "monitoring_password"} <= set(service["secrets"])
        client = yaml.safe_load((DEPLOY / name / "client.yml").read_text())
        assert client == {"basic_auth": expected}
        assert f"--http.config.file=/etc/{name}/client.yml" in " ".join(
            service["healthcheck"]["test"]
        )
    # Alertmanager's port for other Alertmanagers has no authentication.
    assert "--cluster.listen-address= " in f"{' '.join(SERVICES['alertmanager']['entrypoint'])} "
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in settings["scrape_configs"]}
    (sending,) = settings["alerting"]["alertmanagers"]
    for one in (jobs["prometheus"], jobs["alertmanager"], sending):
        assert one["basic_auth"] == expected
    sources = json.loads((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    for source in sources:
        assert (source["basicAuth"], source["basicAuthUser"]) == (True, MONITORING_USER)
        assert source["secureJsonData"] == {"basicAuthPassword": f"$__file{{{password}}}"}
    assert "monitoring_password" in SERVICES["grafana"]["secrets"]

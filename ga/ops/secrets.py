"""The files next to the compose file: secrets, and the selection of images."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import bcrypt

from ga.errors import InputError

IMAGES: Final = ("engine", "postgres", "redis", "prometheus", "alertmanager", "grafana")
SECRETS: Final = (
    "ray_token", "postgres_password", "redis_password", "grafana_password", "service_token",
    "monitoring_password",
)  # fmt: skip
MONITORING_USER: Final = "ga"
"""The user name at Prometheus and Alertmanager; the password is ``monitoring_password``."""
WEB_CONFIG: Final = "monitoring_web_config"
"""The secret file in which Prometheus and Alertmanager find the hash of that password."""
NOBODY_LISTENS: Final = "http://127.0.0.1:9/"
"""Placeholder webhook: alerts are not delivered until one is given."""
_ROUNDS: Final = 10
"""Cost of a hash, as a power of two. A random password needs no more, and each request pays it."""
_PROFILES: Final = "COMPOSE_PROFILES"
_GRAFANA: Final = "grafana"
_STAND_INS: Final = {f"GA_IMAGE_{name.upper()}": f"evolution-gate/{name}:local" for name in IMAGES}


def init(
    folder: Path,
    *,
    webhook: str | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Write missing secrets and the selection of images; returns what was written.

    Secrets are random and never overwritten. Only the owner can enter their folder; the files in it
    are readable for users inside the containers that mount them. In ``.env`` only the selection of
    substitute images and of Grafana is updated; other lines belong to the user.

    Args:
        environment: its ``GA_IMAGE_...`` variables are stored as the selection.
    """
    place, written = folder / "secrets", []
    place.mkdir(mode=0o700, exist_ok=True)
    place.chmod(0o700)
    values = {name: secrets.token_urlsafe(32) for name in SECRETS}
    values["alert_webhook_url"] = webhook or NOBODY_LISTENS
    for name, value in values.items():
        if not (place / name).exists() or (name == "alert_webhook_url" and webhook):
            (place / name).write_text(value)
            written.append(name)
    if not (place / "pgpass").exists():
        password = (place / "postgres_password").read_text()
        (place / "pgpass").write_text(f"postgres:5432:ga:ga:{password}\n")
        written.append("pgpass")
    if _write_web_config(place):
        written.append(WEB_CONFIG)
    file = folder / ".env"
    before = file.read_text() if file.exists() else None
    after = "".join(f"{line}\n" for line in _chosen((before or "").splitlines(), environment))
    if after != before:
        file.write_text(after)
        written.append(file.name)
    return written


def _write_web_config(place: Path) -> bool:
    """Write the configuration that makes Prometheus and Alertmanager ask for the password, unless
    it is there and has the hash of this password; returns whether it was written.

    Raises:
        InputError: bcrypt hashes no password longer than 72 bytes.
    """
    source, file = place / "monitoring_password", place / WEB_CONFIG
    password = source.read_bytes()
    if not 0 < len(password) <= 72:
        raise InputError(
            f"{source}: a password of {len(password)} bytes, must be 1 to 72; remove the file for"
            " a random one"
        )
    if file.exists() and _accepts(file.read_text(), password):
        return False
    hashed = bcrypt.hashpw(password, bcrypt.gensalt(_ROUNDS)).decode()
    file.write_text(json.dumps({"basic_auth_users": {MONITORING_USER: hashed}}) + "\n")
    return True


def _accepts(configuration: str, password: bytes) -> bool:
    """Whether a configuration that ``_write_web_config`` wrote has the hash of a password."""
    try:
        hashed = json.loads(configuration)["basic_auth_users"][MONITORING_USER]
        return bcrypt.checkpw(password, hashed.encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _chosen(lines: list[str], environment: Mapping[str, str]) -> list[str]:
    """The lines of ``.env``: those of the user unchanged, and the selection."""
    asked = {name: environment[name] for name in _STAND_INS if environment.get(name)}
    kept = [line for line in lines if not _ours(line) and _variable(line) not in asked]
    theirs = {_variable(line) for line in kept}
    images = asked | {
        name: image
        for name, image in _STAND_INS.items()
        if name not in theirs | asked.keys() and has_image(image)
    }
    found = [f"{name}={image}" for name, image in images.items()]
    # Substitutes are built where there is no registry; there is no substitute for Grafana.
    stand_ins = any(_ours(line) for line in found if not line.startswith("GA_IMAGE_ENGINE="))
    grafana = "GA_IMAGE_GRAFANA" in theirs | images.keys()
    if _PROFILES not in theirs and (grafana or not stand_ins):
        found.append(f"{_PROFILES}={_GRAFANA}")
    return [*kept, *found]


def _ours(line: str) -> bool:
    name, _, value = line.partition("=")
    return value == (_GRAFANA if name == _PROFILES else _STAND_INS.get(name))


def _variable(line: str) -> str:
    return line.partition("=")[0].strip()


def has_image(image: str) -> bool:
    """Whether the container engine has the image locally."""
    argv = ["docker", "image", "inspect", image]
    return subprocess.run(argv, capture_output=True).returncode == 0

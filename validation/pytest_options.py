"""Options of ``pytest -m validation``."""

from __future__ import annotations

from pathlib import Path

import pytest


def add_options(parser: pytest.Parser) -> None:
    """Add the options of the gate."""
    group = parser.getgroup("gate", "the validation gate (pytest -m validation)")
    group.addoption("--stack", choices=["auto", "processes", "containers"], default="auto")
    group.addoption(
        "--seed", type=_seed, help="fixes workloads and faults (default: random, printed)"
    )
    group.addoption("--replay", type=_seed, metavar="SEED", help="repeat the campaign of that seed")
    group.addoption(
        "--gate",
        choices=["phase2"],
        help="exit with the gate's status: 0 GO, 1 NO-GO, 2 INCONCLUSIVE",
    )
    group.addoption(
        "--address",
        metavar="HOST:PORT",
        help="address of a Ray cluster that you started: it gets work and is monitored, without"
        " faults; GA_STORE, GA_CACHE_URL and RAY_AUTH_TOKEN_PATH apply, too",
    )
    group.addoption(
        "--dashboard",
        metavar="URL",
        help="Ray dashboard of the cluster of --address (default: port 8265 on its host)",
    )
    group.addoption(
        "--prometheus",
        metavar="URL",
        help="base URL of the Prometheus server that scrapes the cluster of --address",
    )
    group.addoption(
        "--with",
        action="append",
        default=[],
        dest="own_files",
        metavar="FILE",
        help="custom criteria next to the built-in ones: a file, or the name of an installed entry"
        " point, see docs/extending.md; may be repeated",
    )
    group.addoption(
        "--keep-files",
        action="store_true",
        help="keep ledgers, backups and their copies in the folder of the run, about 110 MB",
    )
    group.addoption(
        "--sign",
        metavar="KEY",
        type=Path,
        help="sign evidence and decision with this private Ed25519 key, a PEM file that only you"
        " can read; the variable GA_SIGN_PASSWORD holds its password",
    )
    group.addoption(
        "--short", action="store_true", help="gather less evidence, in about half the time"
    )


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**63:
        raise pytest.UsageError(f"seed must be a whole number 0..2^63-1, not {text!r}")
    return int(text)

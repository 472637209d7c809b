"""Loads the gate's pytest plug-in only when its tests are named: ``pytest --pyargs validation``.

pytest loads an installed entry point in every session of the environment. So this module itself
adds neither options nor fixtures.
"""

from __future__ import annotations

import pytest

_PLUGIN = "validation.pytest_plugin"
_TESTS = "validation"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Load it before the command line is parsed, because it adds options."""
    named = any(arg == _TESTS or arg.startswith(f"{_TESTS}.") for arg in args)
    if not (named and early_config.known_args_namespace.pyargs):
        return
    early_config.pluginmanager.import_plugin(_PLUGIN)
    if "--" in args:
        # Options of the gate may be separated from those of pytest.
        args.remove("--")

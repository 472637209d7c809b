"""Loads the gate's pytest plug-in where its tests are named: ``pytest --pyargs validation``.

An installed package's entry point is loaded into every pytest of its environment. So this one adds
neither options nor fixtures to the tests of others.
"""

from __future__ import annotations

import pytest

_PLUGIN = "validation.pytest_plugin"
_TESTS = "validation"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Load it before the command line is parsed, for it adds options."""
    named = any(arg == _TESTS or arg.startswith(f"{_TESTS}.") for arg in args)
    if not (named and early_config.known_args_namespace.pyargs):
        return
    early_config.pluginmanager.import_plugin(_PLUGIN)
    if "--" in args:
        # Options of the gate may be set off from pytest's own.
        args.remove("--")

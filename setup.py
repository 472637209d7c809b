"""What ``pyproject.toml`` cannot say: a wheel holds the files of ``deploy/``."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithDeploy(build_py):
    """An installed stack has the same rules and dashboards; see ``fixtures/deploy_files.py``."""

    def run(self) -> None:
        """Build, then add the files."""
        super().run()
        if not self.editable_mode:
            secrets = shutil.ignore_patterns("secrets", ".env", "__pycache__")
            place = Path(self.build_lib, "evolution_gate", "deploy")
            shutil.copytree("deploy", place, ignore=secrets, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithDeploy})

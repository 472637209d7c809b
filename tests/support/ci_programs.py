"""Programs that the example pipelines call: ``ci_programs.py NAME ARGUMENTS...``.

It ends with an error for a command that a pipeline could not run.
"""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import sys
from pathlib import Path

from tests.support.ci_examples import CERTIFICATES
from validation.cli.parser import make_parser

_CERTIFICATION = ["-m", "validation", "certify"]


def main(name: str, arguments: list[str]) -> int:
    """Run one program; returns its exit status, unless it becomes another one."""
    with open(os.environ["ASKED"], "a", encoding="utf-8") as file:
        file.write(shlex.join([name, *arguments]) + "\n")
    if name == "sudo":
        words = [word for word in arguments if word != "-E"]
        os.execvp(words[0], words)
    if name != "python" or arguments[:3] == ["-m", "pip", "install"]:
        return 0
    if arguments[:2] != ["-m", "tox"]:
        return 2
    return _tox(arguments[2:])


def _tox(arguments: list[str]) -> int:
    before, _, rest = " ".join(map(shlex.quote, arguments)).partition(" -- ")
    words, given = before.split(), shlex.split(rest)
    environment = f"testenv:{words[words.index('-e') + 1]}"
    config = configparser.ConfigParser(interpolation=None)
    config.read("tox.ini", encoding="utf-8")
    stated = config[environment]["commands"]
    if words[0] == "exec":
        return _run(given)
    command = stated.replace("{posargs}", shlex.join(given)).split(None, 1)
    if command[0] != "pytest":
        return 2
    plugin = ["-p", "no:cacheprovider", "-p", "tests.support.recorded_campaign"]
    return _run(["python", "-m", "pytest", *plugin, *shlex.split(command[1])])


def _run(command: list[str]) -> int:
    if command[0] == "python" and command[1:4] == _CERTIFICATION:
        options = make_parser().parse_args(command[3:])
        if recorded := os.environ.get(CERTIFICATES):
            Path(options.certificates).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(recorded, options.certificates)
    elif command[0] == "python":
        os.execv(sys.executable, [sys.executable, *command[1:]])
    return 0 if command[0] == "python" else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

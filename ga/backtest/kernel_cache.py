"""Compiled kernels on disk: a file for each function, types and processor, with its checksum.

The key of the folder is the text of all source files of kernels (``sources``) and the compiler, so
that a change in one file also affects all kernels that inline from it. A damaged file counts as
absent: the kernel is compiled and the file replaced. If a file cannot be written, only the next
start is slower.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import os
import pickle
import platform
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.serialize import dumps

from ga.environment import home, own_cache, private_folder, setting
from ga.errors import InputError

_PACKAGE: Final = __name__.partition(".")[0]
ENGINE: Final = Path(__file__).parents[__name__.count(".") - 1]
"""The folder of the whole engine."""
_COMPILERS: Final = frozenset({"numba", "jit"})
"""Modules that define kernels: numba, and the one with our decorator."""
_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")
"""Fields of ``ast`` that contain statements, directly or indirectly."""
_NOT_CODE: Final = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
"""Variables of numba that do not change the compiled code."""
_EVERY_SECONDS: Final = 5.0
_DIGEST: Final = 32
"""Length of the checksum at the start of a file, in bytes."""


def key() -> str:
    """Key of a set of compiled kernels: their source text, the compiler, and its settings."""
    digest = hashlib.sha256()
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("NUMBA_") and name not in _NOT_CODE
    }
    for part in (
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        sys.implementation.cache_tag,
        platform.machine(),
        sorted(settings.items()),
    ):
        digest.update(f"{part}\n".encode())
    for file in sources():
        digest.update(f"{file.relative_to(ENGINE)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def sources() -> tuple[Path, ...]:
    """All source files of the engine's kernels, in order.

    These are the modules that import a compiler, and the engine's modules that they import, because
    a kernel inlines functions and constants of other modules. They are found from the import
    statements, because a list would miss a new module. Hashing the whole engine would recompile all
    kernels after a change of the command line.
    """
    modules = {_module(file): file for file in sorted(ENGINE.rglob("*.py"))}
    found: dict[str, frozenset[str]] = {}
    for name, file in modules.items():
        text = file.read_bytes()
        # Parsing all of the engine would take a third of a second.
        if any(compiler.encode() in text for compiler in _COMPILERS):
            imports = _imports(name, file)
            if any(_COMPILERS.intersection(one.split(".")) for one in imports):
                found[name] = imports
    wanted = [one for imports in found.values() for one in imports]
    while wanted:
        name = wanted.pop()
        if name in modules and name not in found:
            found[name] = _imports(name, modules[name])
            wanted += found[name]
    return tuple(file for name, file in modules.items() if name in found)


def _module(file: Path) -> str:
    """The dotted name of a module of the engine."""
    *folders, last = file.relative_to(ENGINE).with_suffix("").parts
    return ".".join([_PACKAGE, *folders, *([] if last == "__init__" else [last])])


def _imports(name: str, file: Path) -> frozenset[str]:
    """All names in the import statements of a module, at any level."""
    found: set[str] = set()
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in _statements(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(relative, package)
            # A name that is imported from a package may be a module.
            found.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
    return frozenset(found)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node, without the expressions that ``ast.walk`` also visits."""
    below: list[ast.AST] = [tree]
    while below:
        node = below.pop()
        yield node
        for block in _BLOCKS:
            below += getattr(node, block, ())


@cache
def folder() -> Path | None:
    """The folder of this set; None if it cannot be made, then kernels are compiled at every
    start.
    """
    name, named = f"evolution-gate/numba/{key()}", own_cache()
    for place in _homes():
        try:
            (place / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            # The home cannot be written, for example in a container.
            continue
        # A folder that the user named is trusted, for example in an image, where it belongs to
        # another user.
        if place == named or _private(place / name):
            return (place / name).absolute()
    _say("kernels are compiled at every start: no folder can keep them; set GA_CACHE_DIR to one")
    return None


def _homes() -> Iterator[Path]:
    if own := own_cache():
        yield own
    for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        if value := setting(variable):
            yield Path(value).absolute()
    if at_home := home():
        yield at_home / ".cache"
    # A folder of another user with that name is not used.
    with contextlib.suppress(InputError, OSError):
        yield private_folder()


def _private(place: Path) -> bool:
    """Whether no other user can write there, because the code in the files is executed."""
    found = place.stat()
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@cache
def _say(text: str) -> None:
    """Print once per process."""
    print(f"ga: {text}", file=sys.stderr)


class Compiling:
    """Reports on stderr that kernels are compiled, if the cache is empty: it takes most of a
    minute.

    Args:
        families: number of families to compile.
    """

    def __init__(self, families: int) -> None:
        place = folder()
        # Making or reading a market also compiles some kernels.
        self._cold = place is None or not any(place.glob("kernel.*.kernel"))
        self._families, self._done = families, 0
        self._began = self._told = time.monotonic()
        if self._cold:
            self._tell("compiling kernels, once on this machine: about a minute")

    def done(self) -> None:
        """One more family is compiled."""
        self._done += 1
        if self._cold and time.monotonic() - self._told > _EVERY_SECONDS:
            self._told = time.monotonic()
            self._tell(f"kernels of {self._done} of {self._families} families are compiled")

    def end(self) -> None:
        """All families are compiled."""
        if self._cold:
            self._tell(f"kernels are compiled ({time.monotonic() - self._began:.0f} s)")

    def _tell(self, text: str) -> None:
        print(f"ga: {text}", file=sys.stderr, flush=True)


class Locator(caching._CacheLocator):
    """Numba's interface for the location of cache files; ``_Files`` finds ours."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno
        self._file = Path(function.__code__.co_filename)

    def get_cache_path(self) -> str:
        """The folder of the cache; empty without one."""
        return str(folder() or "")

    def ensure_cache_path(self) -> None:
        """Do nothing: the folder was made when it was chosen."""

    def get_source_stamp(self) -> str:
        """Empty: the folder is named after the sources."""
        return ""

    def get_disambiguator(self) -> str:
        """The line of the function, and the content of a file that the folder does not cover."""
        # A function in a file that the folder's key does not cover, for example a user's.
        known = self._file in sources() or not self._file.is_file()
        text = "" if known else hashlib.sha256(self._file.read_bytes()).hexdigest()[:16]
        return f"{self._line}{text}"

    @classmethod
    def from_function(cls, function: Callable[..., Any], _file: str) -> Locator:
        """A locator of the function, whatever its file."""
        return cls(function)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [Locator]  # type: ignore[list-item]  # noqa: RUF012


class _Files:
    """The files of one function: one for each signature and processor."""

    def __init__(self, name: str) -> None:
        self._name = name

    def path(self, key: Any) -> Path | None:
        """Path for a key of numba: types, processor and its features, hash of the bytecode."""
        place = folder()
        if place is None:
            return None
        signature, processor, code = key
        text = "\n".join([*map(str, signature), *map(str, processor), *code])
        return place / f"{self._name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.kernel"

    def load(self, key: Any) -> Any:
        """The saved kernel; None if there is none or it is damaged."""
        path = self.path(key)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _say(f"compiled kernel {path} cannot be read ({error.strerror}); it is compiled again")
            return None
        data = content[_DIGEST:]
        if hashlib.sha256(data).digest() != content[:_DIGEST]:
            _say(f"compiled kernel {path} was damaged; it is compiled again and replaced")
            return None
        return pickle.loads(data)

    def save(self, key: Any, data: Any) -> None:
        """Write atomically, so that no other process reads an incomplete file."""
        path = self.path(key)
        if path is None:
            return
        content: bytes = dumps(data)  # type: ignore[no-untyped-call]
        beside = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            beside.write_bytes(hashlib.sha256(content).digest() + content)
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            _say(f"compiled kernels cannot be kept in {path.parent} ({error.strerror})")

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


class KernelCache(caching.FunctionCache):
    """Numba's cache of one function, over ``_Files``."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._cache_file: Any = _Files(self._impl.filename_base)

"""A hook of MkDocs: one page of the API reference for each package folder of the product.

The pages are generated from the tree, so that a moved or new module needs no entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tools.imports import IMPORT_PACKAGE, modules_of

ROOT: Final = Path(__file__).resolve().parents[1]
LINKED: Final = ("fixtures", "reports")
"""Top-level folders that are imported as packages of ``evolution_gate``."""
PUBLIC: Final = ("ga", "validation", *LINKED)
"""Top-level folders with an API reference; the others are programs."""
_LEFT_OUT: Final = ("migrations", "__main__")
"""Parts of a module's name that exclude it: Alembic runs the first, Python the second."""


def api_pages(root: Path = ROOT) -> dict[str, str]:
    """Package -> Markdown of its page: the package, then its modules."""
    modules = modules_of(root)
    pages: dict[str, list[str]] = {}
    for name, path in modules.items():
        parts = name.split(".")
        hidden = any(part in _LEFT_OUT or part.startswith("_") for part in parts)
        # Tests inside a package are not part of the API.
        if parts[0] not in PUBLIC or hidden or parts[-1].startswith("test_"):
            continue
        shown = f"{IMPORT_PACKAGE}.{name}" if parts[0] in LINKED else name
        package = shown if path.name == "__init__.py" else shown.rpartition(".")[0]
        pages.setdefault(package, []).append(shown)
    return {package: _page(package, names) for package, names in sorted(pages.items())}


def _page(package: str, names: list[str]) -> str:
    listed = sorted(names, key=lambda name: (name != package, name))
    return "\n".join([f"# {package}", "", *(f"::: {name}\n" for name in listed)])


def _uri(package: str) -> str:
    return f"api/{package}.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation."""
    nav = list(config.nav or [])
    nav.append({"API reference": [{package: _uri(package)} for package in api_pages()]})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    for package, text in api_pages().items():
        files.append(File.generated(config, _uri(package), content=text))
    return files

"""The example notebook runs in a kernel, and its stored outputs are those of this engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


def texts(notebook: Any) -> list[list[str]]:
    """What the outputs of each code cell say; pictures by their type only."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = [(one.get("data", {}), one.get("text", "")) for one in cell.outputs]
            found.append([f"{data.get('text/plain', text)} {sorted(data)}" for data, text in shown])
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_example_notebook_gives_its_stored_outputs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--update-goldens`` stores them again."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient

    # A user's own kernel of this name would be another Python.
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    file = DOCS / "examples" / "evolve.ipynb"
    notebook = nbformat.read(file, as_version=4)
    metadata = notebook.metadata.copy()
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] in ("python", sys.executable)
    NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False).execute()
    if request.config.getoption("--update-goldens"):
        notebook.metadata = metadata
        nbformat.write(notebook, file)
    assert texts(notebook) == texts(nbformat.read(file, as_version=4))


def test_example_notebook_is_small_and_executed() -> None:
    text = (DOCS / "examples" / "evolve.ipynb").read_text(encoding="utf-8")
    assert len(text) < 120_000
    assert '"image/png"' in text
    assert '"ename"' not in text
    assert '"execution_count": null' not in text

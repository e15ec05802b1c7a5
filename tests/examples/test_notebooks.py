"""Every notebook runs from its first cell to its last, and is kept without outputs."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_notebook_is_kept_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.local_models
@pytest.mark.slow
@pytest.mark.timeout(600)
# what jupyter's own client says about its future and its sockets is not ours to mend
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_notebook_runs(notebook, served, monkeypatch, tmp_path):
    client = pytest.importorskip("nbclient").NotebookClient
    for name, value in served().items():
        monkeypatch.setenv(name, value)
    client(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    # what a notebook is for: something to look at
    assert kinds & {"image/png", "text/html"} or any("won:" in output.get("text", "") for output in shown)
    assert not [output for output in shown if output.output_type == "error"]

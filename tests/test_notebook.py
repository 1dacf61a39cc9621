"""The notebook runs from top to bottom and shows what its text says."""

import pathlib
import warnings

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[1] / "notebooks" / "first_steps.ipynb"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The text of each code cell's output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's packages
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(NOTEBOOK, as_version=4)
        place = {"metadata": {"path": str(NOTEBOOK.parent)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(o.get("text", "") or o["data"]["text/plain"] for o in cell.outputs) for cell in cells]


@pytest.mark.slow
def test_notebook(results):
    assert results[0].startswith("Tracked(0.909297")
    assert results[1].startswith("Tracked(0.0001") and results[3].startswith("Tracked(0.000100005")
    assert results[6].splitlines()[0].startswith("step 1: Tracked([ 0.180")
    assert results[-2:] == ["Tracked(?)", "Tracked(1)"]

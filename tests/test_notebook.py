"""The notebooks run from top to bottom and show what their text says."""

import pathlib
import re
import warnings

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"


def results(name):
    """The text of each code cell's output; the file itself must have stored some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's packages
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(FOLDER / name, as_version=4)
        assert any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
        place = {"metadata": {"path": str(FOLDER)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(o.get("text", "") or o["data"]["text/plain"] for o in cell.outputs) for cell in cells]


@pytest.mark.slow
def test_first_steps():
    shown = results("first_steps.ipynb")
    assert shown[0].startswith("Tracked(0.909297")
    assert shown[1].startswith("Tracked(0.0001") and shown[3].startswith("Tracked(0.000100005")
    assert shown[6].splitlines()[0].startswith("step 1: Tracked([ 0.180")
    assert shown[-2:] == ["Tracked(?)", "Tracked(1)"]


# What a run must show, cell by cell, as far as it does not depend on the machine.
SHOWN = {
    "where_the_bits_go.ipynb": (r"Tracked\(3\.", "log loses", "exp", r"Tracked\(2\.7662", r"PrecisionError\n2\.766"),
    "which_model_of_error.ipynb": ("certified", "1 .*2 .*4 ", r"\d"),
    "flax_training_to_report.ipynb": (r"right: 1", "96 of 96", "start: median 2.*trained: median 1", "layers_0", "Sequential/layers_0"),
    "mixed_precision.ipynb": ("right: 9", r"second  bfloat16.*asked for 0\.00296", r"as advised +[89]\.\d bits", "are certain"),
    "write_your_own_rule.ipynb": ("MissingRuleError", r"Tracked\(1\.31326\?\?\).*\n.*1\.31326", "True\nhalf of it does not"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SHOWN)
def test_notebook(name):
    found = results(name)
    assert len(found) == len(SHOWN[name])
    for text, pattern in zip(found, SHOWN[name], strict=True):
        assert re.search(pattern, text, re.DOTALL), text


def test_every_notebook_is_run():
    assert {path.name for path in FOLDER.glob("*.ipynb")} == {*SHOWN, "first_steps.ipynb"}

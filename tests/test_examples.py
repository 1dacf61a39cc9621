"""Every example runs alone and makes its point."""

import pathlib
import re
import runpy
import warnings

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def printed(name, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_quadratic_roots(capsys):
    found = re.findall(r"small root: ([\d.]+) of 24", printed("quadratic_roots.py", capsys))
    school, rearranged = map(float, found)
    assert school < 8 and rearranged > 18


def test_sine_of_large_arguments(capsys):
    lines = printed("sine_of_large_arguments.py", capsys).splitlines()
    assert re.fullmatch(r"\s*1\.1\s+0\.8912\d*\?*\s+0\.8912\d*\?*", lines[1])
    assert re.fullmatch(r"\s*1\.1e\+08\s+-0\.9980\d*\?*\s+0\.\?\S*", lines[-1])


def test_determinant(capsys):
    bits = [float(b) for b in re.findall(r"([\d.]+) exact bits", printed("determinant.py", capsys))]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] > 12 and bits[-1] == 0


def test_mlp(capsys):
    out = printed("mlp.py", capsys)
    assert re.search(r"float32: Tracked\(\[\s*-0\.49", out)
    assert len(re.search(r"median exact bits (.*) of 24", out)[1].split(", ")) == 3


def test_across_platforms(capsys):
    """TF32 is not explained by the bound of float32, but by its own; a bug is explained by neither."""
    verdicts = re.findall(r"^(NOT )?explained by rounding", printed("across_platforms.py", capsys), re.M)
    assert verdicts == ["NOT ", "", "NOT ", "NOT "]


@pytest.mark.parametrize("table", ["README.md", "examples/README.md"])
def test_tables_name_every_example(table):
    text = (EXAMPLES.parent / table).read_text()
    assert all(f"[{path.name}]" in text for path in EXAMPLES.glob("*.py"))

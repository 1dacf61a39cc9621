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


@pytest.mark.slow
def test_kl_divergence(capsys):
    """At half its size: what the full one shows as well."""
    main = runpy.run_path(str(EXAMPLES / "kl_divergence.py"))["main"]
    main(width=32, batch=32, stages=2, steps=40)
    out = capsys.readouterr().out
    assert re.match(r"guard: add_any at kl_divergence.py:\d+ \(divergence\), in divergence leaves [01]\.\d exact bits", out)
    assert re.search(r"^kl_divergence.py:\d+ \(divergence\)", out, re.M)
    assert re.search(r"^divergence +float32", out, re.M) and re.search(r"^backbone +b?float16 +\d\d", out, re.M)
    (first, _), (last, advised) = ((float(a), float(b)) for a, b in re.findall(r"bfloat16 ([\d.]+)%, as advised ([\d.]+)%", out))
    assert first < 5 and last > 20 and advised < 6.25


@pytest.mark.parametrize("table", ["README.md", "examples/README.md"])
def test_tables_name_every_example(table):
    text = (EXAMPLES.parent / table).read_text()
    assert all(f"[{path.name}]" in text for path in EXAMPLES.glob("*.py"))

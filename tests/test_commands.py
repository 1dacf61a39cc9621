"""Commands on a function of the user's."""

import numpy as np
import pytest

from precjax.__main__ import main

SOURCE = """
import jax.numpy as jnp

def f(x, scale=1.0):
    small = (x + 1e4) - 1e4
    return {"y": small * scale, "n": x.size}

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SOURCE)
    np.savez(tmp_path / "inputs.npz", np.linspace(0, 1, 5, dtype=np.float32))
    np.savez(tmp_path / "named.npz", x=np.float32(0.1), scale=np.float32(2))
    (tmp_path / "text.npz").write_text("no arrays")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    return tmp_path


def test_report(folder, capsys):
    main(["report", "mine:f", "--inputs", "inputs.npz", "--html", "out.html", "--csv", "out.csv"])
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].startswith("mine.py:5 (f)") and "written: out.html" in printed
    assert "<table>" in (folder / "out.html").read_text() and (folder / "out.csv").read_text().startswith("where,")


def test_tolerances(folder, capsys):
    main(["tolerances", "mine:f", "--inputs", "named.npz", "--model", "certified"])
    assert capsys.readouterr().out.splitlines()[0].startswith("['n']: rtol=0, atol=0")


def test_advise(folder, capsys):
    words = ["advise", "mine:f", "--inputs", "inputs.npz", "--by", "line", "--formats", "bfloat16", "float32", "--target"]
    main([*words, "4"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("where") and any("mine.py:5 (f)" in line and "float32" in line for line in lines)
    words[3] = "named.npz"
    with pytest.raises(SystemExit, match="float32, the widest of the formats"):
        main([*words, "20"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mine", "--inputs", "inputs.npz"], "not of the form module:function"),
        (["yours:f", "--inputs", "inputs.npz"], "no module 'yours'"),
        (["mine:g", "--inputs", "inputs.npz"], "has no 'g'"),
        (["mine:number", "--inputs", "inputs.npz"], "is no function"),
        (["mine:f", "--inputs", "lost.npz"], "no file 'lost.npz'"),
        (["mine:f", "--inputs", "text.npz"], "no file of numpy.savez"),
        (["mine:f", "--inputs", "inputs.npz", "--html", "nowhere/out.html"], "no folder 'nowhere'"),
        (["mine:f"], "--inputs"),
    ],
)
def test_errors_for_humans(folder, words, message, capsys):
    with pytest.raises(SystemExit):
        main(["report", *words])
    assert message in capsys.readouterr().err

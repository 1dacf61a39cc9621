"""The demonstration at reduced size: what it prints, what it saves, what it refuses."""

import builtins
import io
import re

import numpy as np
import optax
import pytest
from rich.console import Console

import precjax
from precjax import __main__
from precjax.demo import run
from precjax.demo._digits import load
from precjax.demo._measurement import measure_forward
from precjax.demo._networks import MLP
from precjax.demo._training import Trainer


def medians(text, title):
    """The last column of a table."""
    table = text.split(title)[1].split("└")[0]
    return [float(row) for row in re.findall(r"([\d.]+) │$", table, re.MULTILINE)]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "contraction"), [pytest.param("mlp", "normwise", marks=pytest.mark.long), ("cnn", "componentwise")])
def test_run(tmp_path, model, contraction):
    console, out = Console(file=io.StringIO(), width=100), tmp_path / "bits.png"
    run(model=model, contraction=contraction, epochs=2, held_out=40, seed=0, out=out, console=console)
    text, picture = console.file.getvalue(), out.read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
    assert f"Trained: {model.upper()}" in text and re.search(r"-?\d+\.\d+\?\?\?", text)
    certified, right = (
        int(re.search(rf"(\d+) of 40 {what}", text)[1]) for what in ("predictions are certified", "are right")
    )
    assert 36 <= certified <= 40 and 20 <= right <= 40
    layers = medians(text, "Activations of 40 held-out digits")
    assert layers == sorted(layers, reverse=True) and 24 >= layers[0] > layers[-1] > 6
    untrained = [float(b) for b in re.findall(r"logits\.bias +│ +10 │ +[\d.]+ │ +([\d.]+) │", text)]
    assert untrained[0] > 4
    assert max(medians(text, "Parameters after one more Adam step")) > 8


def test_certified_is_separation_of_the_logits():
    """The certificate says no more than the logits' balls: whoever is certified wins by more than both errors."""
    trainer, (_, unseen) = Trainer(MLP(), optax.adam(1e-3)), load(60, 0)
    forward = measure_forward(trainer, trainer.start(0), unseen, precjax.WorstCase())
    value, error = (np.asarray(x, np.float64) for x in forward.logits)
    rows, winner = np.arange(60), np.asarray(forward.winner.value)
    others = value + error
    others[rows, winner] = -np.inf
    assert np.array_equal(winner, value.argmax(1))
    assert (value[rows, winner] - error[rows, winner] > others.max(1))[forward.certified].all()
    assert forward.certified.mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--epochs", "0"], "'0' is not a whole number from 1"),
        (["demo", "--held-out", "many"], "'many' is not a whole number from 1 to 1700"),
        (["demo", "--out", "bits.jpg"], "'bits.jpg' does not end in .png"),
        (["demo", "--out", "no/such/folder/bits.png"], "there is no folder 'no/such/folder'"),
        (["demo", "--model", "rnn"], "invalid choice: 'rnn'"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        __main__.main(arguments)
    assert message in capsys.readouterr().err


def test_no_arguments_print_the_help(capsys):
    __main__.main([])
    assert "demo" in capsys.readouterr().out


def test_missing_extra(monkeypatch):
    def without_rich(name, *args, **kwargs):
        if name.startswith("rich"):
            raise ModuleNotFoundError("No module named 'rich'", name="rich")
        return real(name, *args, **kwargs)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without_rich)
    with pytest.raises(SystemExit, match=r"needs rich: pip install 'precjax\[demo\]'"):
        __main__.main(["demo"])

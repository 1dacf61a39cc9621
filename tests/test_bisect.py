"""Where two runs begin to differ: the planted place, and none where only roundings differ."""

import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import precjax

X = zoo.normal(0, 4, 8)


class Net(nn.Module):
    """Three layers; the slope of one of them is another one."""

    dtype: object = jnp.float32
    slope: float = 1.0

    @nn.compact
    def __call__(self, x):
        for name in ("one", "two", "three"):
            x = jnp.tanh(nn.Dense(8, dtype=self.dtype, name=name)(x))
            if name == "two":
                with jax.named_scope("slope"):
                    x = x * self.slope
        return x


VARIABLES = Net().init(jax.random.key(0), X)


def recorded(model="probabilistic", by="module", **options):
    return precjax.record(Net(**options).apply, model=model, by=by)(VARIABLES, X)


def test_the_planted_module_comes_first():
    found = precjax.bisect(recorded(), pickle.loads(pickle.dumps(recorded(slope=1.001))))
    assert found.first == "Net/slope" and found.alone == [] and "Net/slope is the first" in str(found)
    explained = {row["where"]: row["explained"] for row in found.rows}
    assert list(explained) == ["Net/one", "Net/two", "Net/slope", "Net/three", "Net"]
    assert explained["Net/two"] and not explained["Net/three"] and "Net/three" not in str(found)


@pytest.mark.parametrize("model", ["worst_case", "probabilistic"])
def test_two_formats_differ_by_rounding(model):
    found = precjax.bisect(recorded(model), recorded(model, dtype=jnp.bfloat16))
    assert found.first is None and max(row["ratio"] for row in found.rows) > 1e-3, str(found)


def test_loops_lines_and_shapes():
    def f(x, step):
        x = jax.lax.fori_loop(0, 5, lambda i, c: jnp.sin(c) * step, x)
        return jnp.cos(x)

    runs = [precjax.record(f, by="primitive")(jnp.float32(1), step) for step in (0.9, 0.9, 0.91)]
    assert precjax.bisect(*runs[:2]).first is None and precjax.bisect(*runs[1:]).first in ("mul", "sin")
    longer = precjax.record(f, by="primitive")(jnp.ones(3), 0.9)
    assert precjax.bisect(runs[0], longer).rows[0]["ratio"] == np.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precjax.record(jnp.sin, by="file"), ValueError, "by='file'"),
        (lambda: precjax.bisect(X, X), TypeError, "two results of precjax.record"),
        (lambda: precjax.bisect(precjax.record(jnp.sin)(1.0), precjax.record(jnp.sin, by="line")(1.0)), ValueError, "by module and one by line"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()

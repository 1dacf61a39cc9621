"""Reports name the line where the bits go, whatever the program is made of."""

import gc
import json

import culprits
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import precjax


@pytest.mark.parametrize(("f", "args"), culprits.CULPRITS, ids=lambda x: getattr(x, "__name__", ""))
def test_the_culprit_comes_first(f, args):
    found = precjax.report(f)(*args)
    assert found.rows[0]["where"].startswith(culprits.line_of(f)), str(found)


@pytest.mark.parametrize(("f", "args"), culprits.CULPRITS[::5], ids=lambda x: getattr(x, "__name__", ""))
def test_the_culprit_comes_first_under_jit(f, args):
    found = precjax.report(lambda *args: jax.jit(f)(*args) * 1)(*args)
    assert found.rows[0]["where"].startswith(culprits.line_of(f)), str(found)


def test_mathematics_or_algorithm():
    """A cancellation is the mathematics' loss, a cast the algorithm's."""
    (cancelled,) = precjax.report(lambda x: (x + 1e4) - 1e4, by="line")(np.float32(0.1)).rows[:1]
    assert cancelled["mathematics"] > 0.9 * cancelled["bits_lost"] > 10 and cancelled["cancelled"] > 16
    (cast,) = precjax.report(lambda x: x.astype(jnp.bfloat16), by="primitive")(np.float32(0.1)).rows[:1]
    assert cast["algorithm"] > 0.9 * cast["bits_lost"] > 10 and cast["where"] == "convert_element_type"


class Block(nn.Module):
    """A residual block."""

    @nn.compact
    def __call__(self, x):
        return x + nn.Dense(8, name="out")(nn.LayerNorm()(x))


class Net(nn.Module):
    """Two of them, one call each."""

    @nn.compact
    def __call__(self, x):
        return Block(name="second")(Block(name="first")(x))


@pytest.mark.long
def test_modules_of_linen():
    net, x = Net(), culprits.ROWS
    variables = net.init(jax.random.key(0), x)
    gradient = jax.grad(lambda v: jnp.sum(net.apply(v, x) ** 2))
    wheres = {row["where"] for row in precjax.report(gradient, by="module")(variables).rows}
    assert {"Net/first/out", "Net/second/out", "Net/first/LayerNorm_0", "gradient of Net/first/out"} <= wheres


class NnxBlock(nnx.Module):
    """A residual block."""

    def __init__(self, rngs):
        self.out, self.norm = nnx.Linear(8, 8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)

    def __call__(self, x):
        return x + self.out(self.norm(x))


class NnxNet(nnx.Module):
    """Two of them."""

    def __init__(self, rngs):
        self.first, self.second = NnxBlock(rngs), NnxBlock(rngs)

    def __call__(self, x):
        return self.second(self.first(x))


def test_modules_of_nnx():
    net, call = NnxNet(nnx.Rngs(0)), NnxNet.__call__
    wheres = {row["where"] for row in precjax.report(lambda m, x: m(x), by="module")(net, culprits.ROWS).rows}
    assert {"NnxNet/first/out", "NnxNet/second/out", "NnxNet/first/norm", "NnxNet/second"} <= wheres
    assert NnxNet.__call__ is call
    graph, state = nnx.split(net)
    found = precjax.blame(lambda s: jnp.sum(nnx.merge(graph, s)(culprits.ROWS)), by="module")(state)
    assert {"NnxNet/first/out", "NnxNet/second/norm"} <= {row["where"] for row in found.rows}


def test_scopes_that_share_a_jitted_block():
    block = jax.jit(lambda x: jnp.tanh(x) * 2)

    def f(x):
        with jax.named_scope("one"):
            x = block(x)
        with jax.named_scope("two"):
            return block(x)

    assert {row["where"] for row in precjax.report(f, by="module")(1.0).rows} == {"one", "two"}


def test_executions_and_branches():
    def f(x):
        x = lax.fori_loop(0, 7, lambda i, x: jnp.sin(x), x)
        return lax.cond(x > 10, lambda x: jnp.exp(x), lambda x: jnp.cos(x), x)

    rows = {row["where"]: row for row in precjax.report(f, by="primitive")(np.float32(1)).rows}
    assert rows["sin"]["executions"] == 7 and rows["cos"]["executions"] == 1 and "exp" not in rows


def test_undecided_decisions_and_margins():
    x = precjax.Tracked(np.float32([1.0, 2.0]), np.float32([0.1, 0.1]))
    rows = {row["where"]: row for row in precjax.report(lambda x: jnp.where(x > 1.05, x, x * 1e30), by="primitive")(x).rows}
    assert rows["gt"]["undecided"] == 0.5
    assert rows["mul"]["overflow_margin"] == pytest.approx(128 - np.log2(2e30), abs=0.01)


def test_rows_are_records():
    found = precjax.report(lambda x: jnp.sin(x) * 3)(np.float32(1))
    assert json.loads(found.to_json())[0].keys() == found.rows[0].keys()
    assert found.to_csv().splitlines()[0].startswith("where,primitives,bits_in,bits_out,bits_lost")
    assert str(found).splitlines()[0].startswith("where") and len(found.plot().axes) == 1
    page = found.to_html()
    assert page.count("<tr>") == len(found.rows) + 1 and "<script" not in page and found._repr_html_() == page


def test_a_page_escapes_names():
    def f(x):
        with jax.named_scope("<b>"):
            return jnp.sin(x)

    assert "<b>" not in precjax.report(f, by="module")(1.0).to_html()


def test_calls_leave_nothing_behind():
    """Thousands of hooked calls: no new trace, no growth."""
    traced = []

    def f(x):
        traced.append(1)
        return lax.fori_loop(0, 3, lambda i, c: jnp.sin(c), x)

    class Count(precjax.Hook):
        seen = 0

        def trace(self, equation):
            return equation.results[0].error

        def observe(self, site, data):
            self.seen += 1

    hook = Count()
    tracked = precjax.track(f, hooks=[hook])
    for _ in range(100):
        tracked(1.0)
    jax.effects_barrier()
    gc.collect()
    before, traces = len(gc.get_objects()), len(traced)
    for _ in range(2000):
        tracked(1.0)
    jax.effects_barrier()
    gc.collect()
    assert len(traced) == traces and hook.seen % 2100 == 0 and hook.seen >= 2100
    assert len(gc.get_objects()) - before < 200


def test_hooks_under_transformations():
    seen = []

    class Errors(precjax.Hook):
        def trace(self, equation):
            return equation.results[0].error if equation.site.primitive == "sin" else None

        def observe(self, site, data):
            seen.append(float(data))

    tracked = precjax.track(jnp.sin, hooks=[Errors()])
    jax.block_until_ready([jax.jit(tracked)(1.0), jax.vmap(tracked)(jnp.ones(3)), jax.grad(lambda x: tracked(x).value)(1.0)])
    jax.effects_barrier()
    assert len(seen) == 5 and set(seen) == {float(precjax.track(jnp.sin)(1.0).error)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precjax.report(jnp.sin, by="file"), ValueError, "by='file'.*'line'"),
        (lambda: precjax.report(3), TypeError, "must be a function"),
        (lambda: precjax.report(jnp.sin, model="shadow"), ValueError, "hooks with model='shadow'"),
        (lambda: precjax.track(jnp.sin, hooks=[jnp.sin]), TypeError, "instances of precjax.Hook"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()

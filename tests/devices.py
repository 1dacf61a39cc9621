"""What `test_devices.py` runs on 8 virtual CPU devices, in one process of its own: each check prints a line.

The number of devices must be set before JAX starts. Programs are small: compiling them for 8 devices takes the time.
"""

import collections
import functools
import json
import os
import re
import sys
import time
import traceback

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import flint
import jax
import jax.numpy as jnp
import numpy as np
import zoo
from flint import arb
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import precjax
from precjax._interpreter import _TRANSFORMED
from precjax._registry import _RULES
from precjax.models import probabilistic
from precjax.rules import collective
from precjax.testing import assert_encloses, check_rule, exact

MESH = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
EXPLICIT = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)
BY_BLOCKS = P("x", "y")
CHECKS = {}


def check(f):
    CHECKS[f.__name__] = f
    return f


def numbers(seed, *shape, dtype="float32"):
    """Of mixed sizes, so that sums cancel and the largest number is in doubt."""
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.standard_normal(shape) * draw.choice([1, 1, 1e-3, 0], shape), dtype)


def ball(x, relative=1e-3):
    return precjax.Tracked(x, jnp.abs(x).astype(jnp.float32) * np.float32(relative) + np.float32(1e-4))


def mapped(f, checked, out_specs, in_specs=BY_BLOCKS):
    return jax.shard_map(f, mesh=MESH, in_specs=in_specs, out_specs=out_specs, check_vma=checked)


def judged(f, *args, model="worst_case"):
    return check_rule(f, *args, model=model, modes=("plain",), points=2)


def everything(a, b):
    """Every collective, on operands that are rounded."""
    whole = lax.all_gather(a / 3, "x", tiled=True)
    moved = lax.ppermute(a * 3, "x", [(0, 1), (1, 2), (2, 3)])
    return (
        lax.psum(a * 3 + b, "x"),
        lax.psum(jnp.abs(a) * 3, ("x", "y")),
        lax.pmax(a / 3, ("x", "y")),
        lax.pmin(a / 3, "y"),
        lax.pmean(a, "x") * (1 + lax.axis_index("x")),
        whole,
        lax.psum_scatter(whole, "x", tiled=True),
        lax.psum_scatter(whole.reshape(4, -1, 2), "x"),
        moved,
        lax.all_to_all(whole, "x", 0, 1, tiled=True),
    )


OUT = (
    P(None, "y"), P(), P(), P("x"), P("x", "y"), P("x", "y"), P("x", "y"), P("x", "y"), P("x", "y"), P("x", "y"),
)  # fmt: skip
IN = (P("x", "y"), P(None, "y"))


def collectives(checked, dtype="float32", model="worst_case", inexact=True):
    a, b = numbers(0, 8, 4, dtype=dtype), numbers(1, 2, 4, dtype=dtype)
    f = mapped(everything, checked, OUT, IN)
    return judged(f, *((ball(a), ball(b)) if inexact else (a, b)), model=model)


@check
def collectives_are_judged():
    tightness = np.median(collectives(True).tightness)
    assert tightness < 1.5, tightness


def collectives_in_other_formats():
    """In the long run only."""
    collectives(False, "bfloat16", inexact=False)
    with jax.enable_x64(True):
        collectives(False, "float64")


@check
def collectives_of_other_models():
    def few(x):
        return lax.psum(x / 3, "x"), lax.psum_scatter(lax.all_gather(x, "x", tiled=True) * 3, "x", tiled=True), x + 3

    x, out = numbers(0, 8, 4), (P(None, "y"), P("x", "y"), P("x", "y"))
    truth = exact(mapped(few, True, out), x)
    for model, most in (("probabilistic", 8), ("certified", 1.1)):
        tightness = assert_encloses(precjax.track(mapped(few, True, out), model=model)(x), truth)
        assert np.median(tightness) < most, (model, np.median(tightness))
    truth = [np.asarray(leaf, np.float64) for leaf in truth]
    for checked in (True, False):
        shadow, sampled = (precjax.track(mapped(few, checked, out), model=m)(x) for m in ("shadow", "stochastic"))
        for v, e, s, t in zip(*(map(np.asarray, leaves) for leaves in (*shadow, sampled.error, truth)), strict=True):
            np.testing.assert_allclose(v.astype(np.float64) - e, t, rtol=1e-12, atol=1e-15)
            observed = np.sqrt(np.mean(np.square(e.astype(np.float64))))
            assert 0.3 * observed <= np.sqrt(np.mean(np.square(s))) <= 3 * observed


@check
def collectives_of_float64():
    """References in pairs: sums that cancel to 2**-60, extremes that the low parts decide."""

    def program(a, b):
        whole = lax.all_gather(a / 3, "x", tiled=True)
        ties = 1 + (a + b) * 2.0**-60
        return (
            lax.psum(a / 3 + b, "x"), lax.psum(a / 7, ("x", "y")), lax.pmean(a / 3, "y"),
            lax.pmax(ties - 1, "x"), lax.pmin(ties - 1, ("x", "y")), lax.pmax(ties, "x") - 1,
            lax.pmax(a / 3, "x"),
            lax.psum_scatter(whole / 7, "x", tiled=True), lax.psum_scatter(a / 3, "y", scatter_dimension=1),
        )  # fmt: skip

    out = (P(None, "y"), P(), P("x"), P(None, "y"), P(), *[P(None, "y")] * 2, P("x", "y"), P(("x", "y")))
    with jax.enable_x64(True), flint.ctx.workprec(2000):
        a, b = numbers(12, 8, 4, dtype="float64"), numbers(13, 2, 4, dtype="float64")
        a = a.at[4:].set(-a[:4] * (1 + 2.0**-50))  # what devices add nearly cancels
        truth = jax.tree.leaves(exact(mapped(program, True, out, IN), a, b))
        certified = precjax.track(mapped(program, True, out, IN), model="certified")(a, b)
        tightness = [assert_encloses(pair, t) for *pair, t in zip(*certified, truth, strict=True)]
        # JAX 0.10 takes 1 from ties before it adds it, and errs less than a pair.
        assert np.median(np.concatenate(tightness)) < 1.1, tightness
        shadow = precjax.track(mapped(program, False, out, IN), model="shadow")(a, b)
        for leaves in zip(*shadow, truth, strict=True):
            for v, e, t in zip(*(np.ravel(leaf) for leaf in leaves), strict=True):
                assert abs(arb(float(v)) - arb(float(e)) - arb(t)) <= abs(arb(float(e))) / 2**20 + arb(2) ** -100


@check
def loops_and_branches_across_devices():
    """The branch is in doubt on one device alone; all must take it, or their sums would wait for each other."""

    def body(x):
        x = lax.cond(x[0, 0] > 0, lambda v: lax.psum(v * 2, "x"), lambda v: lax.psum(v / 3, "x"), x)
        state, sums = lax.scan(lambda c, _: (lax.psum(c, "x") / 5, c.sum()), x, None, length=2)
        return state, sums[None]

    x = jnp.ones((4, 2)).at[2].set(1e-4)
    f = mapped(body, False, (P("x", "y"), P(("x", "y"))))
    tracked = precjax.track(f)(precjax.Tracked(x, jnp.full_like(x, 1e-3)))
    assert np.isfinite(tracked.error[0]).all()
    for move in (0.0, 9e-4, -9e-5):
        at = np.asarray(x, object) + move
        assert_encloses(tracked, exact(f, x, at=[at]))


@check
def copies_that_differ():
    """Devices add in different orders, so copies differ: any of them may be the result, with any of the errors."""

    def ring(x):
        total = x
        for _ in range(3):
            x = lax.ppermute(x, "x", [(i, (i + 1) % 4) for i in range(4)])
            total = total + x
        return total

    x = jnp.asarray([[1e8], [1.0], [-1e8], [3.0]], jnp.float32)
    tracked = precjax.track(mapped(ring, False, P(), P("x")))(x)
    values, errors = ([np.asarray(s.data).item() for s in part.addressable_shards] for part in tracked)
    assert len(set(values)) > 1 and len(set(errors)) == 1, (values, errors)
    assert all(abs(v - 4) <= errors[0] for v in values)


@check
def named_axes_of_vmap():
    def f(x):
        return lax.psum(x / 3, "i"), lax.pmax(x / 3, "i"), lax.all_gather(x / 3, "i"), lax.pmean(x, "i")

    x = ball(numbers(3, 4, 3))
    judged(jax.vmap(f, axis_name="i"), x)
    inside = jax.vmap(precjax.track(f), axis_name="i")(x)
    for ours, theirs in zip(inside.error, precjax.track(jax.vmap(f, axis_name="i"))(x).error, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@check
def placements_are_judged():
    """What only places arrays, or casts their types, places their errors: constraints, resharding, pcast."""

    def constrained(x):
        y = lax.with_sharding_constraint(x / 3, NamedSharding(MESH, P("y")))
        return with_layout_constraint(y * 3, Layout((1, 0)))

    def cast(a, w):
        return a * lax.pcast(w / 3, ("x", "y"), to="varying"), lax.pcast(w * 3, "y", to="varying")

    x, w = ball(numbers(14, 8, 4)), ball(numbers(15, 2, 2))
    judged(jax.jit(constrained), x)
    judged(mapped(cast, True, (BY_BLOCKS, P(None, "y")), (BY_BLOCKS, P())), x, w)
    with jax.set_mesh(EXPLICIT):
        placed = jax.tree.map(lambda leaf: jax.device_put(leaf, BY_BLOCKS), x)
        judged(lambda x: jax.sharding.reshard(jax.sharding.reshard(x / 3, P(None, "y")) * 3, P("y")), placed)
    # No CPU runs this one; its error goes where its value goes.
    sent = mapped(lambda a: lax.pbroadcast(a / 3, "x", 2), False, BY_BLOCKS)
    assert str(jax.make_jaxpr(precjax.track(sent))(x)).count("pbroadcast[") == 2


@check
def pmap_is_tracked():
    judged(jax.pmap(lambda x: lax.psum(x / 3, "i") * x, axis_name="i"), ball(numbers(4, 8, 3)))


@check
def some_axes_manual_and_nested_maps():
    x = ball(numbers(5, 4, 4))
    with jax.set_mesh(MESH):
        inner = jax.shard_map(lambda v: lax.psum(v * 3, "y"), in_specs=P(None, "y"), out_specs=P(), axis_names={"y"})
        nested = jax.shard_map(lambda v: inner(v / 3), in_specs=P("x"), out_specs=P("x"), axis_names={"x"})
        result = precjax.track(jax.jit(nested))(x)
    assert_encloses(result, exact(lambda v: v[:, :2] / 3 * 3 + v[:, 2:] / 3 * 3, x.value))


@check
def gradients_of_maps():
    """By both kinds of transposition; and the gradient of the tracked value is that of the value."""
    w, x = numbers(6, 3, 2) + 1, numbers(7, 8, 3)
    for checked in (True, False):
        f = mapped(lambda w, x: lax.pmean(jnp.sum(x @ w * x[:, :2]), "x"), checked, P(), (P(), P("x")))
        judged(jax.grad(f), ball(w), ball(x))
    f = mapped(lambda w, x: lax.pmean(jnp.tanh(x @ w).sum(), "x"), True, P(), (P(), P("x")))
    ours = jax.grad(lambda w: precjax.track(f)(w, x).value)(w)
    np.testing.assert_allclose(ours, jax.grad(f)(w, x), rtol=1e-5, atol=1e-6)


@check
def explicit_meshes():
    """Errors have the shardings of their values, in loops and products too."""

    def f(w, x):
        h = jax.nn.softmax(jnp.tanh(x @ w) / (1 + w.sum() ** 2), -1)
        h, sums = lax.scan(lambda c, _: (c * 0.9 + jnp.where(c > 0.5, c, 0.0), c.sum()), h, None, length=2)
        return h, sums, jnp.einsum("ij,jk->ik", h.T, x, out_sharding=P()), jax.sharding.reshard(h / 3, P(None, "y"))

    w, x = numbers(8, 3, 2), numbers(9, 8, 3)
    with jax.set_mesh(EXPLICIT):
        placed = jax.device_put(w, P()), jax.device_put(x, P("x"))
        tracked = precjax.track(f)(*placed)
        for value, error in zip(*tracked, strict=True):
            assert error.sharding == value.sharding, (error.sharding, value.sharding)
    assert np.isfinite(tracked.error[0]).all()


@check
def sums_left_for_later():
    """A product's bound is that of the sum, whenever it is taken; what rounds parts of unknown sizes is refused."""
    left = lambda a, b: jnp.einsum("ij,jk->ik", a, b, out_sharding=P(unreduced={"x"}))  # noqa: E731
    whole = lambda x: jax.sharding.reshard(x, P())  # noqa: E731
    loss = lambda w, x: jnp.sum(jnp.square(jnp.einsum("ij,jk->ik", x, w)))  # noqa: E731
    later = lambda a, b: whole(jax.jit(left)(a / 3, b).T)  # noqa: E731
    at_once = lambda a, b: jnp.einsum("ij,jk->ki", a / 3, b, out_sharding=P())  # noqa: E731
    with jax.set_mesh(EXPLICIT):
        a, x = jax.device_put(numbers(16, 4, 8), P(None, "x")), jax.device_put(numbers(17, 8, 3), P("x"))
        w = jax.device_put(numbers(18, 3, 2), P(reduced={"x"}))
        judged(later, a, x)
        judged(later, *(jax.tree.map(jax.device_put, ball(v), precjax.Tracked(v.sharding, v.sharding)) for v in (a, x)))
        judged(lambda w, x: whole(jax.grad(loss)(w, x)), w, x)
        for model in ("worst_case", "probabilistic"):
            ours, theirs = (precjax.track(f, model=model)(a, x).error for f in (later, at_once))
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        parts = precjax.track(left)(a, x)
        assert parts.value.sharding.spec.unreduced and not parts.error.sharding.spec.unreduced
        plain, both = (communications(jax.jit(f).lower(a, x).compile()) for f in (later, precjax.track(later)))
        assert both["all-reduce"] <= 2 * plain["all-reduce"], (plain, both)
        narrow = jnp.bfloat16
        for f, arguments in {
            lambda a, x: left(a, x) + left(a, x): (a, x),
            lambda a, x: left(a.astype(narrow), x.astype(narrow)): (a, x),
            whole: (parts.value,),
        }.items():
            try:
                precjax.track(f)(*arguments)
            except precjax.MissingRuleError as error:
                assert "unreduced" in str(error)
            else:
                raise AssertionError("parts of unknown sizes were not refused")
            assert np.isinf(precjax.track(f, missing="inf")(*arguments).error).all()


@check
def shardings_and_donation():
    """An inner jit keeps its shardings, for errors too; a donated state is donated with its errors."""
    by_rows, by_columns = NamedSharding(MESH, P("x")), NamedSharding(MESH, P(None, "x"))
    x = numbers(10, 4, 4)
    inner = jax.jit(lambda v: v / 3, in_shardings=by_rows, out_shardings=by_columns)
    tracked = precjax.track(inner)(x)
    assert tracked.error.sharding.spec == tracked.value.sharding.spec == P(None, "x")
    step = jax.jit(precjax.track(lambda v: v * 0.9), donate_argnums=0)
    state = jax.device_put(ball(x), by_rows)
    after = step(state)
    assert state.value.is_deleted() and state.error.is_deleted()
    assert after.error.sharding.spec == P("x")


def descent(loss):
    """A step of plain gradient descent."""

    def step(parameters, inputs):
        gradients = jax.grad(loss)(parameters, inputs)
        return jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradients)

    return step


def transformer():
    """(step, parameters, inputs)."""
    network = zoo.flax_network("", zoo.Transformer(1), zoo.normal(1, 8, 4, 16))
    return descent(network.loss), network.parameters, network.inputs


def perceptron():
    """(step, parameters, inputs)."""
    loss = lambda p, x: jnp.mean((jax.nn.gelu(x @ p["in"]) @ p["out"]) ** 2)  # noqa: E731
    return descent(loss), {"in": zoo.normal(2, 16, 8), "out": zoo.normal(3, 8, 16)}, zoo.normal(1, 8, 16)


def tensor_parallel(path, leaf):
    """Features of the hidden layer of the perceptron and heads of attention, along y."""
    names = [str(getattr(key, "key", key)) for key in path]
    if "Dense_1" in names:  # the layer into the perceptron: made before the one out of it, named after it
        return P(*[None] * (leaf.ndim - 1), "y")
    if {"query", "key", "value"} & set(names):
        return P(*[None] * (leaf.ndim - 2), "y", None)
    return P("y") if names[-1] == "kernel" and "Block_0" in names else P()


def communications(compiled):
    """How often each collective stands in a compiled program."""
    kinds = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    return collections.Counter(re.findall(rf"[\])}}] ({kinds})(?:-start)?\(", compiled.as_text()))


def trained(training, layout):
    """Bounds of one device, to rounding; collectives at most doubled. Returns how many there are, plain and tracked."""
    step, parameters, inputs = training
    tracked = precjax.track(step)
    place = functools.partial(NamedSharding, MESH)
    shardings = jax.tree_util.tree_map_with_path(lambda path, leaf: place(layout(path, leaf)), parameters)
    arguments = jax.device_put(parameters, shardings), jax.device_put(inputs, place(P("x")))
    plain = jax.jit(step, out_shardings=shardings).lower(*arguments).compile()
    both = jax.jit(tracked, out_shardings=precjax.Tracked(shardings, shardings)).lower(*arguments).compile()
    for ours, theirs in zip(*(jax.tree.leaves(t.error) for t in (both(*arguments), tracked(parameters, inputs))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    counts = [communications(program) for program in (plain, both)]
    return [[dict(count) for count in counts], [counts[1][kind] <= 2 * counts[0][kind] for kind in counts[1]]]


@check
def tensor_parallel_perceptron():
    """The hidden layer along y."""
    counts, doubled = trained(perceptron(), lambda path, leaf: P(None, "y") if path[0].key == "in" else P("y"))
    assert all(doubled) and counts[1], counts
    return counts


def tensor_parallel_training():
    """In the long run only: compiling takes 20 seconds."""
    counts, doubled = trained(transformer(), tensor_parallel)
    assert all(doubled) and counts[1], counts
    return counts


def data_parallel_training():
    """In the long run only: compiling takes 15 seconds."""
    step, parameters, inputs = transformer()
    with jax.set_mesh(EXPLICIT):  # types alone: every rule that the step needs
        placed = jax.device_put(parameters, P()), jax.device_put(inputs, P("x"))
        jax.eval_shape(precjax.track(step), *placed)
    counts, doubled = trained(transformer(), lambda path, leaf: P())
    assert all(doubled), counts
    return counts


def wrong_unit(*parts, names=()):
    """Each device's own, though the squares are added over devices."""
    return OWN_SQUARES(*parts)


OWN_SQUARES = probabilistic._squares
RIGHT_SUM = collective.summed


def forgotten(model, x, terms, *rest, **options):
    """No device rounds."""
    return RIGHT_SUM(model, x, 1, *rest, **options)


def own(model, operands, outs, **params):
    """A device moves its own error about: that of what it receives is another's."""
    return [jnp.broadcast_to(jnp.max(operands[0].error), outs[0].shape)]


FAULTS = {
    "no rounding of a sum over devices": (collective, "summed", forgotten, {"inexact": False}),
    "the error that a device had": ("ppermute", None, own, {}),
    "own error only in a sum": ("psum", None, lambda model, operands, outs, **params: [operands[0].error * 0.9], {}),
    "every unit another": (probabilistic, "_squares", wrong_unit, {"model": "probabilistic"}),
}


def uneven(model="worst_case", inexact=True):
    """Errors of very different sizes on different devices."""

    def f(x):
        return lax.psum(x, "x"), lax.ppermute(x, "x", [(i, (i + 1) % 4) for i in range(4)])

    x = numbers(11, 4, 2) + 0.7
    errors = jnp.asarray([[1e-1], [1e-7], [1e-3], [1e-5]], jnp.float32) * jnp.ones((1, 2))
    return judged(mapped(f, False, (P("x"), P("x"))), precjax.Tracked(x, errors) if inexact else x, model=model)


@check
def faults_are_seen():
    for name, (place, attribute, fault, options) in FAULTS.items():
        _TRANSFORMED.clear()
        uneven(**options)
        table = _RULES if attribute is None else vars(place)
        key = place if attribute is None else attribute
        right, table_of = table[key], (table if attribute is None else None)
        try:
            _TRANSFORMED.clear()
            if table_of is not None:
                table_of[key] = fault
            else:
                setattr(place, key, fault)
            try:
                uneven(**options)
            except AssertionError as error:
                assert "times the error" in str(error), name
            else:
                raise AssertionError(f"nobody saw: {name}")
        finally:
            if table_of is not None:
                table_of[key] = right
            else:
                setattr(place, key, right)
            _TRANSFORMED.clear()


def main(names):
    for name in names or CHECKS:
        start = time.process_time()
        try:
            outcome = {"passed": True, "report": globals()[name]()}
        except Exception:
            outcome = {"passed": False, "report": traceback.format_exc()[-3000:]}
        print(json.dumps({"check": name, "seconds": time.process_time() - start, **outcome}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

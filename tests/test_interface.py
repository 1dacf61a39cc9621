"""How track is called: trees, static arguments, bad input, missing rules, printing."""

import copy
import inspect
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import precjax
from precjax import MissingRuleError, Tracked, missing_rules, rounded, track
from precjax._registry import _RULES

X = np.float32([1.0, -2.0, 0.3])
BALL = Tracked(X, np.float32([1e-3, 0, 1e-6]))


# ------------------------------------------------------------------------------------------------------------ arguments


def combine(tree, *more, scale=1.0, **named):
    leaves = jax.tree.leaves((tree, more, named))
    return {"sum": sum(jnp.sum(jnp.asarray(x) * scale) for x in leaves), "none": None, "all": leaves}


ARGUMENTS = {
    "an array": lambda: track(combine)(X),
    "a ball": lambda: track(combine)(BALL),
    "a ball in a tree": lambda: track(combine)({"a": BALL, "b": [X, ()]}),
    "a tree in a ball": lambda: track(combine)(Tracked({"a": X, "b": (X, X)}, {"a": BALL.error, "b": (BALL.error, X * 0)})),
    "a number as error": lambda: track(combine)(Tracked(X, 1e-3)),
    "keywords": lambda: track(combine)(X, other=BALL, scale=2.0),
    "a tracked keyword": lambda: track(combine)(X, scale=Tracked(2.0, 1e-3)),
    "Python scalars": lambda: track(combine)(1, 2.5, True, other=3),
    "more arguments": lambda: track(combine)(X, BALL, [X, BALL]),
    "empty trees": lambda: track(combine)({}, (), X, other=[]),
    "None": lambda: track(combine)(None, X),
    "integers and bools": lambda: track(combine)(np.arange(3), np.array([True, False])),
    "a float16 ball": lambda: track(combine)(Tracked(X.astype(np.float16), X * 0 + 1e-3)),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name):
    value, error = ARGUMENTS[name]()
    assert jax.tree.structure(value) == jax.tree.structure(error)
    assert value["none"] is None
    for v, e in zip(jax.tree.leaves(value), jax.tree.leaves(error), strict=True):
        assert v.shape == e.shape and e.dtype == (np.float64 if v.dtype == np.float64 else np.float32)
        assert np.isfinite(e).all() and (e >= 0).all()


def test_exact_inputs_of_exact_operations_have_no_error():
    value, error = track(lambda x, i: (x[::-1], -x, i + 1, x * 2, jnp.maximum(x, 0)))(X, np.arange(3))
    assert all(not np.any(e) for e in jax.tree.leaves(error))


def test_static_arguments():
    def power(x, n, *, kind):
        return x**n if kind == "power" else x * n

    assert track(power, static_argnums=1, static_argnames="kind")(X, 3, kind="power").value.shape == (3,)
    assert track(power, static_argnums=(1,), static_argnames=("kind",))(BALL, 2, kind="other").error[0] >= 2e-3
    with pytest.raises(TypeError):
        track(power)(X, 3, kind="power")


def test_methods_and_partial_functions():
    class Model:
        def __init__(self, w):
            self.w = w

        def __call__(self, x):
            return self.w * x

    assert track(Model(3.0))(BALL).error[0] >= 3e-3
    assert track(jax.tree_util.Partial(jnp.multiply, 3.0))(BALL).error[0] >= 3e-3


def test_signature_is_kept():
    def f(x, *, y=1):
        """Documentation."""
        return x * y

    assert track(f).__doc__ == "Documentation." and inspect.signature(track(f)) == inspect.signature(f)


# ------------------------------------------------------------------------------------------------------------ bad input

BAD = {
    "not a function": (lambda: track(3), TypeError, "function"),
    "unknown model": (lambda: track(jnp.sin, model="best"), ValueError, "worst_case"),
    "no model": (lambda: track(jnp.sin, model=3), TypeError, "WorstCase"),
    "unknown missing": (lambda: track(jnp.sin, missing="ignore"), ValueError, "raise"),
    "unknown contraction": (lambda: precjax.WorstCase(contraction="x"), ValueError, "normwise"),
    "negative error": (lambda: track(jnp.sin)(Tracked(X, -X)), ValueError, "non-negative"),
    "NaN error": (lambda: track(jnp.sin)(Tracked(X, X * np.nan)), ValueError, "NaN"),
    "wrong shape": (lambda: track(jnp.sin)(Tracked(X, X[:2])), ValueError, "shape"),
    "wrong tree": (lambda: track(jnp.sin)(Tracked({"a": X}, {"b": X})), ValueError, "structure"),
    "named argument": (lambda: track(combine)(X, y=Tracked(X, -X)), ValueError, "'y'"),
    "no array": (lambda: track(jnp.sin)("text"), TypeError, "text|str"),
    "no primitive": (lambda: precjax.defrule(3), TypeError, "Primitive"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


WITH_BOUNDS = {
    "worst case": precjax.WorstCase(),
    "normwise": precjax.WorstCase(contraction="normwise"),
    "by row": precjax.WorstCase(granularity="row"),
    "probabilistic": precjax.Probabilistic(),
    "probes": precjax.Probabilistic(probes=2),
    "certified": precjax.Certified(),
}


@pytest.mark.parametrize("name", WITH_BOUNDS)
def test_nan_has_no_right_digit(name):
    """Even if the program says so, or the argument."""
    def f(x):
        return jnp.where(x > 1, np.nan, x), x, jnp.isnan(x), jnp.nan_to_num(x, nan=7)

    chosen, same, asked, replaced = track(f, model=WITH_BOUNDS[name])(np.float32([0.5, 2, np.nan])).error
    assert chosen.tolist() == [0, np.inf, np.inf] and same.tolist() == [0, 0, np.inf]
    assert not asked.any() and not replaced.any()


def test_errors_that_only_tracing_sees_become_infinite():
    value, error = jax.jit(lambda e: track(jnp.exp)(Tracked(X, e)))(np.float32([-1, np.nan, 1e-3]))
    assert np.isinf(error[0]) and np.isinf(error[1]) and np.isfinite(error[2])


# -------------------------------------------------------------------------------------------------------- missing rules


def primitive(name):
    p = Primitive(name)
    p.def_abstract_eval(lambda x: x)
    p.def_impl(lambda x: x * 3)
    mlir.register_lowering(p, mlir.lower_fun(lambda x: x * 3, multiple_results=False))
    return p


TRIPLE = primitive("precjax_test_triple")
UNKNOWN = primitive("precjax_test_unknown")


def uses_unknown(x):
    return jnp.sin(UNKNOWN.bind(x))


def test_unknown_primitives_are_refused():
    with pytest.raises(MissingRuleError) as refusal:
        track(uses_unknown)(X)
    line = inspect.getsourcelines(uses_unknown)[1] + 1
    for part in ("precjax_test_unknown", f"test_interface.py:{line}", "defrule", "missing='inf'", "missing_rules"):
        assert part in str(refusal.value)
    assert isinstance(refusal.value, NotImplementedError)


def calls_library(x):
    return jax.scipy.linalg.schur(x)[0]


def test_refusals_in_a_library_name_the_call():
    line = f"test_interface.py:{inspect.getsourcelines(calls_library)[1] + 1}"
    square = np.eye(2, dtype=np.float32)
    with pytest.raises(MissingRuleError, match=line):
        track(calls_library)(square)
    assert line in missing_rules(calls_library)(square)[0]


def test_unknown_primitives_may_be_unbounded():
    value, error = track(lambda x: (2 * UNKNOWN.bind(x), 2 * x), missing="inf")(X)
    assert np.isinf(error[0]).all() and np.isfinite(error[1]).all()


def test_missing_rules_lists_them_at_any_depth():
    def f(x):
        return jax.lax.scan(lambda c, r: (jax.jit(uses_unknown)(c), r), x, jnp.ones(2))[0]

    (line,) = missing_rules(f)(BALL)
    assert "precjax_test_unknown" in line and "test_interface.py" in line
    assert missing_rules(jnp.tanh)(X) == []


def test_defrule():
    try:

        @precjax.defrule(TRIPLE)
        def triple(values, errors, outs, **params):
            return None if errors[0] is None else errors[0] * 3.000001 + abs(outs[0]) * 2**-24

        value, error = track(lambda x: TRIPLE.bind(x))(BALL)
        np.testing.assert_allclose(error, 3 * BALL.error + np.abs(value) * 2.0**-24, rtol=1e-3)
        assert not np.any(track(lambda x: TRIPLE.bind(x))(X).error)
        assert jax.jit(track(lambda x: jnp.sin(TRIPLE.bind(x))))(BALL).error.shape == (3,)
    finally:
        _RULES.pop(TRIPLE.name, None)


def split(x):
    """Bits of a float, read as an integer."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32) & -65536
    return x - jax.lax.bitcast_convert_type(bits, jnp.float32)


def test_frozen_bits_and_strict():
    assert np.isfinite(track(split)(BALL).error).all()
    assert np.isinf(track(split, strict=True)(BALL).error[0])
    assert np.isfinite(track(split, strict=True)(X).error).all()


# ------------------------------------------------------------------------------------------------------- Tracked itself


def test_tracked_is_a_plain_pair_of_trees():
    tracked = track(combine)(BALL)
    for twin in (copy.deepcopy(tracked), pickle.loads(pickle.dumps(tracked)), jax.tree.map(lambda x: x, tracked)):
        assert isinstance(twin, Tracked) and jax.tree.structure(twin) == jax.tree.structure(tracked)
        for a, b in zip(jax.tree.leaves(twin), jax.tree.leaves(tracked), strict=True):
            np.testing.assert_array_equal(a, b)
    value, error = tracked
    assert value is tracked.value and error is tracked.error
    assert len(jax.tree.leaves(tracked)) == 2 * len(jax.tree.leaves(value))


BITS = [
    (1.0, 0.0, 24),
    (1.0, 2.0**-10, 10),
    (0.0, 0.0, 24),
    (0.0, 1e-9, 0),
    (1.0, 5.0, 0),
    (1.0, np.inf, 0),
    (np.nan, np.inf, 0),
    (8.0, 2.0**-30, 24),
]


@pytest.mark.parametrize(("value", "error", "bits"), BITS)
def test_exact_bits(value, error, bits):
    tracked = Tracked(np.float32(value), np.float32(error))
    np.testing.assert_allclose(tracked.exact_bits, bits, rtol=1e-5)
    np.testing.assert_allclose(tracked.exact_digits, bits * np.log10(2), rtol=1e-5)


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("bfloat16", 8), ("float32", 24), ("int8", 8), ("bool", 1)])
def test_bits_of_formats(dtype, bits):
    assert Tracked(jnp.ones(2, dtype), np.zeros(2, np.float32)).exact_bits.tolist() == [bits, bits]


def test_rounded():
    random = np.random.default_rng(0)
    wide = np.concatenate([random.normal(size=200) * np.exp(random.normal(0, 20, 200)), [0.0, 1.0, 2.0, 1e-40, 3e38]])
    for dtype in (np.float32, jnp.bfloat16, np.float16):
        kept = np.abs(wide) < float(jnp.finfo(dtype).max)
        value, error = rounded(wide[kept].astype(dtype))
        assert np.all(np.abs(wide[kept] - np.asarray(value, np.float64)) <= np.asarray(error, np.float64))
        normal = np.abs(wide[kept]) > float(jnp.finfo(dtype).smallest_normal / jnp.finfo(dtype).eps)
        assert np.all(np.asarray(error)[normal] <= float(jnp.finfo(dtype).eps) / 2 * np.abs(wide[kept])[normal] * 1.01)
    tree = rounded({"w": X, "n": np.arange(3)})
    assert not np.any(tree.error["n"]) and np.all(np.asarray(tree.error["w"]) > 0)


PRINTED = [
    (3.1415927, 1e-5, ("3.1416?", "3.14159?", "3.1416???", "3.1416??")),
    (3.1415927, 0.0, ("3.1415927", "3.14159274", "3.141593")),
    (1.0, np.inf, ("?",)),
    (2.0, 100.0, ("?",)),
]


@pytest.mark.parametrize(("value", "error", "texts"), PRINTED)
def test_printing(value, error, texts):
    shown = repr(Tracked(np.float32(value), np.float32(error)))
    assert shown.startswith("Tracked(") and any(text in shown for text in texts)


def test_printing_of_arrays_and_trees():
    shown = str(track(combine)(BALL))
    assert "?" in shown and "'sum'" in shown and "None" in shown
    assert "?" not in str(Tracked(np.arange(3), np.zeros(3)))
    assert "?" in str(Tracked(np.arange(3), np.ones(3))) and "?" in str(Tracked(np.bool_(True), np.float32(1)))
    assert "shape (50, 50)" in str(Tracked(np.ones((50, 50)), np.zeros((50, 50))))


def test_printing_while_tracing():
    def f(x):
        assert "value=" in repr(Tracked(x, x))  # tracers have no digits
        return x

    jax.eval_shape(f, X)


@pytest.mark.parametrize("function", [jnp.sin, jnp.cos])
def test_waves_are_computed_once(function):
    """XLA would compute them again in the kernel of the error, which reads the value."""
    program = jax.jit(track(lambda x: function(x) * x)).lower(jnp.ones(1000)).compile().as_text()
    assert len(re.findall(r" (sine|cosine)\(", program)) == 1

"""The judge for everybody: exact results, and whether stated errors enclose them.

Rules, those of precjax and those that users add with `precjax.defrule`, are tested against real arithmetic: the program
is evaluated in ball arithmetic of hundreds of bits (python-flint, needed by this module only), which encloses the exact
result rigorously, so no tolerance is needed.
"""

from typing import Any, NamedTuple

import flint
import jax
import jax.numpy as jnp
import numpy as np
from flint import acb, arb, fmpq

from precjax._judge import Undecidable, evaluate_jaxpr, lift
from precjax._judge.number import ball, is_finite
from precjax._judge.point import held, is_key
from precjax.analysis.compare import assert_close

__all__ = ["Checked", "Undecidable", "assert_close", "assert_encloses", "check_rule", "exact"]

# Wide enough to subtract any two floats of one format without rounding.
_JUDGING_PRECISION = 4096
_COPIES = 2
_NEXT_TO_ONE = fmpq(2**64 - 1, 2**64)  # a point on the edge of a disc is known as a ball only, which must lie inside
_TO_BALLS = np.frompyfunc(ball, 1, 1)


class Checked(NamedTuple):
    """What `check_rule` saw.

    Attributes:
        tightness: error / max |value - exact| over the points tried, one per element of all outputs, `(n,)`; 1 where
            both are 0, inf where only the deviation is, or where the error is inf.
        deviation: max |value - exact| over the points tried, `(n,)`.
        tracked: The `precjax.Tracked` result of the plain call.
    """

    tightness: np.ndarray
    deviation: np.ndarray
    tracked: Any


def exact(f, *args, precision=400, at=None, **kwargs):
    """What `f(*args, **kwargs)` gives in real arithmetic on the same inputs.

    The jaxpr that JAX traces for these arguments is evaluated in ball arithmetic on their exact values. Casts between
    float formats are the identity, integers and bits are themselves, decisions fall on exact values, and bits of floats
    that the program reads are those of the computed run.

    Args:
        f: Any function that JAX can trace.
        *args: Trees of arrays, exact as stored in the format that JAX gives them.
        precision: Working precision in bits; doubled up to three times where a decision needs it.
        at: Another point to evaluate at: a tree or flat list with one entry per leaf of `(args, kwargs)`, each an array
            (of `flint.acb`, `flint.arb`, `flint.fmpq`, fractions or Python numbers) or None for the argument itself.
        **kwargs: Further trees of arrays.

    Returns:
        The tree of f's output with object arrays `(*s)` of `flint.arb` for floats, `flint.acb` for complex numbers and
        Python numbers for integers and bools.

    Guarantee:
        Every ball contains the exact result. Infinite results are infinities; results outside a function's domain NaN.

    Raises:
        Undecidable: A comparison, a floor or a branch on numbers too close to tell apart.
        ValueError: `at` has another number of entries than the arguments have leaves.
        NotImplementedError: The program has a primitive without exact semantics, which is named.

    Example:
        >>> import jax.numpy as jnp
        >>> from precjax.testing import exact
        >>> tenth = jnp.float32(0.1)
        >>> float(exact(lambda x: x * 10 - 1, tenth))  # what float32 stores is not a tenth
        1.4901161193847656e-08
    """
    return _exact_at(f, args, kwargs, precision)(at)


def _exact_at(f, args, kwargs=None, precision=400):
    """The function that `exact` evaluates at one point, traced once for all points."""
    kwargs = kwargs or {}
    jaxpr, shapes = jax.make_jaxpr(f, return_shape=True)(*args, **kwargs)
    leaves = jax.tree.leaves((args, kwargs))
    computed = [_as_traced(leaf, aval) for leaf, aval in zip(leaves, jaxpr.in_avals, strict=True)]

    def evaluate(at=None):
        points = [None] * len(leaves) if at is None else jax.tree.leaves(at, is_leaf=lambda x: x is None)
        if len(points) != len(leaves):
            raise ValueError(
                f"at has {len(points)} entries for {len(leaves)} leaves of the arguments; give one for each"
            )
        inputs = [held(c) if point is None else _point(point, c) for point, c in zip(points, computed, strict=True)]
        results = evaluate_jaxpr(jaxpr, inputs, computed, precision=precision)
        return jax.tree.unflatten(jax.tree.structure(shapes), [_presented(result) for result in results])

    return evaluate


def _as_traced(leaf, aval):
    return leaf if is_key(aval) else np.asarray(leaf).astype(aval.dtype)


def _point(point, computed):
    numbers = lift(point).reshape(computed.shape)
    return numbers if jnp.issubdtype(computed.dtype, jnp.inexact) else numbers.astype(int).astype(computed.dtype)


def _presented(result):
    if is_key(result):
        return result
    return np.asarray(_TO_BALLS(result) if result.dtype == object else result.astype(object), dtype=object)


def assert_encloses(tracked, exact_tree, context="") -> np.ndarray:
    """Assert |value - exact| <= error for every element, rigorously; the modulus, if it is complex.

    Args:
        tracked: A `precjax.Tracked`, or any pair of trees (value, error).
        exact_tree: The exact results, as `exact` returns them.
        context: What the message of a failure begins with.

    Returns:
        error / |value - exact| of every element of every leaf, `(n,)`; 1 where both are 0, inf where only the
        denominator is, or where the error is inf.

    Guarantee:
        Passes only if the error encloses the exact result, proved in ball arithmetic. NaN and negative errors fail. A
        NaN or infinite value needs an infinite error, unless the exact result is the same infinity.

    Raises:
        AssertionError: Some error is too small; names leaf, index, value, exact result, error and how far it is off.
        Undecidable: The enclosure of an exact result is too wide to tell.

    Example:
        >>> import jax.numpy as jnp
        >>> from precjax.testing import assert_encloses, exact
        >>> third = jnp.float32(1) / 3
        >>> x = jnp.float32(3)
        >>> float(assert_encloses((third, 1e-8), exact(lambda x: 1 / x, x)).round(3)[0])
        1.007
    """
    _, tightness = _judged(tracked, exact_tree, context)
    return tightness


def _judged(tracked, exact_tree, context):
    """(deviation, tightness) of every element, having asserted them all."""
    value, error = tracked
    values, structure = jax.tree.flatten_with_path(value)
    errors, exacts = jax.tree.leaves(error), jax.tree.leaves(exact_tree)
    if jax.tree.structure(error) != structure or len(exacts) != len(values):
        raise AssertionError(f"{context}: value, error and exact differ in structure: {structure}")
    deviations = []
    with flint.ctx.workprec(_JUDGING_PRECISION):
        for (path, v), e, x in zip(values, errors, exacts, strict=True):
            where = f"{context} leaf {jax.tree_util.keystr(path) or '[]'}".lstrip()
            deviations += _judge_leaf(v, e, x, where)
    flat = np.array(deviations, dtype=float).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]


def _judge_leaf(value, error, exact_array, where):
    if is_key(exact_array):
        value, exact_array = jax.random.key_data(value), np.asarray(jax.random.key_data(exact_array))
        error = jnp.broadcast_to(jnp.expand_dims(error, -1), value.shape)
    values, errors, exacts = lift(value), lift(error), lift(exact_array)
    if errors.shape == (1,) * values.ndim:  # one for all
        errors = np.broadcast_to(errors, values.shape)
    if not values.shape == errors.shape == exacts.shape:
        raise AssertionError(f"{where}: shapes of value {values.shape}, error {errors.shape}, exact {exacts.shape}")
    indices = np.ndindex(values.shape)
    return [_judge_element(values[i], errors[i], exacts[i], f"{where} index {i}") for i in indices]


def _judge_element(value, error, truth, where):
    """(|value - exact|, error / |value - exact|), as floats."""
    value, error, truth = ball(value), ball(error), ball(truth)
    if error.is_nan() or error < 0:
        raise AssertionError(f"{where}: the error is {error.str(5, radius=False)}")
    if not is_finite(error):
        return _distance(value, truth), np.inf
    if not is_finite(value):
        if value == truth:  # the same infinity; NaN equals nothing
            return 0.0, np.inf
        raise _too_small(where, value, truth, error)
    deviation = abs(value - truth)
    if deviation <= error:
        return float(deviation), _ratio(error, deviation)
    if deviation.is_finite() and not deviation > error:
        raise Undecidable(f"{where}: exact result known to {truth} only, error {error}")
    raise _too_small(where, value, truth, error)


def _ratio(error, deviation):
    if not deviation.contains(0):
        return float(error / deviation)
    return 1.0 if error == 0 else np.inf


def _distance(value, truth):
    return float(abs(value - truth)) if is_finite(value) and is_finite(truth) else np.inf


def _too_small(where, value, truth, error):
    deviation = abs(value - truth)
    ratio = deviation / error if error > 0 else arb.pos_inf()
    digits = {"radius": False}
    return AssertionError(
        f"{where}: value {value.str(20, **digits)}, exact {truth.str(20, **digits)}, "
        f"error {error.str(5, **digits)} but |value - exact| = {deviation.str(5, **digits)} "
        f"({ratio.str(4, **digits)} times the error)"
    )


def check_rule(
    f, *args, model="worst_case", modes=("plain", "jit", "vmap"), points=3, seed=0, **track_options
) -> Checked:
    """Assert that the errors of `precjax.track(f)` enclose the exact results over the whole input balls.

    The tracked program runs plainly, under `jax.jit`, and under `jax.vmap` over copies; each result is judged at the
    centre of the input balls, at random corners and at random interior points. The results of `f` and `jax.jit(f)`
    themselves are judged against the same error.

    Args:
        f: Any function that JAX can trace.
        *args: Trees of arrays; `precjax.Tracked(value, error)` makes a ball of any subtree.
        model: Error model, as in `precjax.track`.
        modes: Which of "plain", "jit" and "vmap" to run.
        points: Number of random corners, and of random interior points, if any input is a ball.
        seed: Seed of the random points.
        **track_options: Further options of `precjax.track`.

    Returns:
        A `Checked`: tightness at the worst point, deviation, and the tracked result.

    Raises:
        AssertionError: Some error is too small.
        Undecidable: A decision falls on numbers too close to tell apart.

    Example:
        >>> import jax.numpy as jnp
        >>> import precjax
        >>> from precjax.testing import check_rule
        >>> x = precjax.Tracked(jnp.float32(2), jnp.float32(1e-3))
        >>> check_rule(jnp.exp, x).tightness.item() < 1.1
        True
    """
    from precjax import Tracked, track

    def is_ball(x):
        return isinstance(x, Tracked)

    values = jax.tree.map(lambda x: x.value if is_ball(x) else x, args, is_leaf=is_ball)
    errors = jax.tree.map(
        lambda x: x.error if is_ball(x) else jax.tree.map(_no_error, x), args, is_leaf=is_ball
    )  # a ball may be a whole subtree
    truth_at = _exact_at(f, values)
    truths = [truth_at(at) for at in _sample(values, errors, points, np.random.default_rng(seed))]
    runs = _runs(f, track(f, model=model, **track_options), values, args, modes)
    judged = [
        _judged(run, truth, f"{name}, point {number}:") for name, run in runs for number, truth in enumerate(truths)
    ]
    deviation = np.max([d for d, _ in judged], axis=0)
    tightness = np.min([t for _, t in judged], axis=0)
    return Checked(tightness, deviation, runs[0][1])


def _no_error(x):
    return np.zeros(np.shape(x))


def _runs(f, tracked, values, args, modes):
    """(name, Tracked) of every way to run the program; the untracked ones borrow the error of the first."""
    results = []
    if "plain" in modes:
        results.append(("track(f)", tracked(*args)))
    if "jit" in modes:
        results.append(("jit(track(f))", jax.jit(tracked)(*args)))
    if "vmap" in modes:
        copies = jax.tree.map(lambda x: _repeated(x) if hasattr(x, "dtype") else x, args)
        axes = jax.tree.map(lambda x: 0 if hasattr(x, "dtype") else None, args)  # Python scalars stay weakly typed
        batch = jax.tree.map(_fetched, jax.vmap(tracked, in_axes=axes)(*copies))
        for i in range(_COPIES):
            results.append((f"vmap(track(f))[{i}]", jax.tree.map(lambda x, i=i: x[i], batch)))
    error = results[0][1][1]
    results.append(("f", (f(*values), error)))
    results.append(("jit(f)", (jax.jit(f)(*values), error)))
    return results


# In NumPy: JAX would compile a stack, and slices, for every shape.
def _repeated(x):
    return jnp.stack([x] * _COPIES) if is_key(x) else np.stack([x] * _COPIES)


def _fetched(x):
    return x if is_key(x) else np.asarray(x)


def _sample(values, errors, points, random):
    """The centre, then corners, then interior points of the balls, as flat lists of exact arrays."""
    leaves = list(zip(jax.tree.leaves(values), jax.tree.leaves(errors), strict=True))
    centre = [None] * len(leaves)
    if not any(np.any(np.asarray(e) != 0) for _, e in leaves):
        return [centre]
    corners = [[_moved(v, e, lambda: random.choice([-1, 1]), random) for v, e in leaves] for _ in range(points)]
    interior = [
        [_moved(v, e, lambda: random.integers(-(2**20), 2**20) / 2**20, random) for v, e in leaves]
        for _ in range(points)
    ]
    return [centre, *corners, *interior]


def _moved(value, error, fraction, random):
    """The point value + fraction * error, exactly; None where the input is exact."""
    if not np.any(np.asarray(error) != 0):
        return None
    value = np.asarray(value)
    whole = not jnp.issubdtype(value.dtype, jnp.inexact)

    def move(v, e):
        if not is_finite(v):
            return v
        if type(v) is acb:
            return _in_disc(v, e, lift(fraction())[()] * _NEXT_TO_ONE, random)
        radius = e if is_finite(e) else 8 * max(abs(v), fmpq(1))  # an infinite ball is the whole line
        step = radius * lift(fraction())[()]
        return v + (fmpq(step.trunc()) if whole else step)

    return np.asarray(np.frompyfunc(move, 2, 1)(lift(value), lift(error)), dtype=object)


def _in_disc(centre, radius, fraction, random):
    """centre + fraction * radius, turned: along an axis more often than not, so that errors of operands may add up."""
    radius = radius if is_finite(radius) else 8
    slope = fmpq(int(random.choice([0, 0, 256, random.integers(-512, 512)])), 256)
    square = slope * slope
    cosine, sine = (1 - square) / (1 + square), 2 * slope / (1 + square)  # a rational point of the unit circle
    with flint.ctx.workprec(_JUDGING_PRECISION):
        return centre + acb(arb(cosine * fraction * radius), arb(sine * fraction * radius))

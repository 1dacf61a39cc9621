"""Certain decisions: no numbers within the errors decide otherwise; the others can be turned."""

import jax.numpy as jnp
import numpy as np
import pytest

import precjax

RANDOM = np.random.default_rng(0)


def flips(values, errors, decide):
    """Whether any corner of the balls, or any of 200 points inside, decides otherwise than the values."""
    corners = np.array(np.meshgrid(*[[-1, 1]] * len(values))).reshape(len(values), -1).T
    points = np.concatenate([corners, RANDOM.uniform(-1, 1, (200, len(values)))])
    return any(decide(values + p * errors) != decide(values) for p in points)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_the_largest(top):
    values, errors = RANDOM.normal(size=(60, 5)), RANDOM.uniform(0, 0.5, (60, 5)) ** 2
    found = precjax.decisions(precjax.Tracked(values, errors), top=top)
    turned = [flips(v, e, lambda x: frozenset(np.argsort(-x)[:top].tolist())) for v, e in zip(values, errors, strict=True)]
    np.testing.assert_array_equal(found.certain, ~np.array(turned))
    assert 10 < found.certain.sum() < 55
    row = found.rows[-1]
    winners = np.sort(np.argsort(-values[row["index"]])[:top]).tolist()
    assert row["certain"] and row["ratio"] > 1 and row["decision"] == (winners if top > 1 else winners[0])
    assert f"{found.certain.sum()} of 60 are certain" in str(found) and "could flip" in str(found)


def test_a_threshold():
    found = precjax.decisions(precjax.Tracked(np.float32([0.4, 0.49, 0.51, 0.7]), np.float32(0.02)), threshold=0.5)
    assert found.certain.tolist() == [True, False, False, True]
    assert {row["index"]: row["decision"] for row in found.rows} == {0: False, 1: False, 2: True, 3: True}


def test_agrees_with_the_error_of_argmax():
    """What `track` says of the integer itself."""
    x, w = np.float32(RANDOM.normal(size=(300, 8))), jnp.asarray(RANDOM.normal(size=(8, 3)) * 1e-4 + 1, jnp.bfloat16)
    logits = lambda x: (x.astype(jnp.bfloat16) @ w) * 3  # noqa: E731
    certain = precjax.decisions(precjax.track(logits)(x)).certain
    argmax = precjax.track(lambda x: jnp.argmax(logits(x), axis=-1))(x)
    assert np.all(certain <= (argmax.error == 0)) and not certain.all()


def test_ties_and_the_unknown_are_in_doubt():
    exact = np.zeros((3, 2))
    values = np.array([[1.0, 1.0], [2.0, 1.0], [np.nan, 1.0]])
    assert precjax.decisions(precjax.Tracked(values, exact)).certain.tolist() == [False, True, False]
    unknown = precjax.Tracked(values[1], np.array([np.inf, 0]))
    assert not precjax.decisions(unknown).certain and precjax.decisions(unknown).rows[0]["index"] == ()


@pytest.mark.parametrize("zero", [0, 0.0, 0j])
def test_zero_times_the_unknown_is_unknown(zero):
    """The exact quotient may be infinite, 0 times it no number."""
    near_zero = precjax.Tracked(np.float32(1), np.float32(1))
    product = precjax.track(lambda x: (5 / x) * zero)(near_zero)
    assert product.value == 0 and product.error == np.inf
    assert precjax.track(lambda x: jnp.isnan((5 / x) * zero))(near_zero).error == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: precjax.decisions(np.ones(3)), TypeError, "a Tracked of one array"),
        (lambda: precjax.decisions(precjax.Tracked(np.ones(3) * 1j, np.ones(3))), TypeError, "complex"),
        (lambda: precjax.decisions(precjax.Tracked(np.ones(3), np.ones(3)), top=3), ValueError, "top=3"),
        (lambda: precjax.decisions(precjax.Tracked(np.ones(3), np.ones(3)), top=2, threshold=0), ValueError, "one of the two"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()

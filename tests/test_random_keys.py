"""A random key is right or it is not: what is drawn from one that may be another has no bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import precjax
from precjax import Tracked, track

KEYS = jax.random.split(jax.random.key(0), 3)
FIRST, SECOND, _ = KEYS

# Keys (or one) made of an inexact number.
MADE = {
    "select": lambda x: jnp.where(x > 0.5, FIRST, SECOND),
    "one of three": lambda x: jax.lax.select_n((x > 0.5).astype(int) + (x > 1.5), FIRST, SECOND, FIRST),
    "cond": lambda x: jax.lax.cond(x > 0.5, lambda: FIRST, lambda: SECOND),
    "cond of new keys": lambda x: jax.lax.cond(x > 0.5, lambda: jax.random.fold_in(FIRST, 3), lambda: jax.random.split(SECOND)[0]),
    "while": lambda x: jax.lax.while_loop(lambda s: s[0] < 3.5, lambda s: (s[0] + 1, jax.random.fold_in(s[1], 0)), (x, FIRST))[1],
    "scan": lambda x: jax.lax.scan(lambda c, y: (jnp.where(x > y, jax.random.split(c)[0], c), None), FIRST, jnp.arange(3) - 0.5)[0],
    "fold_in": lambda x: jax.random.fold_in(FIRST, (x > 0.5).astype(int)),
    "seed": lambda x: jax.random.key((x > 0.5).astype(int)),
    "words": lambda x: jax.random.PRNGKey((x > 0.5).astype(int)),
    "index": lambda x: KEYS[(x > 0.5).astype(int)],
    "update": lambda x: jax.random.split(KEYS.at[(x > 0.5).astype(int)].set(SECOND)[0])[1],
    "other bits": lambda x: jax.random.fold_in(jax.random.key(0, impl="rbg"), (x > 0.5).astype(int)),
}
MODELS = {
    "worst_case": "worst_case",
    "row": precjax.WorstCase(granularity="row"),
    "tensor": precjax.WorstCase(granularity="tensor"),
    "probabilistic": "probabilistic",
    "certified": "certified",
    "certified by row": precjax.Certified(granularity="row"),
    "pairs": precjax.Certified(reference="pairs"),
}


def drawn(make):
    return lambda x: jax.random.normal(make(x), (2,))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("model", ["worst_case", "certified"])
def test_what_is_drawn_from_keys_in_doubt_has_no_bound(model, make):
    errors = [track(drawn(make), model=model)(Tracked(jnp.float32(x), 0.1)).error for x in (0.55, 0.9)]
    assert np.isinf(errors[0]).all() and (errors[1] < 1e-5).all()


def test_each_key_has_its_own_doubt():
    x = Tracked(jnp.float32([0.6, 0.9, 0.4]), 0.2)
    error = track(lambda x: jax.vmap(drawn(MADE["fold_in"]))(x)[::-1])(x).error
    assert (np.isinf(error).all(axis=1) == [True, False, True]).all() and (error[1] < 1e-5).all()
    assert track(lambda i: jax.random.bits(KEYS[i]))(1).error == 0


def test_keys_are_compared():
    same = track(lambda x: jnp.where(x > 0.5, FIRST, SECOND) == FIRST)
    assert [float(same(Tracked(jnp.float32(x), 0.2)).error) for x in (0.6, 0.9)] == [1, 0]
    assert track(lambda: KEYS == KEYS[::-1])().error.tolist() == [0, 0, 0]


@pytest.mark.parametrize("model", [*MODELS.values(), "shadow"], ids=[*MODELS, "shadow"])
def test_keys_carry_their_error_to_the_next_call(model):
    step = track(lambda x, key: (x * 2, jax.random.split(jnp.where(x > 0.5, key, SECOND))[0]), model=model)
    draw = track(lambda key: jax.random.normal(key, (2,)), model=model)
    for x, bound in ((0.9, 0.0), (0.6, np.inf)):
        value, error = step(Tracked(jnp.float32(x), 0.2), FIRST)
        if model != "shadow":
            assert (np.asarray(error[1]) == bound).all()
            assert (draw(Tracked(value[1], error[1])).error <= max(bound, 1e-5)).all()
        assert jnp.isfinite(draw(Tracked(value[1], 0.0)).error).all()


def test_a_reference_with_another_key_is_infinitely_far():
    errors = [track(MADE["select"], model="shadow")(Tracked(jnp.float32(0.6), e)).error for e in (0.05, 0.2)]
    assert errors == [0, np.inf]


def test_probes_know_keys_that_their_deviations_cannot_move():
    model = precjax.Probabilistic(probes=4)
    errors = [track(drawn(MADE["fold_in"]), model=model)(Tracked(jnp.float32(x), 0.2)).error for x in (0.51, 0.9)]
    assert np.isinf(errors[0]).all() and (errors[1] < 1e-5).all()


def test_keys_are_printed_by_their_words():
    shown = track(lambda x: (jnp.where(x > 0.5, FIRST, SECOND), KEYS))
    doubted, certain = (shown(Tracked(jnp.float32(x), 0.1)) for x in (0.55, 0.9))
    words = str(jax.random.key_data(FIRST).tolist())
    assert f"key({words})" in repr(certain) and f"key({words.replace(',', '?,').replace(']', '?]')})" in repr(doubted)
    assert [certain.exact_bits[0], doubted.exact_bits[0]] == [1, 0] and doubted.exact_bits[1].tolist() == [1, 1, 1]


def test_keys_of_two_runs_are_compared():
    error = np.zeros(3, np.float32)
    assert precjax.compare(KEYS, KEYS, error).explained and not precjax.compare(KEYS, KEYS[::-1], error).explained
    assert precjax.compare(KEYS, KEYS[::-1], error + np.inf).explained

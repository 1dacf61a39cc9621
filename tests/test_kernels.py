"""Pallas kernels: those that JAX compiles are refused, those that it interprets are tracked."""

import jax
import jax.numpy as jnp
import pytest
from cases_kernels import elementwise
from jax.experimental import pallas as pl

import precjax
from precjax.testing import check_rule

X = jnp.linspace(-1, 1, 20).reshape(5, 4)


def double(x_ref, o_ref):
    o_ref[...] = x_ref[...] * 2 + 1


def compiled(x):
    return jax.jit(pl.pallas_call(double, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype)))(x)


def test_compiled_kernels_are_refused():
    assert [line.split()[0] for line in precjax.missing_rules(compiled)(X)] == ["pallas_call"]
    with pytest.raises(precjax.MissingRuleError, match="compiled kernel; call it with interpret=True"):
        jax.eval_shape(precjax.track(compiled), X)


def test_compiled_kernels_can_be_done_without():
    shapes = jax.eval_shape(precjax.track(compiled, missing="inf"), X)
    assert shapes.error.shape == X.shape


def test_interpreted_kernels_are_tracked():
    assert precjax.missing_rules(elementwise)(X) == []
    run = check_rule(elementwise, precjax.Tracked(X, jnp.full_like(X, 1e-3)), modes=("jit",), points=1)
    assert run.tightness.max() < 3

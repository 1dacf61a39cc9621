"""The guide of `precjax/rules/README.md`, followed to the letter: a new elementwise primitive in one line and one row."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

import precjax
from precjax import platforms
from precjax._judge.elementary import deffunction
from precjax._registry import _RULES
from precjax.rules.elementary import defelementary
from precjax.testing import check_rule

GUIDE = Path(precjax.__file__).parent / "rules" / "README.md"

softplus_p = Primitive("softplus")
softplus_p.def_abstract_eval(lambda x: x)
softplus_p.def_impl(lambda x: jnp.logaddexp(x, 0))
mlir.register_lowering(softplus_p, mlir.lower_fun(lambda x: jnp.logaddexp(x, 0), multiple_results=False))
batching.defvectorized(softplus_p)


@pytest.fixture
def followed():
    """Does what the guide says: its own row, its own line."""
    text = GUIDE.read_text()
    row = re.search(r"```csv\s+(.*?)\s+```", text, re.S).group(1)
    line = re.search(r"^\s*(defelementary\(.*\))$", text, re.M).group(1)
    name, _, scale, *factors = row.split(",")[:7]
    table = platforms.current().table
    for dtype, factor in zip(("float32", "float64", "bfloat16", "float16"), factors, strict=True):
        table[name, dtype] = platforms.Accuracy(float(factor), scale)
    exec(line, {"defelementary": defelementary})
    deffunction("softplus", lambda x: (1 + arb(x).exp()).log())
    yield
    del _RULES["softplus"]


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize(("dtype", "ceiling"), [(jnp.float32, 4), (jnp.bfloat16, 20), (jnp.float16, 20)])
def test_a_new_primitive_in_one_line_and_one_row(dtype, ceiling):
    x = jnp.linspace(-8, 8, 17).astype(dtype)
    errors = jnp.full(x.shape, 1e-3, jnp.float32)
    assert np.median(check_rule(softplus_p.bind, precjax.Tracked(x, errors)).tightness) < ceiling


@pytest.mark.usefixtures("followed")
def test_a_wrong_line_is_caught():
    defelementary("softplus", lambda x, y: x.error * 0.5)
    x = precjax.Tracked(jnp.float32(5.0), jnp.float32(1e-3))
    with pytest.raises(AssertionError):
        check_rule(softplus_p.bind, x, modes=("plain",))


def test_without_the_rule_the_primitive_is_refused():
    with pytest.raises(precjax.MissingRuleError, match=r"softplus.*test_guide.py.*defrule"):
        precjax.track(lambda x: softplus_p.bind(x))(jnp.float32(1.0))


def test_guide_names_things_that_exist():
    """Every helper of the table is where the guide says."""
    for name, file in re.findall(r"\| `(?:def)?(\w+)[`(,].*\| `(\w+\.py)` \|", GUIDE.read_text()):
        assert name in (GUIDE.parent / file).read_text()

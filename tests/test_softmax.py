"""What softmax bounds its terms by, against every choice of inputs within their errors that makes one term largest."""

import numpy as np
import pytest

from precjax._annotated import Annotated, Known
from precjax._ball import Ball
from precjax._softmax_patterns import Softmax
from precjax.rules.softmax import Terms


def terms(x: np.ndarray, error: np.ndarray, settled: bool) -> Terms:
    """Of a softmax over the last axis, in float32."""
    known = Known(settled=settled)
    shifted = Annotated(x - x.max(-1, keepdims=True), np.zeros_like(x), known)
    operand = Annotated(x, error, known)
    pattern = Softmax(shifted, shifted, operand, operand, (x.ndim - 1,), frozenset(), 0, True)
    return Terms(*(Ball(a, np.dtype("float32")) for a in (operand, shifted)), None, 2.0**-24, 0.0, pattern)


@pytest.mark.parametrize("settled", [True, False])
def test_shifted_numbers_stay_below_their_bound(settled):
    """x_j - max(x) is largest where x_j is as large as it may be, and all others as small."""
    rng = np.random.default_rng(0)
    x = (10 * rng.standard_normal((300, 6))).astype(np.float32)
    error = (rng.exponential(size=x.shape) * 10.0 ** rng.integers(-6, 2, x.shape)).astype(np.float32)
    reach = np.float64(error) * (1 if settled else 2)  # of all that may be computed
    low, high = x - reach, x + reach
    others = np.where(np.eye(6, dtype=bool), -np.inf, low[:, None, :]).max(-1)
    largest = np.minimum(high - others, 0)
    bound = np.float64(terms(x, error, settled).high())
    assert (largest <= bound).all()
    certain = np.argmin(error + np.abs(x - x.max(-1, keepdims=True)), -1)
    assert np.median((bound - (high - low.max(-1, keepdims=True)))[np.arange(300), certain]) < 1e-3

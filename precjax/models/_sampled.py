"""What `Stochastic` returns: a value, its error, and the samples that go on with the next step."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from scipy import special

from precjax._tracked import Tracked


@jax.tree_util.register_pytree_with_keys_class
class StochasticTracked(Tracked):
    """A `Tracked` that carries its samples.

    It unpacks into value and error as any `Tracked`, and can be passed to the next step of a loop: each sample goes on
    from where it was.

    Attributes:
        samples: tree of arrays ``(*s, samples)`` in the dtypes of the values.

    Example:
        >>> import precjax
        >>> step = precjax.track(lambda x: x * 0.9 + 0.1, model="stochastic")
        >>> state = step(step(0.7))
        >>> value, error = state
        >>> state.samples.shape
        (8,)
    """

    samples: Any

    def __new__(cls, value: Any, error: Any, samples: Any) -> StochasticTracked:
        """A tuple of two, with an attribute."""
        self = super().__new__(cls, value, error)
        self.samples = samples
        return self

    def significant_bits(self, *, probability: float = 0.99, confidence: float = 0.95) -> Any:
        """A lower bound of the number of significant bits: those that a run shares with the value.

        The samples' deviation is itself an estimate: the bound allows for that with the quantile of a chi-square
        distribution, and then asks for bits that are right not on average but with the probability given. With the
        defaults that is 2.5 bits less than the deviation suggests for 8 samples, 1.8 for 32.

        Args:
            probability: that a run of the program shares these bits with the value; in (0, 1).
            confidence: with which that is known from so few samples; in (0, 1).

        Returns:
            Tree of float32 arrays ``(*s)``, from 0 to the significand bits of the value's format.

        Guarantee:
            Statistical: with that confidence, if sample - value is normal with mean 0 (a mean other than 0 makes
            the bound smaller).

        Raises:
            ValueError: if an argument is no probability.

        Example:
            >>> import jax.numpy as jnp, precjax
            >>> out = precjax.track(lambda x: 1 - jnp.cos(x), model="stochastic")(0.01)
            >>> bool(out.significant_bits() < out.exact_bits)
            True

        References:
            Sohier, de Oliveira Castro, Fevotte, Lathuiliere, Petit, Jamond, Confidence intervals for stochastic
            arithmetic, ACM Trans. Math. Softw. 47 (2021), section 4 (centred normality hypothesis).
        """
        for name, number in (("probability", probability), ("confidence", confidence)):
            if not 0 < number < 1:
                raise ValueError(f"{name}={number!r}: expected a probability between 0 and 1, such as 0.99")
        leaves = jax.tree.leaves(self.samples)
        count = leaves[0].shape[-1] if leaves else 2
        chi_square = 2 * special.gammaincinv(count / 2, (1 - confidence) / 2)
        factor = math.sqrt(2 * count / chi_square) * special.ndtri((1 + probability) / 2)
        return Tracked(self.value, jax.tree.map(lambda e: e * np.float32(factor), self.error)).exact_bits

    def __getnewargs__(self) -> tuple[Any, ...]:
        """How copies and pickles are made."""
        return (*self, self.samples)

    def _replace(self, **changes: Any) -> Tracked:
        """Without the samples, which another value or error would contradict."""
        return Tracked(*self)._replace(**changes)

    def tree_flatten_with_keys(self) -> Any:
        """Three subtrees."""
        names = ("value", "error", "samples")
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in names], None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> StochasticTracked:
        """From three subtrees."""
        return cls(*children)

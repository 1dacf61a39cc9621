"""Scikit-learn's handwritten digits: 1,797 images of 8 by 8 pixels that come with the package."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits


class Digits(NamedTuple):
    """Images and what they show.

    Attributes:
        images: float32 ``(n, 8, 8, 1)``, brightness from 0 to 1; multiples of 1/16, so that they are exact inputs.
        labels: int32 ``(n,)``, 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray

    def first(self, count: int) -> Digits:
        """The first so many images."""
        return Digits(self.images[:count], self.labels[:count])


def load(held_out: int, seed: int) -> tuple[Digits, Digits]:
    """The digits in random order, split in two.

    Args:
        held_out: how many images are kept from training.
        seed: of the order.

    Returns:
        The digits to train on, and those held out.
    """
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    images = (images[order] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    labels = labels[order].astype(np.int32)
    return Digits(images[held_out:], labels[held_out:]), Digits(images[:held_out], labels[:held_out])

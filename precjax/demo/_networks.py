"""The two networks to choose from; layers are named in the order of the computation."""

from __future__ import annotations

import flax.linen as nn
import jax


class CNN(nn.Module):
    """Two convolutions with pooling, two dense layers: 19,000 parameters."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits ``(n, 10)`` of images ``(n, 8, 8, 1)``."""
        x = nn.relu(nn.Conv(8, (3, 3), name="1_conv")(images))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(16, (3, 3), name="2_conv")(x))
        x = nn.avg_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(32, name="3_dense")(x.reshape(len(x), -1)))
        return nn.Dense(10, name="4_logits")(x)


class MLP(nn.Module):
    """Three dense layers: 7,000 parameters."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits ``(n, 10)`` of images ``(n, 8, 8, 1)``."""
        x = images.reshape(len(images), -1)
        x = nn.relu(nn.Dense(64, name="1_dense")(x))
        x = nn.relu(nn.Dense(32, name="2_dense")(x))
        return nn.Dense(10, name="3_logits")(x)


NETWORKS = {"cnn": CNN, "mlp": MLP}

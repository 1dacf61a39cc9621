"""One of two processes of a distributed run, for `test_devices.py`: python processes.py ADDRESS NUMBER."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import precjax


def program(x):
    """A sum and a maximum over all devices, and a product whose rows stay where they are."""
    return lax.psum(x / 3, "x"), lax.pmax(x / 3, "x"), x * 3


def main(address, number):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(address, num_processes=2, process_id=number)
    mesh = jax.make_mesh((4,), ("x",))
    whole = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    x = jax.make_array_from_callback(whole.shape, NamedSharding(mesh, P("x")), lambda index: whole[index])
    mapped = jax.shard_map(program, mesh=mesh, in_specs=P("x"), out_specs=(P(), P(), P("x")))
    tracked = jax.jit(precjax.track(mapped))(x)
    rows = whole.astype(np.float64)
    expected = rows.sum(0, keepdims=True) / 3, rows.max(0, keepdims=True) / 3, rows * 3
    for value, error, exact in zip(*tracked, expected, strict=True):
        for v, e in zip(value.addressable_shards, error.addressable_shards, strict=True):
            distance = np.abs(np.asarray(v.data, np.float64) - exact[v.index])
            assert np.all(distance <= np.asarray(e.data)), (distance, e.data)
            assert np.all(np.asarray(e.data) < 1e-5) and np.any(np.asarray(e.data) > 0)
    one = precjax.track(lambda x: (jnp.sum(x / 3, 0), jnp.max(x / 3, 0), x * 3))(whole)
    np.testing.assert_allclose(tracked.error[0].addressable_shards[0].data[0], one.error[0], rtol=0.5)
    print("sound", jax.process_count(), jax.device_count())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

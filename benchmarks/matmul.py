"""What a machine can do: the rate of one large matrix product."""

import time

import jax
import jax.numpy as jnp


def rate(size: int, dtype: str = "float32", repeats: int = 20) -> float:
    """FLOP/s of a product of two `size` x `size` matrices, the best of some."""
    x = jnp.ones((size, size), dtype)
    product = jax.jit(lambda x: x @ x).lower(x).compile()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(product(x))
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / min(taken)

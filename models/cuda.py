"""Which NVIDIA GPU there is, for kernels that need one."""

import jax


def compute_capability() -> tuple[int, int] | None:
    """The compute capability of the GPU, such as (9, 0); None if JAX does not compute on an NVIDIA GPU."""
    device = jax.local_devices()[0]
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:
        return None
    major, minor = device.compute_capability.split(".")
    return int(major), int(minor)

"""Which NVIDIA GPU there is, for what only such a one can run."""

import jax


def compute_capability() -> tuple[int, int] | None:
    """The GPU's, such as (9, 0); None where JAX computes on anything else than an NVIDIA GPU."""
    device = jax.local_devices()[0]
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:
        return None
    major, minor = device.compute_capability.split(".")
    return int(major), int(minor)

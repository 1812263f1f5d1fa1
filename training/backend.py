"""What must be told to JAX before it touches a device."""

import os
from pathlib import Path

import jax
from ml_collections import ConfigDict


def configure(config: ConfigDict, workdir: Path) -> None:
    """Compilation cache under the runs' common folder; deterministic GPU kernels where asked."""
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(workdir.absolute().parent / ".jax_cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if config.deterministic:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"

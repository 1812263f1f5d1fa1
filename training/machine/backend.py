"""Settings of the C library and of JAX that must be made before the first array."""

import ctypes
import os
import re
import sys
from pathlib import Path

import jax

from training.machine import limits

# Parameters of glibc's mallopt(3), and what they are set to. The price is up to twice the memory, on one device 1.7
# times: some of XLA's temporary buffers then exist twice (docs/performance.md).
_KEEP_PAGES = {
    -4: 0,  # M_MMAP_MAX: large buffers come from the heap, not from fresh, zeroed pages
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: freed pages stay with the process
    -2: 64 << 20,  # M_TOP_PAD
    -8: 1,  # M_ARENA_MAX: one heap for all threads, so that what one frees another takes
}

THREADS_A_DEVICE = 4  # of a CPU that is split into several
MOST_DEVICES = max(64, os.cpu_count() or 1)  # that a CPU may be split into

COMPUTED_WITH = {
    "jax_enable_x64": False,
    "jax_disable_jit": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_transfer_guard": None,
}
"""What everything here is written for, whatever the environment says."""


def release_memory() -> None:
    """Gives free pages back to the system: compiling needed them, training does not."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def device_bytes() -> int:
    """What one device of this process can hold; the devices of a CPU share the machine's memory, or the part of it that
    the process may have."""
    devices = jax.local_devices()
    if (stats := devices[0].memory_stats()) and "bytes_limit" in stats:
        return stats["bytes_limit"]
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(min(there, limits.address_space(), limits.group_memory())) // len(devices)


def devices() -> list[jax.Device]:
    """What JAX computes on.

    Raises ValueError, in one line, if that is not there or if the environment asks for what is not supported here.
    """
    for name, needed in COMPUTED_WITH.items():
        value = getattr(jax.config, name)
        value = getattr(value, "value", value)
        if value not in (needed, None):
            raise ValueError(f"{name.upper()} = {value} is not supported; unset it in the environment")
    _split()
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        name = "JAX_PLATFORM_NAME" if os.environ.get("JAX_PLATFORM_NAME") else "JAX_PLATFORMS"  # the first goes before
        if not (asked := os.environ.get(name)):
            raise ValueError(f"JAX finds no device: {error}; set JAX_PLATFORMS=cpu to do without") from None
        raise ValueError(
            f"{name} = {asked!r} is not to be had on this machine; use cpu, or unset it to take what there is"
        ) from None


def _split() -> tuple[bool, int]:
    """Whether XLA_FLAGS split the CPU into devices, and into how many the environment does; -1 where it does not.

    Raises ValueError, in one line, for none and for more than a machine can take.
    """
    forced = re.search(r"xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    number = int(forced[1]) if forced else jax.config.values["jax_num_cpu_devices"]  # JAX_NUM_CPU_DEVICES
    if not (1 <= number <= MOST_DEVICES or number == -1):
        name = "XLA_FLAGS" if forced else "JAX_NUM_CPU_DEVICES"
        raise ValueError(f"{name} asks for {number} devices of a CPU; use 1 to {MOST_DEVICES}")
    return bool(forced), number


def configure(workdir: Path, keep_pages: bool, cpu_devices: int, deterministic: bool) -> None:
    """Sets host memory, number of CPU devices, compilation cache and deterministic kernels.

    XLA_FLAGS and JAX_COMPILATION_CACHE_DIR of the environment are kept. Raises as `devices`.
    """
    if sys.platform == "linux" and keep_pages:
        # XLA's CPU backend allocates its buffers anew at every step, and faults in their pages again.
        for parameter, value in _KEEP_PAGES.items():
            ctypes.CDLL(None).mallopt(parameter, value)
    forced, number = _split()
    if cpu_devices > 1 and not forced:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    else:
        cpu_devices = number
    if cpu_devices > 1 and "NPROC" not in os.environ:
        # The devices of a CPU share one pool of threads, as many as there are cores, and a device that waits for the
        # others in an all-reduce holds a thread: on a busy machine the waiting can hold all of them (docs/log.md).
        os.environ.setdefault("PJRT_NPROC", str((os.cpu_count() or 1) + THREADS_A_DEVICE * cpu_devices))
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(workdir.absolute().parent / ".jax_cache"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # small programs draw the parameters
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if deterministic:
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
    devices()

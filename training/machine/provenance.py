"""Where a run comes from: commit, versions, device."""

import functools
import importlib.metadata
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

import jax

from training.machine import backend

ROOT = Path(__file__).parents[2]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@functools.cache
def commit() -> str:
    """The checkout's commit, with `+` where files that git tracks have changed; "unknown" outside git.

    As it was when the process first asked: what is committed or edited during a run is not what runs.
    """
    head = git("rev-parse", "HEAD")
    return head + "+" * bool(git("status", "--porcelain", "--untracked-files=no")) if head else "unknown"


@functools.cache
def tree(folder: str) -> str:
    """Git's id of a folder of the checkout's commit, with `+` where a file in it has changed or is new; as `commit`."""
    found = git("rev-parse", f"HEAD:{folder}")
    return found + "+" * bool(git("status", "--porcelain", "--", folder)) if found else "unknown"


def git(*words: str, root: Path = ROOT) -> str:
    """The output of a git command in a checkout; empty if it fails."""
    try:
        return subprocess.run(
            ["git", *words], cwd=root, capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@functools.cache
def processor() -> str:
    """The name of the accelerator, or of the CPU."""
    first = backend.devices()[0]
    if first.platform != "cpu":
        return first.device_kind
    told = Path("/proc/cpuinfo")
    names = (
        re.findall(r"^model name\s*: (.+)$", told.read_text(encoding="utf-8"), re.MULTILINE) if told.is_file() else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of every package that can change a number."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def device() -> dict[str, str | int]:
    """Kind and number of devices and processes, on which exact resuming depends."""
    first = backend.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "processes": jax.process_count(),
        "machine": platform.machine(),
    }


def device_memory_bytes() -> int:
    """Peak memory of the fullest local device; on a CPU, the resident memory of the process at its peak."""
    stats = [d.memory_stats() for d in jax.local_devices()]
    peaks = [s["peak_bytes_in_use"] for s in stats if s and "peak_bytes_in_use" in s]
    return max(peaks) if peaks else peak_resident_bytes()


def peak_resident_bytes() -> int:
    """The most memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

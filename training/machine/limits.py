"""What the system allows a process: open files, address space, and the memory of a container or a job.

A library meets these limits in the middle of its work and ends the process from C++, so they are looked at first.
"""

import resource
import sys
from pathlib import Path

LEAST_FILES, MANY_FILES = 64, 4096  # a small run has 21 open, a large checkpoint more
LEAST_SPACE = 2 * 10**9  # bytes of address space; with a fifth less, the libraries end a small run
ENTRIES, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def check() -> None:
    """Takes as many open files as the system allows, up to MANY_FILES. Ends the process with one line and status 2
    where a limit is so low that nothing runs."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < MANY_FILES:
        allowed = MANY_FILES if most == resource.RLIM_INFINITY else min(most, MANY_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if 0 <= allowed < LEAST_FILES:
        _end(f"the limit of open files is {allowed}, and a program needs {LEAST_FILES}; raise it with ulimit -n")
    if (space := address_space()) < LEAST_SPACE:
        _end(
            f"the limit of address space is {space / 1e9:.2f} GB, and a program needs {LEAST_SPACE / 1e9:.2f} GB; "
            "raise it with ulimit -v"
        )


def address_space() -> float:
    """Bytes that a process may map; infinite where there is no limit."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if allowed == resource.RLIM_INFINITY else allowed


def group_memory() -> float:
    """Bytes that the process's control group may hold, as a container or a job of Slurm sets it; infinite where none
    is said. Each group above counts too."""
    try:
        entries = ENTRIES.read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("inf")
    found = [float("inf")]
    for entry in entries:
        _, kinds, path = entry.split(":", 2)
        if kinds in ("", "memory"):
            folder, name = (GROUPS / kinds, "memory.limit_in_bytes") if kinds else (GROUPS, "memory.max")
            for place in (folder / path.strip("/"), *(folder / path.strip("/")).parents):
                if place.is_relative_to(folder) and (place / name).is_file():
                    said = (place / name).read_text(encoding="utf-8").strip()
                    found.append(float(said) if said != "max" else float("inf"))
    return min(found)


def _end(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(2)

"""Asks XLA about XLA_FLAGS in another process, since one flag that it does not know ends the process, in C++."""

import os
import re
import subprocess
import sys

READ = "import jaxlib.xla_client as x; x.CompileOptions().executable_build_options.debug_options"
TAKEN = "LONGREACH_XLA_FLAGS"  # the flags that XLA has taken, of this program or the one that started it
LONGEST = 60  # seconds


def check() -> None:
    """Ends the process with one line and status 2 if XLA does not take its flags."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not flags or os.environ.get(TAKEN) == flags:
        return
    if said := refusal(flags):
        print(f"error: XLA_FLAGS = {flags!r}: {said}; correct it or unset it", file=sys.stderr, flush=True)
        sys.exit(2)
    os.environ[TAKEN] = flags


def refusal(flags: str) -> str:
    """What XLA says against the flags, in one line; "" if it takes them, or does not answer."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ],
            env=os.environ | {"XLA_FLAGS": flags},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if not done.returncode:
        return ""
    lines = [line for line in done.stderr.splitlines() if re.search(r"XLA_FLAGS|flag", line)]
    return " ".join(re.sub(r"^.*\.cc:\d+\] ", "", line).strip() for line in lines[:1]) or "XLA ends the process"

"""Asks XLA about XLA_FLAGS in another process: a flag that it does not know ends the process, in C++, and a value that
it does not know is a warning at every program."""

import os
import re
import subprocess
import sys

READ = """
import jaxlib.xla_client as xla
options = xla.CompileOptions()
options.executable_build_options.debug_options
try:  # what follows is nothing that JAX promises to keep
    client = xla.make_cpu_client()
    program = b"module @m { func.func public @main(%a: tensor<f32>) -> tensor<f32> { return %a : tensor<f32> } }"
    client.compile_and_load(program, xla.DeviceList(tuple(client.local_devices()[:1])), options)
except Exception:
    pass
"""
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
    against = r"XLA_FLAGS|flag"
    if not done.returncode:  # a warning that names a value
        values = re.findall(r"=([A-Za-z][\w.-]*)", flags)
        against = rf"^[WE]\d+ .*\b({'|'.join(map(re.escape, values)) or '$^'})\b"
    lines = [line for line in done.stderr.splitlines() if re.search(against, line)]
    said = " ".join(re.sub(r"^.*\.cc:\d+\] ", "", line).strip() for line in lines[:1])
    return said or "XLA ends the process" * bool(done.returncode)

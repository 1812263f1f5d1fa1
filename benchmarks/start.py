"""A start of `python train.py`, imports included, until the end of its first step.

Its settings: `cold` finds no compiled program, `warm` what its first start left in the cache.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from benchmarks.protocol import Program

ONE_STEP = ("--config.steps=1", "--config.schedule.warmup_steps=1", "--config.wandb.mode=disabled")


class Start(Program):
    def __init__(self, case: SimpleNamespace, folder: Path):
        super().__init__({"num_params": 0, "loss": 0.0}, lambda: None, lambda: None)
        self.case, self.folder = case, folder

    def take(self, steps: int) -> dict[str, float]:
        """One start after the other. Raises RuntimeError where a run fails."""
        seconds = 0.0
        for _ in range(steps):
            cache = self.folder if self.case.setting == "warm" else tempfile.mkdtemp(dir=self.folder)
            workdir = Path(tempfile.mkdtemp(dir=cache))  # the cache lies beside it
            words = [sys.executable, "train.py", f"--config={self.case.config}", f"--workdir={workdir}", *ONE_STEP]
            done = subprocess.run(words, capture_output=True, encoding="utf-8")
            if done.returncode:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            seconds += json.loads((workdir / "summary.json").read_text(encoding="utf-8"))["start_to_first_step_seconds"]
        return {"seconds": seconds}


program = Start

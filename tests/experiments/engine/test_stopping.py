"""A question that is asked to end while it runs: a real process and its worker."""

import signal
import sys
import time

from tests.training.processes import start


def test_sigterm_saves_and_has_the_status_of_an_unfinished_question(tmp_path):
    folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    process = start([sys.executable, "-m", "experiments.run", "parity", "--scale=smoke", *folders])
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob("runs/parity/smoke/jobs/*.log")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert "stopped as asked" in output and "the same command goes on from here" in output
    assert "Traceback" not in output and "failed" not in output

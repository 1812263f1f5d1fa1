"""Jobs on a Slurm cluster, as arrays by submitit. They go on without the command, and a later start adopts them.

A file says what to ask for (`--slurm=FILE.toml`):

    partition = "gpu"       # account, qos and constraint alike; what is left out is the cluster's default
    minutes = 240           # time limit; a run that needs longer is requeued and goes on from its checkpoint
    gpus = 1                # of a job, which is one run or the seeds of one cell
    cpus = 8
    memory_gb = 32
    parallel = 16           # jobs of an array at a time
    setup = ["module load cuda"]

Which job is which is on disk (`jobs/NAME.slurm`, from before it is submitted on), whether it lives `squeue` says, and
whether it did its runs, their rows.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data import checks, whole_file
from experiments.engine import jobs, process
from experiments.engine.jobs import End, Job
from experiments.engine.supervise import supervise

KINDS: dict[str, type] = dict.fromkeys(("partition", "account", "qos", "constraint"), str)
KINDS |= dict.fromkeys(("minutes", "gpus", "cpus", "memory_gb", "parallel"), int) | {"setup": list}
WANTED: dict[type, str] = {str: "text", int: "a whole number above 0", list: "a list of commands"}
PARALLEL = 16
ARRAY = 1000  # jobs, which Slurm allows where nothing else is configured
NOTICE = 120  # seconds before the time limit in which a run saves
LOOK = 5.0  # seconds between looks at the queue
PATIENCE = 600.0  # seconds in which squeue may fail to answer
ANSWER = 60.0  # seconds that one answer of Slurm may take
GRACE = 30.0  # seconds in which the rows of a job that left the queue may still be on their way through a file system
ID = ".slurm"


def settings(path: Path) -> dict[str, Any]:
    """The contents of a --slurm file. Raises ValueError or FileNotFoundError in one line."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"--slurm = {path} is not a file; give one that holds minutes = 240") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    for key, value in found.items():
        checks.one_of(f"{path}: key", key, KINDS)
        if type(value) is not KINDS[key] or (key != "gpus" and not value):
            raise ValueError(f"{path}: {key} = {value!r} is not {WANTED[KINDS[key]]}")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{path}: {key} = {value} is below 0; use a positive number")
        words = value if isinstance(value, list) else [value]
        if KINDS[key] is not int and not all(isinstance(word, str) and word.isprintable() for word in words):
            raise ValueError(f"{path}: {key} = {value!r} is not plain text; give words without line ends")
    if "minutes" not in found:
        raise ValueError(f"{path}: minutes is missing; give the time limit of a job, such as minutes = 240")
    if 60 * found["minutes"] <= NOTICE:
        raise ValueError(f"{path}: minutes = {found['minutes']} is too few; a run saves {NOTICE} s before the limit")
    return found


class Slurm:
    """An executor (`jobs.Executor`)."""

    def __init__(self, folder: Path, wanted: dict[str, Any]):
        """`folder` is the jobs'. Raises ValueError where there is no Slurm."""
        if not shutil.which("sbatch"):
            raise ValueError("--cluster = slurm: there is no sbatch here; run this where jobs are submitted")
        self.slots: int = wanted.get("parallel", PARALLEL)
        self._folder, self._wanted = folder, wanted
        self._gone: dict[str, float] = {}  # since when, by name
        self._silent = 0.0  # since when squeue has not answered
        while (alive := self._alive()) is None:
            time.sleep(LOOK)
        told = {path.stem: _id(path, alive) for path in folder.glob(f"[!.]*{ID}")}
        self._ids = {name: number for name, number in told.items() if number in alive and self._whole(number)}
        self.running = [jobs.read(folder / f"{name}.json") for name in sorted(self._ids)]

    def start(self, wave: Sequence[Job]) -> None:
        """All of them, as an array; those that measure time as one of their own, a node each. What an array cannot hold
        waits until there is room."""
        if self.running and len(self.running) + len(wave) > ARRAY:
            return
        wave = wave[:ARRAY]
        for alone in (False, True):
            if mine := [job for job in wave if job.alone == alone]:
                self._submit(mine, alone)

    def _submit(self, wave: list[Job], alone: bool) -> None:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        files = [str(job.write().absolute()) for job in wave]
        name = f"longreach-{secrets.token_hex(4)}"
        for place, job in enumerate(wave):  # a start that is killed before it knows the ids leaves what to ask for
            whole_file.write_json(job.file.with_suffix(ID), {"wave": name, "place": place})
        executor = submitit.SlurmExecutor(self._folder / "submitit")
        executor.update_parameters(**self._parameters(alone), job_name=name)
        where = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
        try:
            with submitit.helpers.clean_env():  # of the job that this command may run in, and of where Slurm is
                os.environ.update(where)
                submitted = executor.map_array(supervise, files)
        except (FailedJobError, FailedSubmissionError) as error:
            said = [line for line in str(error).splitlines() if "sbatch: error" in line] or str(error).splitlines()[-1:]
            raise ValueError(f"--cluster = slurm: {said[0].strip()}") from None
        for job, known in zip(wave, submitted, strict=True):
            whole_file.write_json(job.file.with_suffix(ID), {"id": known.job_id})
            self._ids[job.name] = known.job_id
            self.running.append(job)

    def _parameters(self, alone: bool) -> dict[str, Any]:
        wanted = self._wanted
        same = {key: wanted[key] for key in ("partition", "account", "qos", "constraint") if key in wanted}
        cpus, gpus = wanted.get("cpus", 1), wanted.get("gpus", 0)
        paths = os.pathsep.join(filter(None, (str(process.ROOT), os.environ.get("PYTHONPATH"))))
        setup = [f"export PYTHONPATH={paths!r}", *wanted.get("setup", [])]
        return same | {
            "time": wanted["minutes"],
            "cpus_per_task": cpus,
            "srun_args": [f"--cpus-per-task={cpus}"],  # which srun does not take from the job since Slurm 22.05
            "array_parallelism": self.slots,
            "signal_delay_s": NOTICE,
            "setup": setup if gpus else [*setup, "export JAX_PLATFORMS=cpu"],  # no GPU that nobody asked for
            "additional_parameters": {"requeue": True},
            **({"gpus_per_node": gpus} if gpus else {}),
            **({"mem": f"{wanted['memory_gb']}GB"} if "memory_gb" in wanted else {}),
            **({"exclusive": True} if alone else {}),
        }

    def wait(self, seconds: float) -> list[End]:
        """Those that are no longer in the queue. One without its rows is given GRACE."""
        until = time.monotonic() + max(seconds, LOOK)
        while time.monotonic() < until and any(job.left for job in self.running):
            time.sleep(min(0.2, LOOK))
        now, ended = time.monotonic(), list[End]()
        if (alive := self._alive()) is None:
            return ended
        for job in list(self.running):
            if self._ids[job.name] in alive:
                self._gone.pop(job.name, None)
            elif not job.left or now - self._gone.setdefault(job.name, now) > GRACE:
                self.running.remove(job)
                ended.append(End(job, self._how(job)))
        return ended

    def _alive(self) -> dict[str, str] | None:
        """What is in the queue; None where squeue does not say. Raises OSError when it has not for PATIENCE."""
        try:
            found, self._silent = queued(), 0.0
            return found
        except OSError as error:
            now = time.monotonic()
            if not self._silent:
                print(f"waiting for squeue: {error}", file=sys.stderr, flush=True)
            self._silent = self._silent or now
            if now - self._silent > PATIENCE:
                raise OSError(
                    f"--cluster = slurm: squeue has not answered for {PATIENCE / 60:.0f} minutes ({error}); what is in "
                    "Slurm goes on, and the same command comes back to it"
                ) from None
            return None

    def _whole(self, number: str) -> bool:
        """Whether a job has what it is to do, which submitit hands over after submitting. What has not is cancelled."""
        whole = (self._folder / "submitit" / f"{number}_submitted.pkl").exists()
        if not whole:
            asked(["scancel", number])
        return whole

    def _how(self, job: Job) -> str:
        """The last line of the job's log, or of Slurm's own log if the job did not start one."""
        of_slurm = self._folder / "submitit" / f"{self._ids[job.name]}_0_log.err"
        return process.how(job.log if job.log.is_file() and job.log.stat().st_size else of_slurm, 1)

    def stop(self) -> str:
        count, self.running = len(self.running), []
        jobs_go = "1 job goes" if count == 1 else f"{count} jobs go"
        return f"{jobs_go} on in Slurm; the same command comes back to them, --cancel cancels them"

    def cancel(self) -> str:
        if self._ids:
            try:
                asked(["scancel", *self._ids.values()])
            except OSError as error:
                raise ValueError(f"--cancel: {error}; squeue --me shows what is left") from None
        return f"cancelled {len(self._ids)} jobs" if self._ids else "no job of these runs is in Slurm"

    def close(self) -> None:
        """Nothing ends with the command."""


def _id(path: Path, alive: Mapping[str, str]) -> str:
    """Of the job that a file of ours tells of; "" where it was to be submitted and is not in the queue."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if "id" in told:
            return str(told["id"])
        places = (number for number, wave in alive.items() if wave == told["wave"])
        return next((number for number in places if int(number.partition("_")[2] or 0) == told["place"]), "")
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} does not say which job it is of; scancel what squeue --me shows, and remove it"
        ) from None


def queued() -> dict[str, str]:
    """The ids of one's jobs that wait or run, those of arrays as 12_3, with their names. Raises OSError where squeue
    does not say."""
    said = asked(["squeue", "--me", "--noheader", "--array", "--format=%i %j"])
    return {number: name for number, _, name in (line.strip().partition(" ") for line in said.splitlines())}


def asked(command: Sequence[str]) -> str:
    """What a command of Slurm prints. Raises OSError, in one line, where it fails or takes longer than ANSWER."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=ANSWER)
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} took more than {ANSWER:.0f} seconds") from None
    if done.returncode:
        raise OSError((done.stderr.strip() or f"{command[0]} failed").splitlines()[0])
    return done.stdout

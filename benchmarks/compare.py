"""A comparison: contenders live at the same time, do the same work, which is checked, and step in turn; a row each."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import turns
from benchmarks.chips import vendor_peak
from benchmarks.contender import Contender, Running
from training.evaluation import quality

RATIO = ("ratio", "ratio_low", "ratio_high")


def spread(seconds: Sequence[float]) -> dict[str, float]:
    shares = {"p10": 0.1, "median": 0.5, "p90": 0.9}
    return {f"{name}_seconds": float(np.quantile(seconds, share)) for name, share in shares.items()}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The first contender writes what the others begin with; their ratios are of it."""

    name: str
    question: str
    contenders: Sequence[Contender]
    unit: str = "tokens"  # that rates and ratios count, as programs answer: tokens, sentences or steps
    needs: tuple[str, ...] = ()  # options of the command that name folders
    on_gpu: bool = False
    seconds: float = 15.0  # of measuring
    steps: int = 0  # of a turn; 0: as many as fill one, found
    settle: float = 2.0  # in so many seconds of steps
    warm_up: int = turns.WARM_UP  # rounds thrown away
    least: int = 10  # rounds
    bound: float | None = 1e-4  # of losses from the same weights, relative; None: each does work of its own

    @property
    def minutes(self) -> float:
        """An estimate, with 25 seconds for each program to start and to compile."""
        return (self.seconds + 25 * len(self.contenders)) / 60

    def __str__(self) -> str:
        return "\n  ".join([f"{self.name}: {self.question} ({self.minutes:.1f} min)", *map(str, self.contenders)])

    def measure(self) -> dict[str, Any]:
        """A program that fails, or does other work than the first, is noted and the others go on."""
        failed: dict[str, str] = {}
        programs: list[Running] = []
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            for contender in self.contenders:
                program = stack.enter_context(contextlib.closing(Running(contender, folder)))
                try:
                    program.said = program.ask("describe")
                    self.check_same_work([*programs, program][0].said, program.said)
                    program.turn(1)
                    programs.append(program)
                except RuntimeError as error:
                    failed[contender.name] = str(error)
                    if not programs:  # the others would have nothing to begin with
                        break
            how = (self.seconds, self.steps, self.settle, self.warm_up, self.least)
            taken = turns.measure([program.turn for program in programs], *how) if programs else []
            rows = [self.row(program, programs[0], seconds) for program, seconds in zip(programs, taken, strict=True)]
            for row in rows if (folder / "references").exists() else ():
                row["besides"] |= quality_of(folder, row["program"], rows[0]["program"])
        return {"unit": self.unit, "programs": rows, "failed": failed}

    def check_same_work(self, first: dict[str, float], said: dict[str, float]) -> None:
        """Raises RuntimeError where a program has other parameters than the first, or another loss from the same."""
        if self.bound is not None and said["num_params"] != first["num_params"]:
            raise RuntimeError(f"it has {said['num_params']:,} parameters, the first {first['num_params']:,}")
        if self.bound is not None and not np.isclose(said["loss"], first["loss"], rtol=self.bound):
            raise RuntimeError(f"it has a loss of {said['loss']:.6f}, the first {first['loss']:.6f}")

    def paces(self, taken: Sequence[Mapping[str, float]], first: Mapping[str, float]) -> list[float]:
        """Seconds per unit of each turn. The first program reports what is the same in each step."""
        return [turn["seconds"] / turn.get(self.unit, turn["steps"] * first.get(self.unit, 1)) for turn in taken]

    def row(self, program: Running, first: Running, seconds: Sequence[float]) -> dict[str, Any]:
        """The results of a program, by the seconds of a step in each turn that counts; it then quits."""
        ours, paces = (self.paces(one.answers[-len(seconds) :], first.said) for one in (first, program))
        median = float(np.median(seconds))
        besides = {"compiling, s": sum(turn.get("compile_seconds", 0.0) for turn in program.answers)}
        if self.steps and self.unit != "steps":
            besides["first turn, s"] = program.answers[0]["seconds"]
            besides[f"{self.unit} a step"] = median / float(np.median(paces))
        return {
            "program": program.contender.name,
            "num_params": int(program.said["num_params"]),
            "loss": program.said["loss"],
            "rounds": len(paces),
            **spread(seconds),
            **dict(zip(RATIO, turns.ratio_interval(ours, paces), strict=True)),
            "per_second": 1 / float(np.median(paces)),
            "flops_per_second": program.said.get("flops", first.said.get("flops", 0.0)) / median,
            "dtype": program.contender.values.get("model.dtype", "float32"),
            "peak_memory_bytes": int(program.ask("quit")["peak_memory_bytes"]),
            "besides": {key: value for key, value in besides.items() if value},
        }


def quality_of(folder: Path, name: str, first: str) -> dict[str, float]:
    """BLEU of the translations of a program, and how many lines equal those of the first program."""
    files = ("references", f"{name}.hypotheses", f"{first}.hypotheses")
    references, lines, others = ((folder / file).read_text(encoding="utf-8").split("\n")[:-1] for file in files)
    score = quality.Text(lines, references, lowercase=True).scores()["bleu_lowercase"]
    return {"BLEU": score, "as the first": sum(a == b for a, b in zip(lines, others, strict=True))}


def add_shares(cases: dict[str, Any], name: str, kind: str) -> None:
    """To the programs of a case: `matmul_share`, of a large product that was measured before, and `mfu` in bfloat16."""
    for program in (one for one in cases[name]["programs"] if one.get("flops_per_second")):
        if (product := cases.get(f"matmul_{program['dtype']}")) and product["programs"]:
            program["matmul_share"] = program["flops_per_second"] / product["programs"][0]["flops_per_second"]
        if program["dtype"] == "bfloat16" and (peak := vendor_peak(kind)):
            program["mfu"] = program["flops_per_second"] / peak

"""What the architectures do on a GPU: right first, then how fast, beside PyTorch.

    python -m benchmarks.gpu --dry-run                       what would be measured, and for how long
    python -m benchmarks.gpu --minutes=9 --json=gpu.json     again, until nothing is left
    python -m benchmarks.gpu --tiny --json=tiny.json         the same in little, on any machine

1. agreement: every architecture's loss and gradient against a CPU's, in float32 at the highest precision and in
   bfloat16; what comes after is measured only where they agree.
2. matmul: the rate of one large bfloat16 product, which `matmul_share` is of; `mfu` is of the vendor's peak.
3. parts (gpu_parts.py): Transformer-big beside torch and torch.compile, stacks of cells beside cuDNN through torch, the
   surface of throughput over lengths. The programs of a part live together and step in turn.

LONGREACH_PEERS_PYTHON names an interpreter whose PyTorch has CUDA; without one, torch is left out. Results are written
after each part, and a part that is there already is not measured again. No part takes as long as ten minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import agreement, matmul, turns
from benchmarks.cases import flops
from benchmarks.chips import PEAKS, vendor_peak
from benchmarks.gpu_parts import PARTS, START_SECONDS, Entry, Part, tiny
from benchmarks.turns import ROOT, Running, ratio_interval
from data import whole_file
from training.command import cli

TURN_SECONDS, WARM_UP = 0.25, 3  # a turn takes as many steps as fill this; rounds thrown away
LOSS_BOUNDS = {"float32": 1e-3, "bfloat16": 0.02}  # relative, between programs: TF32 on one side or both
AGREEMENT_SECONDS, MATMUL_SECONDS = 240.0, 15.0

Results = dict[str, Any]


def measure(part: Part) -> Results:
    """Runs a part. A program that fails, or does other work than the first, is noted and the others go on."""
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running: list[tuple[Entry, Running, dict[str, float]]] = []
        for number, entry in enumerate(part.entries):
            # One writes the weights that its peers begin with; ours are drawn from a seed, each the same.
            weights = Path(folder) / ("weights.npz" if entry.contender.program != "ours" or not number else "own.npz")
            try:
                process = stack.enter_context(Running(entry.contender, entry.case, weights))
                said = process.ask("describe")
                if part.same_work:
                    check_same_work(part, entry, running[0][2] if running else said, said)
                process.ask("step 1")
            except RuntimeError as error:
                failed[entry.label] = str(error)
                if not number:
                    break
            else:
                running.append((entry, process, said))
        rounds: list[list[float]] = []
        if running:
            processes = [process for _, process, _ in running]
            once = list(turns.rounds(processes, 1, 0))[WARM_UP:]
            steps = max(1, round(TURN_SECONDS / min(np.median(once, axis=0)))) if part.seconds else 1
            rounds = list(turns.rounds(processes, steps, part.seconds))[WARM_UP:]
        programs = [
            summarise(entry, said, [turn[n] for turn in rounds], [turn[0] for turn in rounds])
            | {"peak_memory_bytes": int(process.ask("quit")["peak_memory_bytes"])}
            for n, (entry, process, said) in enumerate(running)
        ]
    return {"question": part.question, "programs": programs, "failed": failed}


def check_same_work(part: Part, entry: Entry, first: dict[str, float], said: dict[str, float]) -> None:
    """Raises RuntimeError where a program has other parameters than the first, or another loss from the same ones."""
    if said["num_params"] != first["num_params"]:
        raise RuntimeError(
            f"{part.name}: {entry.label} has {said['num_params']:,} parameters, the first {first['num_params']:,}"
        )
    if not np.isclose(said["loss"], first["loss"], rtol=LOSS_BOUNDS[entry.case.dtype]):
        raise RuntimeError(
            f"{part.name}: {entry.label} has a loss of {said['loss']:.5f}, the first {first['loss']:.5f}"
        )


def summarise(entry: Entry, said: dict[str, float], seconds: Sequence[float], first: Sequence[float]) -> Results:
    ratio, low, high = ratio_interval(first, seconds)
    p10, median, p90 = (float(np.quantile(seconds, share)) for share in (0.1, 0.5, 0.9))
    return {
        "program": entry.label,
        "rounds": len(seconds),
        "num_params": int(said["num_params"]),
        "loss": said["loss"],
        "median_seconds": median,
        "p10_seconds": p10,
        "p90_seconds": p90,
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
        "flops": flops(entry.case),
        "flops_per_second": flops(entry.case) / median,
        "tokens_per_second": entry.case.tokens / median,
        "dtype": entry.case.dtype,
    }


def add_shares(result: Results, peak: float | None, matmul_rate: float) -> None:
    """`mfu` (over the vendor's peak, where one is known) and `matmul_share` of the programs in bfloat16."""
    for program in result["programs"]:
        if program["dtype"] == "bfloat16":
            program["matmul_share"] = program["flops_per_second"] / matmul_rate
            program["mfu"] = program["flops_per_second"] / peak if peak else None


def agree(names: Sequence[str], on_gpu: bool) -> Results:
    """By architecture and dtype, this machine's device against its CPU in float32."""
    found: Results = {"comparisons": {}}
    with tempfile.TemporaryDirectory() as folder:
        extra = [f"lstm{agreement.CUDNN}"] if on_gpu else []

        def results(platform: str, dtype: str, more: Sequence[str] = ()) -> dict[str, dict[str, np.ndarray]]:
            file = Path(folder) / f"{platform}-{dtype}.npz"
            words = [sys.executable, "-m", "benchmarks.agreement", str(file), dtype, *names, *more]
            variables = os.environ | ({"JAX_PLATFORMS": "cpu"} if platform == "cpu" else {})
            done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(
                    f"agreement, {dtype}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
                )
            return agreement.read(file)

        expected = results("cpu", "float32")
        for dtype in agreement.BOUNDS:
            for name, result in results("device", dtype, extra if dtype == "float32" else ()).items():
                right = expected[name.removesuffix(agreement.CUDNN)]
                found["comparisons"][f"{name}/{dtype}"] = agreement.compare(result, right, dtype)
    found["agrees"] = all(one["agrees"] for one in found["comparisons"].values())
    return found


def torch_has_cuda() -> bool:
    """Whether the peers' interpreter is there and its torch sees a GPU."""
    python = os.environ.get(turns.PYTHON, str(turns.PEERS / "bin" / "python"))
    words = [python, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    try:
        return subprocess.run(words, capture_output=True).returncode == 0
    except OSError:
        return False


Unit = tuple[str, float, Callable[[], Results]]  # name, estimated seconds, what measures it


def units(options: argparse.Namespace, parts: Sequence[Part], on_gpu: bool) -> list[Unit]:
    """All there is to measure, what matters most first."""
    import models

    def of(part: Part) -> Unit:
        return part.name, part.estimated_seconds, lambda: measure(part)

    names, size = tuple(models.MODELS), 8192
    if options.tiny:
        names, size = ("lstm", "transformer"), 256
    surface = [part for part in parts if not part.same_work]
    return [
        ("agreement", AGREEMENT_SECONDS, lambda: agree(names, on_gpu)),
        ("matmul", MATMUL_SECONDS, lambda: {"bfloat16_flops_per_second": matmul.rate(size, "bfloat16"), "size": size}),
        *(of(part) for part in parts if part.same_work),
        *(of(part) for part in surface),
    ]


def plan(parts: Sequence[Part]) -> str:
    """What would be measured: a line for each program, and the minutes in all."""
    lines = [
        f"agreement: every architecture, float32 and bfloat16, against the CPU ({AGREEMENT_SECONDS / 60:.1f} min)",
        f"matmul: 8192 x 8192 x 8192 in bfloat16 ({MATMUL_SECONDS / 60:.1f} min)",
    ]
    for part in parts:
        lines.append(f"{part.name}: {part.question} ({part.estimated_seconds / 60:.1f} min)")
        for entry in part.entries:
            c = entry.case
            lines.append(
                f"  {entry.label}: B={c.batch} T={c.length} D={c.hidden} layers={c.layers} {c.dtype}, "
                f"{flops(c) / 1e12:.3f} TFLOP a step"
            )
    total = AGREEMENT_SECONDS + MATMUL_SECONDS + sum(part.estimated_seconds for part in parts)
    lines.append(f"in all about {total / 60:.0f} minutes, at {START_SECONDS:.0f} s a program to start and to compile")
    lines.append("vendors' peaks: " + ", ".join(f"{name} {peak / 1e12:g}" for name, peak, _ in PEAKS) + " TFLOP/s")
    return "\n".join(lines)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("--minutes", type=float, default=25.0, help="to stop after, between two parts")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="file of results, which is added to")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured")
    parser.add_argument("--tiny", action="store_true", help="every part in little, on any device")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when nothing is left, 1 when something failed or disagreed, 2 for a mistake, 3 for more to do."""
    options = parse(argv)
    parts: Sequence[Part] = tiny(PARTS) if options.tiny else PARTS
    if options.dry_run:
        print(plan(parts))
        return 0
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the programs of a part share the memory
    from training.machine import provenance

    device = provenance.device()
    on_gpu = device["platform"] == "gpu"
    if not on_gpu and not options.tiny:
        print(f"error: there is no GPU, JAX computes on {device['kind']}; use --dry-run or --tiny", file=sys.stderr)
        return 2
    with_torch = turns.has_peers() if options.tiny else torch_has_cuda()
    if not with_torch:
        print(f"torch is left out: {turns.PYTHON} names no interpreter whose torch has CUDA", file=sys.stderr)
        parts = [part.without_torch() for part in parts]
    about = {"commit": provenance.commit(), "device": device, "versions": provenance.versions(), "tiny": options.tiny}
    found: Results = about | {"torch": with_torch, "parts": {}}
    if options.json.exists():
        found = json.loads(options.json.read_text())
        other = [key for key, value in about.items() if found.get(key) != value]
        if other:
            print(f"error: --json = {options.json} holds results of another {other[0]}; give another", file=sys.stderr)
            return 2
    return run(options, parts, found, on_gpu)


def run(options: argparse.Namespace, parts: Sequence[Part], found: Results, on_gpu: bool) -> int:
    """Measures what is not in `found` yet, while there is time, and writes it there."""
    begun, wrong = time.monotonic(), False
    for name, estimate, work in units(options, parts, on_gpu):
        if name not in found["parts"]:
            if time.monotonic() - begun + estimate > options.minutes * 60:
                print(f"stopped before {name} for want of time; the same command goes on", file=sys.stderr)
                return 3
            print(f"{name}: about {estimate / 60:.1f} min", file=sys.stderr, flush=True)
            try:
                result = work()
            except RuntimeError as error:
                result = {"failed": {name: str(error)}}
            if "programs" in result:
                rate = found["parts"]["matmul"]["bfloat16_flops_per_second"]
                add_shares(result, vendor_peak(found["device"]["kind"]), rate)
            found["parts"][name] = result
            whole_file.write_text(options.json, json.dumps(found, indent=1) + "\n")
        result = found["parts"][name]
        print(lines_of(name, result), flush=True)
        if name == "agreement" and not result.get("agrees"):
            print("error: not every architecture agrees with the CPU; nothing is measured", file=sys.stderr)
            return 1
        wrong |= bool(result.get("failed"))
    return int(wrong)


def lines_of(name: str, result: Results) -> str:
    """A part's results in words."""
    lines = []
    for program in result.get("programs", ()):
        line = (
            f"  {program['program']}: {1e3 * program['median_seconds']:.2f} ms "
            f"({1e3 * program['p10_seconds']:.2f} to {1e3 * program['p90_seconds']:.2f}), "
            f"{program['ratio']:.2f} ({program['ratio_low']:.2f} to {program['ratio_high']:.2f}) times the first, "
            f"{program['tokens_per_second']:,.0f} tokens/s, {program['peak_memory_bytes'] / 2**20:,.0f} MiB"
        )
        if "matmul_share" in program:
            mfu = "no peak known" if program["mfu"] is None else f"MFU {program['mfu']:.1%}"
            line += f", {mfu}, {program['matmul_share']:.1%} of the matmul rate"
        lines.append(line)
    for key, one in result.get("comparisons", {}).items():
        lines.append(
            f"  {key}: {'agrees' if one['agrees'] else 'DISAGREES'} (loss {one['loss_error']:.1e}, "
            f"gradient cosine {one['gradient_cosine']:.6f}, size {one['gradient_size']:.5f})"
        )
    lines += [f"  {label}: failed, {why}" for label, why in result.get("failed", {}).items()]
    known = ("programs", "comparisons", "failed", "question")
    lines += [f"  {key}: {value}" for key, value in result.items() if key not in known]
    return "\n".join([name, *lines])


if __name__ == "__main__":
    sys.exit(main())

"""Loss and gradient of every architecture on this machine's device against its CPU's, in float32 and in bfloat16."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import models
from benchmarks.cases import step
from benchmarks.compare import Comparison
from benchmarks.contender import Contender, config_of
from data.spec import Spec
from training.step.losses import cross_entropy

B, S, T, V = 8, 24, 16, 64
BOUNDS = {"float32": (1e-4, 0.99999), "bfloat16": (0.03, 0.99)}  # of the loss, relative; of the gradients' cosine
Computed = tuple[float, np.ndarray]


def compute(contender: Contender, platform: str | None = None) -> Computed:
    """(loss, gradient of all parameters, flat) on the first device of a platform, in float32 at the highest precision.
    Parameters and batch are drawn by numpy; sources are padded on both sides, and one is padding alone."""
    config = config_of(contender).model
    spec = Spec("tokens", V, V, "tokens", V, S, T, free_running=True, shared_vocabulary=True, eos=2)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(config.name, config, spec, jax.random.key(0))))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: (random.normal(size=leaf.shape) * 0.1).astype(np.float32), shapes)
    source, target_in, target_out = (random.integers(3, V, (B, length)) for length in (S, T, T))
    first, last = random.integers(0, S // 3, B)[:, None], random.integers(S // 2, S, B)[:, None]
    mask = (first <= np.arange(S)) & (np.arange(S) < last) & (np.arange(B)[:, None] > 0)

    def loss(params, *batch):
        return cross_entropy(nnx.merge(graph, params)(*batch).logits, jnp.asarray(target_out)).loss.mean()

    precision = jax.default_matmul_precision("highest" if config.dtype == "float32" else "default")
    with precision, jax.default_device(jax.devices(platform)[0]):
        value, gradient = jax.jit(jax.value_and_grad(loss))(params, source, mask, target_in)
    return float(value), np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


def compare(found: Computed, expected: Computed, dtype: str) -> dict[str, float]:
    """How far two results lie apart. Raises RuntimeError where that is beyond the bounds of `dtype`."""
    g, h = found[1].astype(np.float64), expected[1].astype(np.float64)
    loss, size = abs(found[0] / expected[0] - 1), float(np.linalg.norm(g) / np.linalg.norm(h))
    said = {"loss error": loss, "gradient cosine": float(g @ h) / float(h @ h) / size, "gradient size": size}
    most, least = BOUNDS[dtype]
    if not (loss <= most and said["gradient cosine"] >= least and abs(size - 1) <= max(10 * most, 1e-3)):
        raise RuntimeError(f"it disagrees with the CPU: {', '.join(f'{key} {one:.6g}' for key, one in said.items())}")
    return said


class Agreement(Comparison):
    """The check before measurements on a GPU: if something disagrees, nothing is measured."""

    @property
    def minutes(self) -> float:
        return 4.0  # an estimate, for a GPU beside eight cores or more

    def measure(self) -> dict[str, Any]:
        # Compiling takes most of the time. Not threads: one's kernel spoils the CUDA graph that another records.
        with ProcessPoolExecutor(min(8, os.cpu_count() or 1), get_context("spawn")) as pool:
            found = list(pool.map(against_cpu, self.contenders))
        rows = [{"program": name, "besides": said} for agreed, _ in found for name, said in agreed.items()]
        failed = {name: why for _, mine in found for name, why in mine.items()}
        return {"unit": self.unit, "programs": rows, "failed": failed}


def against_cpu(ours: Contender) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """By name, an architecture in each dtype: (what `compare` says, why others failed)."""
    cudnn = "model.backend" in ours.values  # which has float32 alone
    expected = compute(ours.but("on the CPU", **({"model__backend": "scan"} if cudnn else {})), "cpu")
    agreed: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for dtype in ("float32",) if cudnn else BOUNDS:
        name = f"{ours.name} {dtype}"
        try:
            agreed[name] = compare(compute(ours.but(name, model__dtype=dtype)), expected, dtype)
        except (RuntimeError, ValueError) as error:
            failed[name] = next(iter(str(error).splitlines()), repr(error))
    return agreed, failed


def agreement() -> Agreement:
    fit = [name for name, kind in models.MODELS.items() if "sequence" in kind.layouts and not kind.counted]
    ours = [step(name, B, T, 64, 2, V).but(name) for name in fit]
    ours.append(step("lstm", B, T, 64, 2, V).but("lstm, cuDNN", model__backend="cudnn"))
    return Agreement("agreement", "loss and gradient against the CPU's", ours, on_gpu=True)

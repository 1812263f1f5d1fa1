"""Loss and gradient of every architecture on this machine's device, for a comparison with another's.

    JAX_PLATFORMS=cpu python -m benchmarks.agreement cpu.npz float32 [ARCHITECTURE...]
    python -m benchmarks.agreement gpu.npz bfloat16

Parameters and batch are drawn by numpy, so they are the same everywhere. Sources are padded on both sides, and one is
padding alone. `lstm:cudnn` is an LSTM by that back-end.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.command import cli

B, S, T, V, WIDTH, HEADS = 8, 24, 16, 64, 64, 2
BOUNDS = {"float32": (1e-4, 0.99999), "bfloat16": (0.03, 0.99)}  # of the loss, relative; of the gradients' cosine
CUDNN = ":cudnn"


def compute(name: str, dtype: str) -> dict[str, np.ndarray]:
    """{"loss": (), "gradient": all of it, flat} of one architecture."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    import models
    from data.spec import Spec
    from training.step.losses import cross_entropy

    architecture = name.removesuffix(CUDNN)
    config = models.configured(architecture)
    models.set_width(config, WIDTH)
    config.dtype = dtype
    if "num_heads" in config:
        config.num_heads = HEADS
    if name.endswith(CUDNN):
        config.backend = "cudnn"
    spec = Spec("tokens", V, V, "tokens", V, S, T, free_running=True, shared_vocabulary=True, eos=2)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(architecture, config, spec, jax.random.key(0))))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape) * 0.1, jnp.float32), shapes)
    source, target_in, target_out = (jnp.asarray(random.integers(3, V, (B, length))) for length in (S, T, T))
    first, last = random.integers(0, S // 3, B)[:, None], random.integers(S // 2, S, B)[:, None]
    mask = jnp.asarray((first <= np.arange(S)) & (np.arange(S) < last) & (np.arange(B)[:, None] > 0))

    def loss(params):
        logits = nnx.merge(graph, params)(source, mask, target_in).logits
        return cross_entropy(logits, target_out).loss.mean()

    with jax.default_matmul_precision("highest" if dtype == "float32" else "default"):
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
    return {"loss": np.asarray(value), "gradient": flat}


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], dtype: str) -> dict[str, float | bool]:
    """How far two results of `compute` lie apart, and whether that is within the bounds of `dtype`."""
    g, h = found["gradient"].astype(np.float64), expected["gradient"].astype(np.float64)
    loss = abs(float(found["loss"]) / float(expected["loss"]) - 1)
    cosine = float(g @ h / np.linalg.norm(g) / np.linalg.norm(h))
    size = float(np.linalg.norm(g) / np.linalg.norm(h))
    most, least = BOUNDS[dtype]
    agrees = loss <= most and cosine >= least and abs(size - 1) <= max(10 * most, 1e-3)
    return {"loss_error": loss, "gradient_cosine": cosine, "gradient_size": size, "agrees": bool(agrees)}


def read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """By architecture, what `main` wrote."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            name, part = key.split("/")
            found.setdefault(name, {})[part] = arrays[key]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("dtype", choices=tuple(BOUNDS))
    parser.add_argument("names", nargs="*", metavar="ARCHITECTURE")
    options = parser.parse_args(argv)
    import models

    arrays: dict[str, Any] = {}
    for name in options.names or models.MODELS:
        arrays |= {f"{name}/{part}": value for part, value in compute(name, options.dtype).items()}
    np.savez(options.file, **arrays)


if __name__ == "__main__":
    main()

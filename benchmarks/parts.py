"""Our program for parts of architectures: a stack of cells alone, as `nn.GRU` is; (`core`) causal attention between
its projections; or (`product`) a product of two matrices, which says what the machine can do.

Dims: B batch, T tokens, D features, H heads, K head width.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from benchmarks.contender import Contender, config_of
from benchmarks.handover import leave
from benchmarks.protocol import Program
from models.attention import Keys
from models.banded_attention import Band, attend_banded
from models.cells import Cell, GRUCell, LSTMCell, TanhCell
from models.positions import POSITIONS
from models.recurrent import RecurrentStack, swap
from models.tiled_attention import Tiles, attend_tiled
from training.machine import backend, mesh, provenance
from training.step import optimizer, params

CELLS: dict[str, type[Cell]] = {"rnn": TanhCell, "gru": GRUCell, "lstm": LSTMCell}


class Stack(nnx.Module):
    """Features (B, T, D) in, hidden states (B, T, H) out."""

    def __init__(self, config: ConfigDict):
        rngs = nnx.Rngs(params=jax.random.key(0))
        self.stack = RecurrentStack(CELLS[config.name], config, config.hidden_size, rngs=rngs)

    def __call__(self, inputs_BTD):
        outputs_TBH, _ = self.stack((swap(inputs_BTD),), None, self.stack.zeros(inputs_BTD.shape[0]))
        return swap(outputs_TBH)


def training(config: ConfigDict, folder: Path) -> Program:
    """The optimizer of train.py on a squared error."""
    model, transform, devices = Stack(config.model), optimizer.transformation(config.optimizer), mesh.make()
    skeleton, weights, random = params.Skeleton(model), params.flatten(model), np.random.default_rng(0)
    shape = (config.batch_size, config.data.max_length, config.model.hidden_size)
    batch = {name: random.standard_normal(shape, np.float32) for name in ("inputs", "targets")}
    leave(folder, config.to_json(), weights, batch)

    def loss_of(weights, batch):
        return jnp.square(skeleton(weights)(batch["inputs"]) - batch["targets"]).mean()

    def update(state, batch):
        weights, moments = state
        updates, moments = transform.update(jax.grad(loss_of)(weights, batch), moments, weights)
        return jax.tree.map(lambda p, u: p + config.optimizer.learning_rate * u, weights, updates), moments

    placed, compiled = mesh.put(batch, mesh.by_rows(devices)), jax.jit(mesh.within(devices, update), donate_argnums=0)
    held = {"state": jax.device_put((weights, transform.init(weights)), mesh.replicated(devices))}
    loss, tokens = float(jax.jit(loss_of)(held["state"][0], placed)), shape[0] * shape[1]
    flops = 6 * tokens * sum(array.size for name, array in weights.items() if "kernel" in name)

    def step() -> None:
        held["state"] = compiled(held["state"], placed)

    said = {"num_params": params.count(weights), "loss": loss, "tokens": tokens, "flops": flops}
    return Program(said, step, lambda: jax.block_until_ready(held), provenance.device_memory_bytes)


def core(config: ConfigDict, folder: Path) -> Program:
    """softmax(Q K^T / sqrt(K)) V of all earlier tokens, or of `local_attention`'s, and the gradients of a squared
    error with respect to Q, K and V."""
    B, H, T, D = config.batch_size, config.model.num_heads, config.data.max_length, config.model.hidden_size
    devices, random, shape = mesh.make(), np.random.default_rng(0), (B, H, T, D // H)
    names = ("query", "key", "value", "target")
    batch = {name: random.standard_normal(shape, np.float32) for name in names}
    leave(folder, config.to_json(), {}, batch)
    none = POSITIONS["none"](T, D, H, nnx.Rngs(0))

    def attend(query_BHTK: jax.Array, keys: Keys) -> jax.Array:
        if config.model.mixers == "attention":
            return attend_tiled(query_BHTK, *keys, Tiles(None, causal=True))
        local = config.model.local_attention
        band = Band(local.window, local.dilation, (D // H) ** -0.5, none)
        return attend_banded(query_BHTK, keys, jnp.zeros(1, int), band)

    def loss_of(read: tuple[jax.Array, ...], target_BHTK: jax.Array) -> jax.Array:
        query_BHTK, key_BHTK, value_BHTK = read
        return jnp.square(attend(query_BHTK, Keys(key_BHTK, value_BHTK)) - target_BHTK).mean()

    *read, target = mesh.put([batch[name] for name in names], mesh.by_rows(devices))
    gradients = jax.jit(mesh.within(devices, jax.grad(loss_of)))
    held = dict[str, tuple[jax.Array, ...]]()
    w = T if config.model.mixers == "attention" else min(T, config.model.local_attention.window)
    flops = 7 * 2 * B * D * (w * T - w * (w - 1) // 2)  # two products forward, five backward, of what is visible
    said = {"num_params": 0, "loss": float(jax.jit(loss_of)(tuple(read), target)), "tokens": B * T, "flops": flops}

    def step() -> None:
        held["last"] = gradients(tuple(read), target)

    return Program(said, step, lambda: jax.block_until_ready(held), provenance.device_memory_bytes)


def product(config: ConfigDict) -> Program:
    """Of square matrices as large as the hidden size."""
    size, held = config.model.hidden_size, dict[str, jax.Array]()
    x, multiply = jnp.ones((size, size), config.model.dtype), jax.jit(lambda x: x @ x)
    said, wait = {"num_params": 0, "loss": 0.0, "flops": 2 * size**3}, lambda: jax.block_until_ready(held)
    return Program(said, lambda: held.update(last=multiply(x)), wait, provenance.device_memory_bytes)


def program(case: Contender, folder: Path) -> Program:
    config = config_of(case)
    backend.configure(folder / "run", config.keep_pages, config.cpu_devices, config.deterministic)
    if case.setting == "product":
        return product(config)
    return core(config, folder) if case.setting == "core" else training(config, folder)

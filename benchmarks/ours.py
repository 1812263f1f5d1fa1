"""Our program for a case: the models of `models/`, the optimizer and the step of `training/`."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

import models
from benchmarks import protocol
from benchmarks.cases import ATTENTION_SIZE, Case, batch
from benchmarks.protocol import Program
from configs import common
from data.spec import Spec
from models.cells import GRUCell, LSTMCell, TanhCell
from models.recurrent import RecurrentStack, swap
from training.machine import backend, mesh, provenance
from training.step import optimizer, params, train_step

CELLS = {"rnn": TanhCell, "gru": GRUCell, "lstm": LSTMCell}


def config_of(case: Case) -> ConfigDict:
    """A run's config with the sizes of the case; Adam at 1e-3, nothing else that a peer lacks."""
    config = common.base("benchmark", case.model)
    config.model = models.configured(case.model)
    config.batch_size, config.steps, config.cpu_devices = case.batch, 10**6, case.devices
    config.keep_pages = case.keep_pages
    config.schedule.name, config.schedule.warmup_steps, config.optimizer.clip_norm = "constant", 0, 0.0
    config.optimizer.update({"b1": 0.9, "b2": 0.999, "eps": 1e-8})
    config.label_smoothing = case.label_smoothing
    config.every.update({"log": 10**6, "eval": 10**6, "save": 10**6})
    config.model.update({"hidden_size": case.hidden, "num_layers": case.layers, "dropout_rate": case.dropout})
    config.model.dtype = case.dtype
    if "num_heads" in config.model:
        sizes = {"num_heads": case.heads, "mlp_dim": case.mlp}
        config.model.update(sizes | {"attention_dropout_rate": case.attention_dropout_rate})
    else:
        config.model.embed_size = case.hidden
    if case.backend:
        config.model["fused_attention" if "num_heads" in config.model else "backend"] = case.backend
    if case.model == "gru_attention":
        config.model.update({"bidirectional": True, "attention": {"size": ATTENTION_SIZE}})
    return config


class Stack(nnx.Module):
    """A stack of cells alone, as `nn.GRU` is: features (B, T, D) in, hidden states (B, T, H) out."""

    def __init__(self, config: Any, kind: Any):
        self.stack = RecurrentStack(kind, config, config.hidden_size, rngs=nnx.Rngs(params=jax.random.key(0)))

    def __call__(self, inputs_BTD):
        outputs_TBH, _ = self.stack((swap(inputs_BTD),), None, self.stack.zeros(inputs_BTD.shape[0]))
        return swap(outputs_TBH)


def build_stack(case: Case, config: ConfigDict) -> tuple[params.Params, Any, Any, dict]:
    """(parameters, loss, step, batch) of a stack and a squared error."""
    model = Stack(config.model, CELLS[case.model])
    skeleton, transform = params.Skeleton(model), optimizer.transformation(config.optimizer)

    def loss(weights, arrays):
        return jnp.square(skeleton(weights)(arrays["inputs"]) - arrays["targets"]).mean()

    def train_step(state, arrays, dials):
        value, gradients = jax.value_and_grad(loss)(state["params"], arrays)
        updates, after = transform.update(gradients, state["optimizer"], state["params"])
        weights = jax.tree.map(lambda p, u: p + dials.learning_rate * u, state["params"], updates)
        return state | {"params": weights, "optimizer": after}, {"loss": value}

    return params.flatten(model), loss, train_step, batch(case)


def build_model(case: Case, config: ConfigDict) -> tuple[params.Params, Any, Any, dict]:
    """(parameters, loss, step, batch) of an encoder-decoder, as `train.py` has them."""
    spec = Spec(
        "none" if case.is_decoder else "tokens",
        case.vocab,
        case.vocab,
        "tokens",
        case.vocab,
        case.length,
        case.length,
        free_running=True,
        shared_vocabulary=True,
        eos=2,
    )
    model = models.build(case.model, config.model, spec, jax.random.key(0))
    skeleton = params.Skeleton(model)
    arrays = batch(case)
    arrays["source_mask"] = np.ones_like(arrays["source"], bool)
    arrays["target_weights"] = np.ones_like(arrays["target_out"], np.float32)

    def loss(weights, arrays):
        scores = train_step.LOSSES["cross_entropy"](
            train_step.forward(skeleton(weights), arrays).logits, arrays["target_out"], case.label_smoothing
        )
        return scores.loss.mean()

    return params.flatten(model), loss, train_step.make_train_step(skeleton, spec, config), arrays


def build(case: Case, weights_file: Path | None = None) -> Program:
    """The program; writes the weights that the peers are to begin with."""
    config = config_of(case)
    weights, loss, train_step, arrays = (build_stack if case.is_stack else build_model)(case, config)
    if weights_file:
        named: dict[str, Any] = {name: np.asarray(array) for name, array in weights.items()}
        np.savez(weights_file, **named)
    devices = mesh.make()
    placed = mesh.put(arrays, mesh.by_rows(devices))
    state = jax.device_put(train_step.initial_state(weights, config.optimizer), mesh.replicated(devices))
    before, dials = jax.jit(loss)(state["params"], placed), train_step.make_dials(config)(0)
    held = {"state": state}
    compiled = jax.jit(mesh.within(devices, train_step), donate_argnums=0).lower(state, placed, dials).compile()

    def take() -> None:
        held["state"], _ = compiled(held["state"], placed, dials)

    return Program(
        params.count(weights),
        lambda: float(before),
        take,
        lambda: jax.block_until_ready(held["state"]),
        provenance.device_memory_bytes,
    )


def main() -> None:
    case, setting, weights_file = protocol.arguments(Case)
    if setting != "tuned":  # that is for peers: what `train.py` does is our default
        config = config_of(case)
        config.keep_pages &= setting != "freed"
        backend.configure(config, weights_file.parent / "run")
    protocol.serve(build(case, weights_file))


if __name__ == "__main__":
    main()

"""The training step and the evaluation step: pure functions of arrays.

A training step is the gradients of a batch and the update that they lead to. Where batches have one shape the two are
one program. Where they have several, only the gradients are compiled for each: the update does not see the batch.

A state is one dict: `params` and, where asked, `ema` (flat, see training/step/params.py), `optimizer`, `step`.
Seed, learning rate and which steps are logged are inputs of the compiled step (`Dials`), so runs of one architecture
share one compilation. Losses and weights are summed over devices and
micro-batches, then divided once.

Dims: B batch, T target length, A micro-batches.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict, FrozenConfigDict

from models.contract import Architecture, Output, Spec
from training.step import optimizer
from training.step.intervals import due
from training.step.losses import LOSSES, in_parts
from training.step.params import Params, Skeleton

BLOCK = 1024  # steps whose learning rates are computed together

State = dict[str, Any]
Arrays = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is updated: the keys of a config that decide it."""

    seed: int
    steps: int
    every: ConfigDict
    optimizer: ConfigDict
    schedule: ConfigDict
    label_smoothing: float
    loss_positions: int

    @classmethod
    def of(cls, config: ConfigDict) -> "Recipe":
        return cls(**{field.name: config[field.name] for field in dataclasses.fields(cls)})

    def of_programs(self) -> "Recipe":
        """What the compiled step depends on, and nothing else: runs that differ in the rest share it. Hashable."""
        nothing = FrozenConfigDict()
        optimizer = FrozenConfigDict({key: value for key, value in self.optimizer.items() if key != "learning_rate"})
        return Recipe(0, 0, nothing, optimizer, nothing, self.label_smoothing, self.loss_positions)


class Dials(NamedTuple):
    """The numbers of one step, host scalars that the step sees as traced ones."""

    seed: np.uint32 | jax.Array
    learning_rate: np.float32 | jax.Array
    logged: np.bool_ | jax.Array  # norms by module are worth their time only where a line is written


Scalar = jax.Array | np.uint32 | np.float32
Sums = Mapping[str, Scalar]
GradientStep = Callable[[Params, Arrays, Scalar, Scalar], tuple[Params, Sums]]
UpdateStep = Callable[[State, Params, Sums, Dials], tuple[State, dict]]
TrainStep = Callable[[State, Arrays, Dials], tuple[State, dict]]


def make_dials(recipe: Recipe) -> Callable[[int], Dials]:
    """Returns number of steps done -> the dials of the next one."""
    seed = np.uint32(recipe.seed)

    @functools.lru_cache(maxsize=1)
    def rates(block: int) -> np.ndarray:
        return optimizer.learning_rates(
            recipe.schedule, recipe.optimizer.learning_rate, recipe.steps, block * BLOCK, BLOCK
        )

    def dials(done: int) -> Dials:
        return Dials(seed, rates(done // BLOCK)[done % BLOCK], np.bool_(due(recipe.every, recipe.steps, done + 1).log))

    return dials


def initial_state(params: Params, asked: ConfigDict) -> State:
    """The state before the first step, with an average of the parameters where `config.optimizer` asks for one."""
    moments = optimizer.transformation(asked).init(params)
    state = {"params": params, "optimizer": moments, "step": jnp.zeros((), jnp.int32)}
    if asked.ema_decay:
        state["ema"] = jax.tree.map(jnp.copy, params)
    return state


def forward(model: Architecture, batch: Arrays, key: jax.Array | None = None) -> Output:
    """The teacher-forced output for a batch."""
    return model(batch["source"], batch["source_mask"], batch["target_in"], key=key)


def make_train_step(skeleton: Skeleton, spec: Spec, recipe: Recipe) -> TrainStep:
    """Returns (state, batch, dials) -> (state, metrics), both halves in one. Jit it with the state donated."""
    gradients, update = make_gradients(skeleton, spec, recipe), make_update(recipe)

    def train_step(state: State, batch: Arrays, dials: Dials) -> tuple[State, dict]:
        return update(state, *gradients(state["params"], batch, dials.seed, state["step"]), dials)

    return train_step


def make_gradients(skeleton: Skeleton, spec: Spec, recipe: Recipe) -> GradientStep:
    """Returns (params, batch, seed, step) -> (gradients, metrics), both summed over the batch's weighted positions."""
    score, smoothing = LOSSES[spec.loss], recipe.label_smoothing
    micro_batches = recipe.optimizer.accumulation

    def summed_loss(params: Params, batch: Arrays, key: jax.Array):
        model, target_BT, weights_BT = skeleton(params), batch["target_out"], batch["target_weights"]
        output = forward(model, batch, key)
        if recipe.loss_positions:  # the logits of the whole output are then not read, so not computed
            scores = in_parts(score, model.logits, output.readout, target_BT, smoothing, recipe.loss_positions)
        else:
            scores = score(output.logits, target_BT, smoothing)
        sums = {
            "nll": (scores.nll * weights_BT).sum(),
            "token_accuracy": (scores.correct * weights_BT).sum(),
            "weight": weights_BT.sum(),
        }
        loss = (scores.loss * weights_BT).sum()
        return loss, sums | {"loss": loss}

    def gradients(params: Params, batch: Arrays, seed: Scalar, step: Scalar) -> tuple[Params, Sums]:
        """Sums over micro-batches; row b is in micro-batch b mod A."""
        key = jax.random.fold_in(jax.random.key(seed), step)
        gradient = jax.grad(summed_loss, has_aux=True)
        if micro_batches == 1:
            return gradient(params, batch, key)
        # Taking every A-th row leaves each device its own rows, so that nothing moves between devices.
        split = {
            name: x.reshape(x.shape[0] // micro_batches, micro_batches, *x.shape[1:]).swapaxes(0, 1)
            for name, x in batch.items()
        }

        def add(total, micro):
            index, part = micro
            return jax.tree.map(jnp.add, total, gradient(params, part, jax.random.fold_in(key, index))), None

        first = jax.tree.map(lambda x: x[0], split)
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(gradient, params, first, key))
        return jax.lax.scan(add, zero, (jnp.arange(micro_batches), split))[0]

    return gradients


def make_update(recipe: Recipe) -> UpdateStep:
    """Returns (state, gradients, sums, dials) -> (state, metrics), of what `make_gradients` gives.

    Metrics, all scalars: `loss` (with label smoothing) and `nll`, in nats or squared error a weighted position;
    `token_accuracy`; `gradient_norm` before clipping; `learning_rate`; and, on steps that are logged,
    `gradient_norm/MODULE` and `update_ratio` (|update| / |params|), which are zero on the steps between.
    """
    transform, decay = optimizer.transformation(recipe.optimizer), recipe.optimizer.ema_decay

    def update(state: State, gradients: Params, sums: Sums, dials: Dials) -> tuple[State, dict]:
        params, step = state["params"], state["step"]
        weight = jnp.maximum(sums["weight"], 1.0)
        gradients = jax.tree.map(lambda g: g / weight, gradients)
        updates, new_optimizer = transform.update(gradients, state["optimizer"], params)
        updates = jax.tree.map(lambda u: dials.learning_rate * u, updates)
        new = {
            "params": optax.apply_updates(params, updates),
            "optimizer": new_optimizer,
            "step": step + 1,
        }
        if decay:
            # Kingma & Ba's bias correction in another form: a short average while there is little to average.
            ramp = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
            new["ema"] = jax.tree.map(lambda old, p: ramp * old + (1 - ramp) * p, state["ema"], new["params"])
        metrics: dict[str, Scalar] = {name: total / weight for name, total in sums.items() if name != "weight"}
        metrics |= {"gradient_norm": optax.tree.norm(gradients), "learning_rate": dials.learning_rate}
        metrics |= jax.lax.cond(dials.logged, _norms, _no_norms, params, gradients, updates)
        return new, metrics

    return update


def _by_module(tree: Params) -> dict[str, Params]:
    """Groups a flat dict by the first name of its paths."""
    groups: dict[str, Params] = {}
    for name, array in tree.items():
        groups.setdefault(name.split("/")[0], {})[name] = array
    return groups


def _norms(params: Params, gradients: Params, updates: Params) -> dict[str, jax.Array]:
    norms = {f"gradient_norm/{module}": optax.tree.norm(part) for module, part in _by_module(gradients).items()}
    return norms | {"update_ratio": optax.tree.norm(updates) / optax.tree.norm(params)}


def _no_norms(params: Params, gradients: Params, updates: Params) -> dict[str, jax.Array]:
    names = [f"gradient_norm/{module}" for module in _by_module(gradients)] + ["update_ratio"]
    return {name: jnp.zeros(()) for name in names}


def make_eval_step(skeleton: Skeleton, spec: Spec) -> Callable[[Params, Arrays], dict[str, jax.Array]]:
    """Returns (params, batch) -> per position `nll`, `correct` and `prediction`, all (B, T)."""
    score = LOSSES[spec.loss]

    def eval_step(params: Params, batch: Arrays) -> dict[str, jax.Array]:
        logits_BTV = forward(skeleton(params), batch).logits
        scores = score(logits_BTV, batch["target_out"])
        if spec.loss == "mse":
            return {"nll": scores.nll, "correct": scores.correct, "prediction": logits_BTV[..., 0]}
        prediction_BT = logits_BTV.argmax(axis=-1)
        return {"nll": scores.nll, "correct": prediction_BT == batch["target_out"], "prediction": prediction_BT}

    return eval_step

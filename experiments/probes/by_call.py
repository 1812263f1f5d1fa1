"""Trains a recurrent model with one call from Python per time step, forward and backward. This is what a loop over a
cell does in an eager framework, except that each call here is one compiled program.

The model is not changed: `step` is the one that decodes. The backward pass recomputes each step from the state before.

Dims: B batch, N = S + T tokens of source and target.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from data.batch import Batch
from experiments.probes.compiled import compiled
from models.contract import Architecture, Spec
from training.machine import mesh
from training.step import optimizer, params
from training.step.losses import LOSSES
from training.step.params import Params
from training.step.train_step import Recipe


class ByCall:
    """Updates a model's parameters again and again on one batch."""

    def __init__(self, model: Architecture, options: ConfigDict, spec: Spec, recipe: Recipe, batch: Batch):
        """`options` are the model's config. Raises ValueError for what cannot be read token by token: padding, a source
        with its own table, dropout."""
        name = options.name
        one_table = spec.source == "none" or (spec.shared_vocabulary and options.tie_embeddings)
        if not one_table or not batch["source_mask"].all() or (batch["target_in"] == spec.pad).any():
            raise ValueError(f"by_call: {name} cannot read this batch token by token; use one table and no padding")
        if any(options.get(rate, 0.0) for rate in ("dropout_rate", "input_dropout_rate", "output_dropout_rate")):
            raise ValueError(f"by_call: {name} has dropout, which step has not; set its rates to 0")
        devices = mesh.make()
        skeleton, score, transform = (
            params.Skeleton(model),
            LOSSES[spec.loss],
            optimizer.transformation(recipe.optimizer),
        )
        source_B0 = np.zeros((len(batch["source"]), 0), np.int32)
        memory, self._state = model.start(jnp.asarray(source_B0), jnp.asarray(source_B0 > 0), 1)

        def step(weights: Params, token_B, state):
            return skeleton(weights).step(token_B, jnp.zeros((), jnp.int32), memory, state)

        def forward(weights: Params, token_B, state):
            return step(weights, token_B, state)[1]

        def backward(weights: Params, gradients: Params, inputs, state, dafter):
            token_B, target_B, weight_B = inputs

            def loss(weights, state):
                logits_BV, after = step(weights, token_B, state)
                nll_B1 = score(logits_BV[:, None], target_B[:, None], recipe.label_smoothing).loss
                return (nll_B1[:, 0] * weight_B).sum(), after

            value, transposed = jax.vjp(loss, weights, state)
            dweights, dstate = transposed((jnp.ones_like(value[0]), dafter))
            return jax.tree.map(jnp.add, gradients, dweights), dstate

        def update(weights: Params, moments: optax.OptState, gradients: Params, total):
            gradients = jax.tree.map(lambda g: g / total, gradients)
            updates, moments = transform.update(gradients, moments, weights)
            rate = recipe.optimizer.learning_rate
            return optax.apply_updates(weights, jax.tree.map(lambda u: rate * u, updates)), moments

        S = batch["source"].shape[1]
        tokens_NB = np.concatenate([batch["source"], batch["target_in"]], axis=1).T
        zeros_SB = np.zeros((S, len(tokens_NB[0])), np.int32)
        targets_NB = np.concatenate([zeros_SB, batch["target_out"].T])
        weights_NB = np.concatenate([zeros_SB.astype(np.float32), batch["target_weights"].T])

        def put(rows_NB: np.ndarray) -> list[jax.Array]:
            return [mesh.put(np.ascontiguousarray(row_B), mesh.by_rows(devices)) for row_B in rows_NB]

        self._inputs = list(zip(put(tokens_NB), put(targets_NB), put(weights_NB), strict=True))
        self._total = jnp.float32(batch["target_weights"].sum())
        whole = mesh.replicated(devices)
        self.weights: Params = jax.device_put(jax.tree.map(jnp.copy, params.flatten(model)), whole)
        self._moments = jax.device_put(transform.init(self.weights), whole)
        self._state = jax.device_put(self._state, mesh.by_rows(devices))
        self._nothing = jax.tree.map(jnp.zeros_like, self._state)
        zeros = jax.tree.map(jnp.zeros_like, self.weights)
        self._zeros = jax.jit(lambda: jax.tree.map(jnp.zeros_like, zeros), out_shardings=whole)
        first, state = self._inputs[0], self._state
        programs = [
            compiled(mesh.within(devices, forward), self.weights, first[0], state),
            compiled(mesh.within(devices, backward), self.weights, zeros, first, state, state, donate=(1,)),
            compiled(mesh.within(devices, update), self.weights, self._moments, zeros, self._total, donate=(0, 1)),
        ]
        (self._forward, self._backward, self._update), seconds, sizes = zip(*programs, strict=True)
        kept = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) * len(self._inputs)
        self.compile_seconds, self.program_bytes = sum(seconds), max(sizes) + kept

    def step(self) -> Params:
        """One update; returns the new parameters."""
        states = [self._state]
        for token_B, _, _ in self._inputs[:-1]:
            states.append(self._forward(self.weights, token_B, states[-1]))
        gradients, dstate = self._zeros(), self._nothing
        for inputs, state in zip(reversed(self._inputs), reversed(states), strict=True):
            gradients, dstate = self._backward(self.weights, gradients, inputs, state, dstate)
        self.weights, self._moments = self._update(self.weights, self._moments, gradients, self._total)
        return self.weights

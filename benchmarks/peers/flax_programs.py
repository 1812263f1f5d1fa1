"""Flax NNX as its documentation shows it: `nnx.RNN` with its cells, an attention seq2seq whose decoder is a `nnx.scan`
over its GRU cell, and a Transformer of its layers.

`tuned` has our allocator's settings.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.handover import Weights, read, renamed
from benchmarks.protocol import Program
from models.positions import sinusoids
from training.machine import backend, provenance

CELLS: dict[str, Any] = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
# Flax's LSTM has its bias with the recurrent product, its other cells with the input's.
NAMES = r"""
    dense_[ih]/bias bias    dense_i/kernel input_kernel    dense_h/kernel recurrent_kernel
    embedding/embedding inputs/target/table    output_bias head/bias    bridge bridge/maps/0
    ^layers stack/layers    ^forward/cell encoder/0    ^backward/cell encoder/backward/0
    ^cell decoder/0    /cell/ /    score_vector/kernel score/vector    score_ score/
    /out/ /output/    (inner|outer)/ mlp/\1/    (en|de)coder/(\d) \1coder/layers/\2
    last_norms/(\w+) \1/last_norm    /norms/([a-z]+) /\1_residual/norm
"""


def take(model: nnx.Module, weights: Weights) -> int:
    """Gives every parameter our values; returns how many they are. A bias of its own for the candidate's recurrent
    part, which is zero in ours and which Flax's GRU has not, counts as if it were there."""
    found = {name for name in weights if name.endswith("candidate_bias")}
    for path, parameter in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name = renamed("/".join(map(str, path)), NAMES)
        parameter[...] = weights[name].reshape(parameter.shape)
        found.add(name)
    return sum(weights[name].size for name in found)


class Stack(nnx.Sequential):
    def __init__(self, c: SimpleNamespace, vocab: int, rngs: nnx.Rngs):
        cells = [CELLS[c.name](c.hidden_size, c.hidden_size, rngs=rngs) for _ in range(c.num_layers)]
        super().__init__(*[nnx.RNN(cell, rngs=rngs) for cell in cells])


class AttentionSeq2Seq(nnx.Module):
    """A bidirectional GRU encoder, and a decoder with additive attention, scanned."""

    def __init__(self, c: SimpleNamespace, vocab: int, rngs: nnx.Rngs):
        H, A = c.hidden_size, c.attention.size
        both: dict[str, Any] = {"return_carry": True, "rngs": rngs}
        self.embedding, self.output_bias = nnx.Embed(vocab, H, rngs=rngs), nnx.Param(jnp.zeros(vocab))
        self.forward = nnx.RNN(nnx.GRUCell(H, H, rngs=rngs), **both)
        self.backward = nnx.RNN(nnx.GRUCell(H, H, rngs=rngs), reverse=True, keep_order=True, **both)
        self.bridge, self.combine = nnx.Linear(2 * H, H, rngs=rngs), nnx.Linear(3 * H, H, rngs=rngs)
        self.cell = nnx.GRUCell(2 * H, H, rngs=rngs)
        scores = (nnx.Linear(*sizes, use_bias=False, rngs=rngs) for sizes in ((2 * H, A), (H, A), (A, 1)))
        self.score_memory, self.score_query, self.score_vector = scores

    def __call__(self, source: jax.Array, target_in: jax.Array) -> jax.Array:
        scale = self.embedding.features**0.5
        embedded = self.embedding(source) * scale
        (first, ahead), (last, behind) = self.forward(embedded), self.backward(embedded)
        memory = jnp.concatenate([ahead, behind], axis=-1)
        state = jnp.tanh(self.bridge(jnp.concatenate([first, last], axis=-1)))
        keys = self.score_memory(memory)

        @nnx.scan(in_axes=(None, nnx.Carry, 1), out_axes=(nnx.Carry, 1))
        def decode(model, carry, word):
            state, attentional = carry
            state, _ = model.cell(state, jnp.concatenate([word, attentional], axis=-1))
            scores = model.score_vector(jnp.tanh(model.score_query(state)[:, None] + keys))[..., 0]
            context = jnp.einsum("bs,bsh->bh", jax.nn.softmax(scores), memory)
            attentional = jnp.tanh(model.combine(jnp.concatenate([context, state], axis=-1)))
            return (state, attentional), attentional

        _, outputs = decode(self, (state, jnp.zeros_like(state)), self.embedding(target_in) * scale)
        return self.embedding.attend(outputs) + self.output_bias[...]


class Layer(nnx.Module):
    """Pre-norm self-attention, attention to the encoder where there is one, and a feed-forward network."""

    def __init__(self, c: SimpleNamespace, cross: bool, rngs: nnx.Rngs):
        H = c.hidden_size
        how: dict[str, Any] = {"dropout_rate": c.attention_dropout_rate, "broadcast_dropout": False, "decode": False}
        names = ("attention", "cross", "mlp") if cross else ("attention", "mlp")
        self.norms = nnx.Dict({name: nnx.LayerNorm(H, epsilon=1e-5, rngs=rngs) for name in names})
        self.attention = nnx.MultiHeadAttention(c.num_heads, H, rngs=rngs, **how)
        self.cross_attention = nnx.MultiHeadAttention(c.num_heads, H, rngs=rngs, **how) if cross else None
        self.inner, self.outer = nnx.Linear(H, c.mlp_dim, rngs=rngs), nnx.Linear(c.mlp_dim, H, rngs=rngs)
        self.dropout = nnx.Dropout(c.dropout_rate, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None, encoded: jax.Array | None = None) -> jax.Array:
        x = x + self.dropout(self.attention(self.norms["attention"](x), mask=mask))
        if self.cross_attention is not None:
            x = x + self.dropout(self.cross_attention(self.norms["cross"](x), encoded))
        inner = self.dropout(nnx.relu(self.inner(self.norms["mlp"](x))))
        return x + self.dropout(self.outer(inner))


class Transformer(nnx.Module):
    """Encoder and decoder, or a decoder alone over source and target."""

    def __init__(self, c: SimpleNamespace, vocab: int, rngs: nnx.Rngs):
        self.embedding, self.output_bias = nnx.Embed(vocab, c.hidden_size, rngs=rngs), nnx.Param(jnp.zeros(vocab))
        sides = ("decoder",) if c.name == "transformer_decoder" else ("encoder", "decoder")
        stacks = [nnx.List([Layer(c, n > 0, rngs) for _ in range(c.num_layers)]) for n in range(len(sides))]
        self.encoder, self.decoder = stacks[0] if len(sides) > 1 else None, stacks[-1]
        self.last_norms = nnx.Dict({side: nnx.LayerNorm(c.hidden_size, epsilon=1e-5, rngs=rngs) for side in sides})
        self.dropout = nnx.Dropout(c.dropout_rate, rngs=rngs)

    def embed(self, ids: jax.Array) -> jax.Array:
        size = self.embedding.features
        return self.dropout(self.embedding(ids) * size**0.5 + sinusoids(jnp.arange(ids.shape[1])[None], size))

    def __call__(self, source: jax.Array, target_in: jax.Array) -> jax.Array:
        encoded, read = None, jnp.concatenate([source, target_in], axis=1)
        if self.encoder is not None:
            encoded, read = self.embed(source), target_in
            for layer in self.encoder:
                encoded = layer(encoded, None)
            encoded = self.last_norms["encoder"](encoded)
        x, causal = self.embed(read), nnx.make_causal_mask(read)
        for layer in self.decoder:
            x = layer(x, causal, encoded)
        x = self.last_norms["decoder"](x[:, -target_in.shape[1] :])
        return self.embedding.attend(x) + self.output_bias[...]


def program(case: SimpleNamespace, folder: Path) -> Program:
    """A training step, from our weights."""
    given = read(folder)
    if case.setting == "tuned":
        config = given.config
        backend.configure(folder / "run", True, config.cpu_devices, config.deterministic)
    kinds = {"transformer": Transformer, "transformer_decoder": Transformer, "gru_attention": AttentionSeq2Seq}
    model = kinds.get(given.config.model.name, Stack)(given.config.model, given.vocab, nnx.Rngs(0))
    num_params = take(model, given.weights)
    optimizer, last = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param), dict[str, jax.Array]()
    batch = {name: jnp.asarray(array) for name, array in given.batch.items()}

    def loss_of(model, batch, smoothing):
        if "inputs" in batch:
            return jnp.square(model(batch["inputs"]) - batch["targets"]).mean()
        labels = optax.smooth_labels(jax.nn.one_hot(batch["target_out"], given.vocab), smoothing)
        return optax.softmax_cross_entropy(model(batch["source"], batch["target_in"]), labels).mean()

    @nnx.jit
    def update(model, optimizer, batch):
        value, gradients = nnx.value_and_grad(loss_of)(model, batch, given.config.label_smoothing)
        optimizer.update(model, gradients)
        return value

    model.eval()
    said = {"num_params": num_params, "loss": float(nnx.jit(loss_of)(model, batch, 0.0))}
    model.train()

    def step() -> None:
        last["loss"] = update(model, optimizer, batch)

    return Program(said, step, lambda: jax.block_until_ready((last, nnx.state(model))), provenance.device_memory_bytes)

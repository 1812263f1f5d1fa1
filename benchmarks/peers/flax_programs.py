"""Flax NNX as its documentation shows it: `nnx.RNN` with its cells, an attention seq2seq whose decoder is a `nnx.scan`
over its GRU cell, and a Transformer of its layers.

python -m benchmarks.peers.flax_programs CASE SETTING WEIGHTS. `tuned` adds what we give ourselves for the whole
process: the allocator's setting, and a batch shared out between the devices that the CPU is split into.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks import protocol
from benchmarks.cases import ATTENTION_SIZE, Case, batch
from benchmarks.protocol import Program
from models.positions import sinusoids
from training.machine import provenance

Weights = dict[str, np.ndarray]
CELLS: dict[str, Any] = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


class Stack(nnx.Module):
    def __init__(self, case: Case, weights: Weights, rngs: nnx.Rngs):
        self.layers = nnx.List(
            [nnx.RNN(CELLS[case.model](case.hidden, case.hidden, rngs=rngs), rngs=rngs) for _ in range(case.layers)]
        )
        for number, layer in enumerate(self.layers):
            take_cell(layer.cell, weights, f"stack/layers/{number}")

    def __call__(self, inputs: jax.Array) -> jax.Array:
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs


class AttentionSeq2Seq(nnx.Module):
    """A bidirectional GRU encoder, and a decoder with additive attention, scanned."""

    def __init__(self, case: Case, weights: Weights, rngs: nnx.Rngs):
        H, A = case.hidden, ATTENTION_SIZE
        self.embedding = nnx.Embed(case.vocab, H, rngs=rngs)
        self.forward = nnx.RNN(nnx.GRUCell(H, H, rngs=rngs), return_carry=True, rngs=rngs)
        self.backward = nnx.RNN(
            nnx.GRUCell(H, H, rngs=rngs), return_carry=True, reverse=True, keep_order=True, rngs=rngs
        )
        self.bridge, self.combine = nnx.Linear(2 * H, H, rngs=rngs), nnx.Linear(3 * H, H, rngs=rngs)
        self.cell = nnx.GRUCell(2 * H, H, rngs=rngs)
        self.keys = nnx.Linear(2 * H, A, use_bias=False, rngs=rngs)
        self.query = nnx.Linear(H, A, use_bias=False, rngs=rngs)
        self.vector = nnx.Linear(A, 1, use_bias=False, rngs=rngs)
        self.output_bias = nnx.Param(jnp.asarray(weights["head/bias"]))
        self.embedding.embedding[...] = weights["inputs/target/table"]
        self.vector.kernel[...] = weights["score/vector"][:, None]
        for cell, name in (
            (self.forward.cell, "encoder/layers/0"),
            (self.backward.cell, "encoder/backward/0"),
            (self.cell, "decoder/layers/0"),
        ):
            take_cell(cell, weights, name)
        for linear, name in (
            (self.bridge, "bridge/maps/0"),
            (self.keys, "score/memory"),
            (self.query, "score/query"),
            (self.combine, "combine"),
        ):
            take_linear(linear, weights[f"{name}/kernel"], weights.get(f"{name}/bias"))

    def __call__(self, source: jax.Array, target_in: jax.Array) -> jax.Array:
        scale = self.embedding.features**0.5
        embedded = self.embedding(source) * scale
        (first, ahead), (last, behind) = self.forward(embedded), self.backward(embedded)
        memory = jnp.concatenate([ahead, behind], axis=-1)
        state = jnp.tanh(self.bridge(jnp.concatenate([first, last], axis=-1)))
        keys = self.keys(memory)

        @nnx.scan(in_axes=(None, nnx.Carry, 1), out_axes=(nnx.Carry, 1))
        def decode(model, carry, word):
            state, attentional = carry
            state, _ = model.cell(state, jnp.concatenate([word, attentional], axis=-1))
            scores = model.vector(jnp.tanh(model.query(state)[:, None] + keys))[..., 0]
            context = jnp.einsum("bs,bsh->bh", jax.nn.softmax(scores), memory)
            attentional = jnp.tanh(model.combine(jnp.concatenate([context, state], axis=-1)))
            return (state, attentional), attentional

        _, outputs = decode(self, (state, jnp.zeros_like(state)), self.embedding(target_in) * scale)
        return self.embedding.attend(outputs) + self.output_bias[...]


class Layer(nnx.Module):
    """Pre-norm self-attention, attention to the encoder where there is one, and a feed-forward network."""

    def __init__(self, case: Case, cross: bool, rngs: nnx.Rngs):
        H = case.hidden

        def attention() -> nnx.MultiHeadAttention:
            return nnx.MultiHeadAttention(
                case.heads, H, dropout_rate=case.dropout, broadcast_dropout=False, decode=False, rngs=rngs
            )

        def norm() -> nnx.LayerNorm:
            return nnx.LayerNorm(H, epsilon=1e-5, rngs=rngs)

        self.attention, self.attention_norm = attention(), norm()
        self.cross = attention() if cross else None
        self.cross_norm = norm() if cross else None
        self.inner, self.outer = nnx.Linear(H, case.mlp, rngs=rngs), nnx.Linear(case.mlp, H, rngs=rngs)
        self.mlp_norm = norm()
        self.dropout = nnx.Dropout(case.dropout, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None, encoded: jax.Array | None = None) -> jax.Array:
        x = x + self.dropout(self.attention(self.attention_norm(x), mask=mask))
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), encoded))
        inner = self.dropout(nnx.relu(self.inner(self.mlp_norm(x))))
        return x + self.dropout(self.outer(inner))


class Transformer(nnx.Module):
    def __init__(self, case: Case, weights: Weights, rngs: nnx.Rngs):
        self.embedding = nnx.Embed(case.vocab, case.hidden, rngs=rngs)
        self.encoder = nnx.List([Layer(case, False, rngs) for _ in range(case.layers)])
        self.decoder = nnx.List([Layer(case, True, rngs) for _ in range(case.layers)])
        self.encoder_norm = nnx.LayerNorm(case.hidden, epsilon=1e-5, rngs=rngs)
        self.decoder_norm = nnx.LayerNorm(case.hidden, epsilon=1e-5, rngs=rngs)
        self.dropout = nnx.Dropout(case.dropout, rngs=rngs)
        self.output_bias = nnx.Param(jnp.asarray(weights["head/bias"]))
        self.embedding.embedding[...] = weights["inputs/target/table"]
        for side, layers, norm in (
            ("encoder", self.encoder, self.encoder_norm),
            ("decoder", self.decoder, self.decoder_norm),
        ):
            take_norm(norm, weights, f"{side}/last_norm")
            for number, layer in enumerate(layers):
                take_layer(layer, weights, f"{side}/layers/{number}", case)

    def embed(self, ids: jax.Array) -> jax.Array:
        size = self.embedding.features
        return self.dropout(self.embedding(ids) * size**0.5 + sinusoids(jnp.arange(ids.shape[1])[None], size))

    def __call__(self, source: jax.Array, target_in: jax.Array) -> jax.Array:
        encoded, x = self.embed(source), self.embed(target_in)
        for layer in self.encoder:
            encoded = layer(encoded, None)
        encoded = self.encoder_norm(encoded)
        for layer in self.decoder:
            x = layer(x, nnx.make_causal_mask(target_in), encoded)
        return self.embedding.attend(self.decoder_norm(x)) + self.output_bias[...]


def take_norm(norm: Any, weights: Weights, name: str) -> None:
    norm.scale[...], norm.bias[...] = weights[f"{name}/scale"], weights[f"{name}/bias"]


def take_cell(cell: Any, weights: Weights, name: str) -> None:
    """Flax's LSTM has its bias with the recurrent product, its other cells with the input's."""
    cell.dense_i.kernel[...] = weights[f"{name}/input_kernel"]
    cell.dense_h.kernel[...] = weights[f"{name}/recurrent_kernel"]
    biased: Any = cell.dense_h if isinstance(cell, nnx.OptimizedLSTMCell) else cell.dense_i
    biased.bias[...] = weights[f"{name}/bias"]


def take_linear(linear: Any, kernel: np.ndarray, bias: np.ndarray | None) -> None:
    """Heads are an axis of their own in Flax's attention."""
    linear.kernel[...] = kernel.reshape(linear.kernel.shape)
    if bias is not None:
        linear.bias[...] = bias.reshape(linear.bias.shape)


def take_layer(layer: Layer, weights: Weights, name: str, case: Case) -> None:
    take_norm(layer.attention_norm, weights, f"{name}/attention_residual/norm")
    take_norm(layer.mlp_norm, weights, f"{name}/mlp_residual/norm")
    take_linear(layer.inner, weights[f"{name}/mlp/inner/kernel"], weights[f"{name}/mlp/inner/bias"])
    take_linear(layer.outer, weights[f"{name}/mlp/outer/kernel"], weights[f"{name}/mlp/outer/bias"])
    attentions: list[tuple[Any, str, tuple[str, ...]]] = [(layer.attention, f"{name}/attention", ("qkv",))]
    if layer.cross is not None and layer.cross_norm is not None:
        take_norm(layer.cross_norm, weights, f"{name}/cross_residual/norm")
        attentions.append((layer.cross, f"{name}/cross_attention", ("query", "kv")))
    for attention, place, parts in attentions:
        kernels = np.split(np.concatenate([weights[f"{place}/{part}/kernel"] for part in parts], axis=1), 3, axis=1)
        biases = np.split(np.concatenate([weights[f"{place}/{part}/bias"] for part in parts]), 3)
        linears = (attention.query, attention.key, attention.value)
        for linear, kernel, bias in zip(linears, kernels, biases, strict=True):
            take_linear(linear, kernel, bias)
        take_linear(attention.out, weights[f"{place}/output/kernel"], weights[f"{place}/output/bias"])


def loss_of(case: Case):
    if case.is_stack:
        return lambda model, data: jnp.square(model(data["inputs"]) - data["targets"]).mean()

    def loss(model, data):
        logits = model(data["source"], data["target_in"])
        labels = optax.smooth_labels(jax.nn.one_hot(data["target_out"], case.vocab), case.label_smoothing)
        return optax.softmax_cross_entropy(logits, labels).mean()

    return loss


def build(case: Case, weights: Weights, *, sharded: bool) -> Program:
    """The program, from our weights."""
    kind: Any = Stack if case.is_stack else {"gru_attention": AttentionSeq2Seq}.get(case.model, Transformer)
    model = kind(case, weights, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    loss = loss_of(case)
    data: dict[str, Any] = {name: jnp.asarray(array) for name, array in batch(case).items()}
    model.eval()
    before = float(nnx.jit(loss)(model, data))
    model.train()
    if sharded:
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        for part in (model, optimizer):
            nnx.update(part, jax.device_put(nnx.state(part), everywhere))
        data = jax.device_put(data, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))

    @nnx.jit
    def train_step(model, optimizer, data):
        value, gradients = nnx.value_and_grad(loss)(model, data)
        optimizer.update(model, gradients)
        return value

    last: list[jax.Array] = []

    def step() -> None:
        last[:] = [train_step(model, optimizer, data)]

    num_params = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return Program(
        num_params,
        lambda: before,
        step,
        lambda: jax.block_until_ready((last, nnx.state(model))),
        provenance.device_memory_bytes,
    )


def main() -> None:
    case, setting, weights_file = protocol.arguments(Case)
    if setting == "tuned":
        from benchmarks.ours import config_of
        from training.machine import backend

        backend.configure(config_of(case), weights_file.parent / "run")
    with np.load(weights_file) as weights:
        program = build(case, dict(weights), sharded=setting == "tuned")
    protocol.serve(program)


if __name__ == "__main__":
    main()

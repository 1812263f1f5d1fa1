"""Counted FLOPs against closed forms of each layer, and against the compiler's count of programs without loops."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import data
import models
from models import cudnn_lstm, flops, fused_attention, tiled_attention
from models.cells import GRUCell, LSTMCell, TanhCell
from tests.training import runs

D, B = 64, 8


def compiled_flops(function, *args) -> float:
    """The compiler's count, which sees the body of a loop once."""
    analysis = jax.jit(function).lower(*args).compile().cost_analysis()
    assert analysis
    return analysis["flops"]


def test_a_product_a_convolution_and_a_batch_of_products():
    assert flops.count(jnp.dot, jnp.ones((3, 4)), jnp.ones((4, 5))) == 2 * 3 * 4 * 5
    assert flops.count(jnp.matmul, jnp.ones((7, 3, 4)), jnp.ones((7, 4, 5))) == 7 * 2 * 3 * 4 * 5
    image, kernel = jnp.ones((2, 4, 10)), jnp.ones((6, 4, 3))  # (N, C, W), (O, I, W)
    assert flops.count(lambda x, w: jax.lax.conv(x, w, (1,), "VALID"), image, kernel) == 2 * (2 * 6 * 8) * (4 * 3)


def test_a_scan_counts_every_step_and_the_compiler_one():
    def scanned(x, w):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, length=50)[0]

    def unrolled(x, w):
        for _ in range(50):
            x = jnp.tanh(x @ w)
        return x

    args = jnp.ones((B, D)), jnp.ones((D, D))
    assert flops.count(scanned, *args) == flops.count(unrolled, *args) == 50 * 2 * B * D * D
    assert compiled_flops(scanned, *args) < 3 * 2 * B * D * D
    assert compiled_flops(unrolled, *args) == pytest.approx(flops.count(scanned, *args), rel=0.05)


@pytest.mark.parametrize(("cell", "gates"), [(TanhCell, 1), (GRUCell, 3), (LSTMCell, 4)])
def test_a_step_of_a_cell(cell, gates):
    graph, state = nnx.split(cell(D, D, rngs=nnx.Rngs(0)))

    def step(state, x_BD, carry):
        made = nnx.merge(graph, state)
        return made.step(carry, made.project(x_BD))

    args = state, jnp.ones((B, D)), tuple(jnp.ones((B, D)) for _ in cell.parts)
    expected = 2 * B * gates * (D * D + D * D)
    assert flops.count(step, *args) == expected
    assert expected <= compiled_flops(step, *args) < 1.15 * expected  # gates are elementwise


def config(name: str):
    c = runs.config("recall", name).copy_and_resolve_references()
    with c.unlocked():
        models.set_width(c.model, D)
        c.model.num_layers = 1
        c.data.update(source_length=60, target_length=8, num_pairs=8, num_queries=8, num_keys=32, num_values=32)
    return c


def built(name: str):
    c = config(name)
    task = data.build(c.task, c.data)
    return models.build(name, c.model, task.spec, jax.random.key(0)), task.spec


def test_a_transformer_layer():
    """A layer of width D on N tokens: 2 N (4 D^2 + 2 D F) for its maps and 4 N^2 D for scores and mixtures."""
    model, spec = built("transformer_decoder")
    N, T, F, V = 60 + 8, 8, 4 * D, spec.output_size
    expected = 2 * N * (4 * D * D + 2 * D * F) + 4 * N * N * D + 2 * T * D * V
    assert flops.forward(model, spec) == expected
    graph, state = nnx.split(model)
    source, mask, target = flops.example(spec)
    found = compiled_flops(lambda state: nnx.merge(graph, state)(source, mask, target).logits, state)
    assert expected <= found < 1.15 * expected


def test_tiles_of_attention_are_counted_as_the_whole(monkeypatch):
    """Loops over tiles have data for bounds, which a count does not know."""
    model, spec = built("transformer_decoder")
    whole = flops.forward(model, spec)
    monkeypatch.setattr(tiled_attention, "SIDE", 16)
    assert tiled_attention.worthwhile(spec.max_source_length)
    assert flops.forward(model, spec) == whole and tiled_attention.worthwhile(spec.max_source_length)


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("transformer", {"fused_attention": "cudnn", "dtype": "bfloat16"}),
        ("lstm", {"backend": "cudnn"}),
        ("lstm_decoder", {"backend": "cudnn"}),
    ],
)
def test_a_kernel_of_a_vendor_is_counted_as_the_products_that_it_does(monkeypatch, name, kernel):
    for module in (fused_attention, cudnn_lstm):
        monkeypatch.setattr(module, "compute_capability", lambda: (9, 0))

    def forward(**values):
        c = config(name)
        c.model.update(values | ({"positions": "rotary"} if "positions" in c.model else {}))
        spec = data.build(c.task, c.data).spec
        return flops.forward(nnx.eval_shape(lambda: models.build(name, c.model, spec, jax.random.key(0))), spec)

    assert forward(**kernel) == forward()
    if name == "transformer":  # what fills a kernel's keys up to the width of its values is no work of the model
        assert forward(**kernel, key_size=8) == forward(key_size=8) < forward()


def test_a_recurrent_decoder():
    model, spec = built("gru_decoder")
    assert flops.forward(model, spec) == 68 * 2 * 3 * 2 * D * D + 2 * 8 * D * spec.output_size


def test_a_selective_state_space():
    """Its maps, the products with its state of 16 numbers for each of 2 D channels, and a feed-forward network."""
    model, spec = built("mamba_decoder")
    N, inner, rank, states = 68, 2 * D, D // 16, 16
    maps = D * 2 * inner + inner * (rank + 2 * states) + rank * inner + inner * D + 2 * D * 4 * D
    filled = 3 * 32  # tokens of whole chunks
    expected = 2 * N * maps + 2 * filled * inner * states + 2 * 8 * D * spec.output_size
    assert flops.forward(model, spec) == expected


def test_attention_over_a_memory():
    """A step of the decoder has no loop, so that the compiler can be asked."""
    model, spec = built("gru_attention")
    graph, state = nnx.split(model)
    source, mask, _ = flops.example(spec)
    memory, carry = model.start(source, mask, 8)

    def step(state, memory, carry):
        return nnx.merge(graph, state).step(jnp.zeros(1, int), jnp.zeros((), int), memory, carry)

    counted = flops.count(step, state, memory, carry)
    assert counted <= compiled_flops(step, state, memory, carry) < 1.4 * counted  # tanh and softmax over the memory


def test_a_gradient_costs_three_times_the_way_forward():
    model, spec = built("transformer_decoder")
    graph, state = nnx.split(model)
    source, mask, target = flops.example(spec)

    def loss(state):
        return nnx.merge(graph, state)(source, mask, target).logits.sum()

    assert flops.count(jax.grad(loss), state) == pytest.approx(3 * flops.forward(model, spec), rel=0.02)


def test_what_decoding_keeps():
    model, spec = built("gru_decoder")
    assert flops.state_bytes(model, spec) == 4 * D
    model, spec = built("transformer_decoder")
    keys_and_values, mask = 2 * 4 * D * (60 + 8), 60
    assert flops.state_bytes(model, spec) == keys_and_values + mask


def test_a_loop_without_a_known_end_is_refused():
    def loop(x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="no known number of steps"):
        flops.count(loop, jnp.ones((2, 2)))

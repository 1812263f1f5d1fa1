"""What every stack promises whatever carries information in it; the Transformers and both stacks of mixers are asked.

Their batch: three rows, the last of which has no source at all. `made` is (graph, params), `logits` are of that batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data.spec import Spec

V = 11
SPEC = Spec("tokens", V, V, "tokens", V, 6, 7, shared_vocabulary=True, eos=2)
_RNG = np.random.default_rng(0)
SOURCE_BS, TARGET_BT = _RNG.integers(3, V, (3, 5)), _RNG.integers(3, V, (3, 6))
MASK_BS = np.arange(5) < np.array([5, 2, 0])[:, None]
BOTH, TARGET = (jnp.asarray(SOURCE_BS), jnp.asarray(MASK_BS)), jnp.asarray(TARGET_BT)


@functools.partial(jax.jit, static_argnums=0)
def compiled(graph, params, arguments, options):
    return nnx.merge(graph, params)(*arguments, **options)


def forward(made, *arguments, **options):
    """One compiled call, compiled once for each set of shapes."""
    return compiled(*made, arguments, options)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5, rtol=1e-5), a, b)


def stepped(model, number, known_B=0, *prefix):
    """Logits of so many steps, (B, number, V)."""
    memory, state = model.start(*BOTH, number + 2, *prefix)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves((memory, state)))

    def step(state, t):
        place_B1 = jnp.broadcast_to(known_B + t, 3)[:, None]
        logits_BV, state = model.step(jnp.take_along_axis(TARGET, place_B1, axis=1)[:, 0], t, memory, state)
        return state, logits_BV

    return jax.lax.scan(step, state, jnp.arange(number))[1].swapaxes(0, 1)


def padding_on_either_side_of_the_source_changes_nothing(made, logits):
    pad = ((0, 0), (2, 1))
    more = forward(made, np.pad(SOURCE_BS, pad, constant_values=9), np.pad(MASK_BS, pad), TARGET_BT)
    close(more.logits, logits)
    assert not np.allclose(forward(made, SOURCE_BS, np.ones_like(MASK_BS), TARGET_BT).logits, logits, atol=1e-3)


def steps_after_any_prefix_give_the_teacher_forced_logits(made, logits):
    graph, params = made
    known_B = np.array([3, 1, 0])  # how many tokens each row knows
    run = jax.jit(lambda params, *prefix: stepped(nnx.merge(graph, params), 3, known_B, *prefix))
    for left in (True, False):  # the side on which the prefix is padded
        prefix, mask = np.full((3, 4), 9), np.zeros((3, 4), bool)
        for row, known in enumerate(known_B):
            at = slice(4 - known, 4) if left else slice(0, known)
            prefix[row, at], mask[row, at] = TARGET_BT[row, :known], True
        steps = run(params, prefix, mask)
        for row, known in enumerate(known_B):
            close(steps[row], logits[row, known : known + 3])


def chunks_with_a_carry_give_the_logits_of_the_whole(made, logits):
    """And a carry of other rows does not."""
    first, other = (forward(made, SOURCE_BS, MASK_BS, target[:, :2]).carry for target in (TARGET_BT, TARGET_BT[::-1]))
    second, astray = (forward(made, SOURCE_BS, MASK_BS, TARGET_BT[:, 2:], carry=one).logits for one in (first, other))
    close(second, logits[:, 2:])
    assert not np.allclose(astray, logits[:, 2:], atol=1e-3)


PROMISES = (
    padding_on_either_side_of_the_source_changes_nothing,
    steps_after_any_prefix_give_the_teacher_forced_logits,
    chunks_with_a_carry_give_the_logits_of_the_whole,
)

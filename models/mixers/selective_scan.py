"""The recurrence of selective state spaces (`models/mixers/mamba.py`), token by token, and its gradient.

States have 16 numbers for each channel, so those of all tokens are 16 times as large as what enters. They are never in
memory together: the state of one token stays in the processor's cache, and the backward pass keeps the states between
chunks and computes one chunk's anew.

Dims: B batch, T tokens, M chunks, C tokens of a chunk, E channels, N state of each channel (channels last, since
vectors run along them).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.shapes import Array, Float


class Selected(NamedTuple):
    """What a token brings; those of many have axes in front."""

    delta: Float[Array, "... E"]  # how much time passes; 0 leaves the state as it is
    x: Float[Array, "... E"]
    enter: Float[Array, "... N"]
    leave: Float[Array, "... N"]


def selective_scan(
    inputs_BT: Selected, rate_EN: Float[Array, "E N"], state_BEN: Float[Array, "B E N"], size: int
) -> tuple[Float[Array, "B T E"], Float[Array, "B E N"]]:
    """y_t = h_t leave_t with h_t = exp(delta_t rate) h_{t-1} + delta_t x_t enter_t^T: (all y, the last h).

    `size` is the number of tokens of a chunk.
    """
    B, T, E = inputs_BT.x.shape
    size = max(min(size, T), 1)

    def split(x_BT: Array) -> Array:
        """The last chunk is filled up with tokens in which no time passes."""
        x_TB = jnp.pad(x_BT, ((0, 0), (0, -T % size), (0, 0))).swapaxes(0, 1)
        return x_TB.reshape(-1, size, *x_TB.shape[1:])

    inputs_MCB = Selected(*map(split, inputs_BT))
    y_MCBE, state_BNE = _scan(inputs_MCB, rate_EN.T, state_BEN.swapaxes(1, 2))
    return y_MCBE.reshape(-1, B, E)[:T].swapaxes(0, 1), state_BNE.swapaxes(1, 2)


@jax.custom_vjp
def _scan(inputs_MCB: Selected, rate_NE: Array, state_BNE: Array) -> tuple[Array, Array]:
    return _forward(inputs_MCB, rate_NE, state_BNE)[0]


def _forward(inputs_MCB: Selected, rate_NE: Array, state_BNE: Array):
    def token(h_BNE: Array, at: Selected) -> tuple[Array, Array]:
        h_BNE = _keep(at, rate_NE) * h_BNE + _enter(at)
        return h_BNE, jnp.einsum("BNE,BN->BE", h_BNE, at.leave)

    def chunk(h_BNE: Array, inputs_CB: Selected) -> tuple[Array, tuple[Array, Array]]:
        after_BNE, y_CBE = jax.lax.scan(token, h_BNE, inputs_CB)
        return after_BNE, (y_CBE, h_BNE)

    state_BNE, (y_MCBE, before_MBNE) = jax.lax.scan(chunk, state_BNE, inputs_MCB)
    return (y_MCBE, state_BNE), (inputs_MCB, rate_NE, before_MBNE)


def _backward(kept: tuple[Selected, Array, Array], d_out: tuple[Array, Array]) -> tuple[Selected, Array, Array]:
    """d h_{t-1} = exp(delta_t rate) d h_t, and each y adds d y_t leave_t^T to d h_t."""
    inputs_MCB, rate_NE, before_MBNE = kept
    d_y_MCBE, d_h_BNE = d_out

    def token(h_BNE: Array, at: Selected) -> tuple[Array, Array]:
        return _keep(at, rate_NE) * h_BNE + _enter(at), h_BNE

    def back(carry: tuple[Array, Array], at: tuple[Selected, Array, Array]) -> tuple[tuple[Array, Array], Selected]:
        d_h_BNE, d_rate_BNE = carry
        now, h_BNE, d_y_BE = at
        keep_BNE = _keep(now, rate_NE)
        d_leave_BN = ((keep_BNE * h_BNE + _enter(now)) * d_y_BE[:, None]).sum(2)
        d_h_BNE += d_y_BE[:, None] * now.leave[:, :, None]
        d_power_BNE = d_h_BNE * keep_BNE * h_BNE
        d_enter_BN = (d_h_BNE * (now.delta * now.x)[:, None]).sum(2)
        d_both_BE = (d_h_BNE * now.enter[:, :, None]).sum(1)  # of delta x
        d_delta_BE = (d_power_BNE * rate_NE).sum(1) + d_both_BE * now.x
        # One for each row, so that devices that share a batch add up once, at the end.
        d_rate_BNE += d_power_BNE * now.delta[:, None]
        return (d_h_BNE * keep_BNE, d_rate_BNE), Selected(d_delta_BE, d_both_BE * now.delta, d_enter_BN, d_leave_BN)

    def chunk(carry: tuple[Array, Array], at: tuple[Selected, Array, Array]) -> tuple[tuple[Array, Array], Selected]:
        inputs_CB, before_BNE, d_y_CBE = at
        _, h_CBNE = jax.lax.scan(token, before_BNE, inputs_CB)
        return jax.lax.scan(back, carry, (inputs_CB, h_CBNE, d_y_CBE), reverse=True)

    first = d_h_BNE, jnp.zeros_like(d_h_BNE)
    (d_h_BNE, d_rate_BNE), d_inputs_MCB = jax.lax.scan(chunk, first, (inputs_MCB, before_MBNE, d_y_MCBE), reverse=True)
    return d_inputs_MCB, d_rate_BNE.sum(0), d_h_BNE


def _keep(at: Selected, rate_NE: Array) -> Float[Array, "B N E"]:
    return jnp.exp(at.delta[:, None] * rate_NE)


def _enter(at: Selected) -> Float[Array, "B N E"]:
    return (at.delta * at.x)[:, None] * at.enter[:, :, None]


_scan.defvjp(_forward, _backward)

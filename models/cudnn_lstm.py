"""An LSTM layer by cuDNN (`jax.experimental.rnn`): the same cell and parameters, all steps of a layer in one call.

cuDNN knows sequences of given lengths that start at step 0, and nothing of masks. Real tokens are therefore brought to
the front, and its outputs spread over the places they belong to. jax 0.10 offers float32 alone, on NVIDIA GPUs, where
it multiplies in TF32 unless `jax_default_matmul_precision` is `highest`. GRU and tanh cells are not offered.

Dims: T time, B batch, D input width, H hidden width, W weights.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from models.cells import Carry, LSTMCell
from models.cuda import compute_capability
from models.padding import lengths_of, pick, to_front
from models.shapes import Array, Bool, Float, Int

Kernel = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array, Array]]
"""(x_BTD, h_BH, c_BH, weights_W, lengths_B) -> (outputs_BTH, last h_BH, last c_BH)."""


def choose(config: ConfigDict) -> str:
    """The back-end of a stack with the values of `config`. Raises ValueError for one that cannot run."""
    choice = config.get("backend", "scan")  # other cells have no choice
    if choice == "cudnn":
        obstacle = None
        if compute_capability() is None:
            obstacle = f"it needs an NVIDIA GPU and this is {jax.local_devices()[0].device_kind}; use scan"
        elif config.dtype != "float32":
            obstacle = f"jax offers it in float32 and model.dtype = {config.dtype!r}; use float32, or scan"
        elif config.remat:
            obstacle = "it keeps what its backward pass reads and model.remat = True; use false, or scan"
        if obstacle:
            raise ValueError(f"model.backend = {choice!r} cannot run: {obstacle}")
    return choice


def pack(cell: LSTMCell) -> Float[Array, "W"]:
    """The cell's parameters as cuDNN lays them out: W_ih, W_hh, b_ih, b_hh, each with its gates i, f, g, o as rows.

    cuDNN adds two biases; ours is the first and zeros are the second.
    """
    bias = cell.bias[...]
    kernels = [kernel[...].T.reshape(-1) for kernel in (cell.input_kernel, cell.recurrent_kernel)]
    return jnp.concatenate([*kernels, bias, jnp.zeros_like(bias)])


def cudnn(
    x_BTD: Float[Array, "B T D"],
    hidden_BH: Float[Array, "B H"],
    cell_BH: Float[Array, "B H"],
    weights_W: Float[Array, "W"],
    lengths_B: Int[Array, "B"],
) -> tuple[Float[Array, "B T H"], Float[Array, "B H"], Float[Array, "B H"]]:
    """The `Kernel` of cuDNN. Lengths are at least 1; outputs beyond them are zeros."""
    from jax.experimental import rnn

    sizes = {"input_size": x_BTD.shape[2], "hidden_size": hidden_BH.shape[1], "num_layers": 1}
    outputs_BTH, last_1BH, last_cell_1BH = rnn.lstm(
        x_BTD, hidden_BH[None], cell_BH[None], weights_W, lengths_B, **sizes, dropout=0.0, bidirectional=False
    )
    return outputs_BTH, last_1BH[0], last_cell_1BH[0]


def run_lstm(
    cell: LSTMCell,
    inputs_TBD: Float[Array, "T B D"],
    mask_TB: Bool[Array, "T B"] | None,
    carry: Carry,
    *,
    reverse: bool = False,
    kernel: Kernel = cudnn,
) -> tuple[Float[Array, "T B H"], Carry]:
    """One layer in one direction, as `models.recurrent.run_cell` runs it. Returns (hidden, last carry).

    Where the mask is False the carry stays as it was and the output repeats it, wherever that is.
    """
    if not inputs_TBD.shape[0]:
        return jnp.zeros((0, *carry[0].shape), carry[0].dtype), carry
    if reverse:
        flipped = None if mask_TB is None else mask_TB[::-1]
        hidden_TBH, carry = run_lstm(cell, inputs_TBD[::-1], flipped, carry, kernel=kernel)
        return hidden_TBH[::-1], carry
    first_BH, first_cell_BH = carry
    x_BTD, weights_W = inputs_TBD.swapaxes(0, 1).astype(first_BH.dtype), pack(cell)
    if mask_TB is None:
        lengths_B = jnp.full(x_BTD.shape[0], x_BTD.shape[1], jnp.int32)
        outputs_BTH, *last = kernel(x_BTD, first_BH, first_cell_BH, weights_W, lengths_B)
        return outputs_BTH.swapaxes(0, 1), tuple(last)
    mask_BT = mask_TB.T
    x_BTD, _, _ = to_front(x_BTD, mask_BT)
    lengths_B = lengths_of(mask_BT)
    outputs_BTH, *last = kernel(x_BTD, first_BH, first_cell_BH, weights_W, jnp.maximum(lengths_B, 1))
    carry = tuple(jnp.where(lengths_B[:, None] > 0, new, old) for new, old in zip(last, carry, strict=True))
    read_BT = jnp.cumsum(mask_BT, axis=1, dtype=jnp.int32)  # real tokens up to here
    hidden_BTH = pick(outputs_BTH, jnp.maximum(read_BT - 1, 0))
    hidden_BTH = jnp.where(read_BT[:, :, None] > 0, hidden_BTH, first_BH[:, None])
    return hidden_BTH.swapaxes(0, 1), carry

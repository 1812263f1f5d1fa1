"""Each mixer once more, in numpy and float64, as the equations of its paper stand: one example, one token at a time.

A form takes (parameters as nested dicts, config, depth, x (T, D)) and returns y (T, D). Positions are ALiBi's.

Dims: T tokens, D model width, H heads, K head width (of values V).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.models.scan_forms import SCANS, linear, sigmoid

Form = Callable[[dict, Any, int, np.ndarray], np.ndarray]


def projected(p, config, x):
    """(width of keys, of values, (queries, keys, values)), the heads side by side."""
    H, groups = config.num_heads, config.num_kv_heads or config.num_heads
    V = x.shape[1] // H
    K = config.key_size or V
    return K, V, np.split(linear(p["core"]["qkv"], x), [H * K, (H + groups) * K], axis=1)


def head(number, width):
    return slice(number * width, (number + 1) * width)


def attention(p, config, depth, x, sees=lambda distance: distance >= 0):
    """Vaswani et al. 2017, equation 1; Ainslie et al. 2023, section 2.2, for groups; Press et al. 2022, section 3."""
    T, D = x.shape
    H, groups = config.num_heads, config.num_kv_heads or config.num_heads
    K, V, (q, k, v) = projected(p, config, x)
    context = np.zeros((T, D))
    for t in range(T):
        for h in range(H):
            own, ours, of_key, of_value = head(h, K), head(h, V), head(h * groups // H, K), head(h * groups // H, V)
            seen = [s for s in range(T) if sees(t - s)]
            scale, slope = np.sqrt(K) if config.attention_scale else 1.0, 2.0 ** (-8 * (h + 1) / H)
            scores = np.array([q[t, own] @ k[s, of_key] / scale - slope * (t - s) for s in seen])
            weights = np.exp(scores)
            context[t, ours] = (weights / weights.sum()) @ v[seen, of_value]
    return linear(p["core"]["output"], context)


def local_attention(p, config, depth, x):
    """Beltagy et al. 2020, section 3.1: a sliding window, dilated."""
    own = config.local_attention
    distances = [back * own.dilation for back in range(own.window)]
    return attention(p, config, depth, x, lambda distance: distance in distances)


def strided_attention(p, config, depth, x):
    """Child et al. 2019, section 4.2: every so many-th token."""
    w, r = config.strided_attention.window, config.strided_attention.dilation
    return attention(p, config, depth, x, lambda distance: distance in range(0, w * r, r))


def hierarchical_attention(p, config, depth, x):
    """Liu et al. 2018, section 4.2.5, with means; one softmax over a query's own block and the means before it."""
    T, D = x.shape
    H, groups, w = config.num_heads, config.num_kv_heads or config.num_heads, config.hierarchical_attention.block_size
    K, V, (q, k, v) = projected(p, config, x)
    context = np.zeros((T, D))
    for t in range(T):
        starts = range(0, t // w * w, w)
        levels = [(s + w - 1, k[s : s + w].mean(0), v[s : s + w].mean(0)) for s in starts]
        levels += [(s, k[s], v[s]) for s in range(t // w * w, t + 1)]
        for h in range(H):
            own, ours, of_key, of_value = head(h, K), head(h, V), head(h * groups // H, K), head(h * groups // H, V)
            scale, slope = np.sqrt(K) if config.attention_scale else 1.0, 2.0 ** (-8 * (h + 1) / H)
            weights = np.exp([q[t, own] @ key[of_key] / scale - slope * (t - at) for at, key, _ in levels])
            context[t, ours] = (weights / weights.sum()) @ np.array([value[of_value] for _, _, value in levels])
    return linear(p["core"]["output"], context)


def conv(p, config, depth, x):
    """Bai et al. 2018, equation 1: F(t) = sum over i of f(i) x(t - d i), and ReLU."""
    T, D = x.shape
    k, d = config.conv.kernel_size, config.conv.dilation**depth
    kernel = p["core"]["kernel"].reshape(k, D, D)[::-1]
    hidden = np.zeros((T, D)) + p["core"]["bias"]
    for t in range(T):
        for i in range(k):
            if t - i * d >= 0:
                hidden[t] += x[t - i * d] @ kernel[i]
    return linear(p["output"], np.maximum(hidden, 0))


def stepped(step: Callable[..., tuple], parts: int) -> Form:
    """y of a recurrence from zeros; the kernels and the bias of each gate are given to `step` one by one."""

    def form(p, config, depth, x):
        core, D = p["core"], x.shape[1]
        gates = core["bias"].size // D
        W, U, b = (np.split(core[name], gates, axis=-1) for name in ("input_kernel", "recurrent_kernel", "bias"))
        carry, hidden = (np.zeros(D),) * parts, []
        for x_t in x:
            carry = step(lambda n: x_t @ W[n] + b[n], lambda n: carry[0] @ U[n], carry, core)  # noqa: B023
            hidden.append(carry[0])
        return linear(p["output"], np.array(hidden))

    return form


def rnn(x, h, carry, core):
    """Elman 1990."""
    return (np.tanh(x(0) + h(0)),)


def lstm(x, h, carry, core):
    """Gers et al. 2000."""
    i, f, o = (sigmoid(x(n) + h(n)) for n in (0, 1, 3))
    cell = f * carry[1] + i * np.tanh(x(2) + h(2))
    return o * np.tanh(cell), cell


def gru(x, h, carry, core):
    """Cho et al. 2014 in its first version."""
    r, z = sigmoid(x(0) + h(0)), sigmoid(x(1) + h(1))
    return ((1 - z) * np.tanh(x(2) + r * (h(2) + core["candidate_bias"])) + z * carry[0],)


FORMS: dict[str, Form] = {
    "attention": attention,
    "local_attention": local_attention,
    "strided_attention": strided_attention,
    "hierarchical_attention": hierarchical_attention,
    "rnn": stepped(rnn, 1),
    "lstm": stepped(lstm, 2),
    "gru": stepped(gru, 1),
    "conv": conv,
} | SCANS

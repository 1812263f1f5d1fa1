"""The mixers that are linear recurrences, as `mixer_forms.py` has the others: from the equations, a token at a time.

Dims: T tokens, D model width, H heads, K head width.
"""

from collections.abc import Callable, Iterator

import numpy as np


def linear(p: dict, x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p.get("bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.log1p(np.exp(x))


def heads(x: np.ndarray, H: int) -> list[np.ndarray]:
    return np.split(x, H, axis=-1)


def positive(x):
    """Feng et al. 2024, appendix B.2."""
    return np.where(x >= 0, x + 0.5, sigmoid(x))


def min_gru(p, config, depth, x):
    """Feng et al. 2024, section 3.1."""
    h, hidden = 0.0, []
    for x_t in x:
        z, candidate = np.split(linear(p["core"], x_t), 2)
        h = (1 - sigmoid(z)) * h + sigmoid(z) * positive(candidate)
        hidden.append(h)
    return linear(p["output"], np.array(hidden))


def min_lstm(p, config, depth, x):
    """Feng et al. 2024, section 3.2."""
    h, hidden = 0.0, []
    for x_t in x:
        f, i, candidate = np.split(linear(p["core"], x_t), 3)
        f, i = sigmoid(f), sigmoid(i)
        h = f / (f + i) * h + i / (f + i) * positive(candidate)
        hidden.append(h)
    return linear(p["output"], np.array(hidden))


def lru(p, config, depth, x):
    """Orvieto et al. 2023, appendix A; a complex matrix stands as its real part beside its imaginary one."""
    real, imaginary = np.split(p["core"]["kernel"], 2, axis=1)
    B = real + 1j * imaginary
    real, imaginary = np.split(p["output"]["kernel"], 2, axis=0)
    C = real - 1j * imaginary
    kept = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    h, outputs = 0.0, []
    for x_t in x:
        h = kept * h + np.exp(p["gamma"]) * (x_t @ B)
        outputs.append((h @ C).real + p["skip"] * x_t + p["output"]["bias"])
    return np.array(outputs)


def linear_attention(p, config, depth, x):
    """Katharopoulos et al. 2020, equation 8 with equation 7's map: as attention over all tokens before."""
    phi = {
        "elu": lambda u: np.where(u > 0, u, np.exp(np.minimum(u, 0)) - 1) + 1,
        "relu": lambda u: np.maximum(u, 0),
        "exp": np.exp,
    }[config.linear_attention.feature_map]
    hidden = []
    for q, k, v in by_head(linear(p["core"], x), config.linear_attention.num_heads):
        weights = [[phi(q_t) @ phi(k[s]) for s in range(t + 1)] for t, q_t in enumerate(q)]
        hidden.append([np.array(row) @ v[: len(row)] / (sum(row) + 1e-6) for row in weights])
    return linear(p["output"], np.concatenate(hidden, axis=-1))


def by_head(qkv: np.ndarray, H: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return zip(*(heads(part, H) for part in np.split(qkv, 3, axis=-1)), strict=True)


def short_conv(p: dict, x: np.ndarray) -> np.ndarray:
    """The oldest input has the first row of the kernel."""
    k, y = len(p["kernel"]), np.zeros(x.shape) + p["bias"]
    for t in range(len(x)):
        for i in range(k):
            if t - i >= 0:
                y[t] += p["kernel"][k - 1 - i] * x[t - i]
    return silu(y)


def delta_net(p, config, depth, x):
    """Yang et al. 2024, equation 2, and Yang et al. 2025, equation 10, with the identity less beta k k^T in full."""
    H = config.delta_net.num_heads
    beta, kept = sigmoid(linear(p["write"], x)), np.ones((len(x), H))
    if config.delta_net.gated:
        kept = np.exp(-np.exp(p["log_rate"]) * softplus(linear(p["forget"], x)))
    hidden = []
    for h, (q, k, v) in enumerate(by_head(short_conv(p["conv"], linear(p["core"], x)), H)):
        S, read = np.zeros((v.shape[1], k.shape[1])), []
        for t in range(len(x)):
            k_t, q_t = k[t] / np.sqrt(k[t] @ k[t] + 1e-6), q[t] / np.sqrt(q[t] @ q[t] + 1e-6)
            S = kept[t, h] * S @ (np.eye(len(k_t)) - beta[t, h] * np.outer(k_t, k_t))
            S = S + beta[t, h] * np.outer(v[t], k_t)
            o = S @ q_t
            read.append(o / np.sqrt(np.mean(o**2) + 1e-5) * p["norm"]["scale"])
        hidden.append(read)
    joined = np.concatenate(hidden, axis=-1)
    return linear(p["output"], joined * silu(linear(p["gate"], x)) if config.delta_net.gated else joined)


def mamba(p, config, depth, x):
    """Gu & Dao 2023, algorithm 2, discretised as in its section 2: exp(delta A) and delta B."""
    N, A = config.mamba.state_size, -np.exp(p["log_rate"])
    inner, gate = np.split(linear(p["core"], x), 2, axis=-1)
    inner = short_conv(p["conv"], inner)
    low, b, c = np.split(linear(p["select"], inner), [-2 * N, -N], axis=-1)
    delta, h, read = softplus(linear(p["delta"], low)), np.zeros(A.shape), []
    for t in range(len(x)):
        h = np.exp(delta[t][:, None] * A) * h + np.outer(delta[t] * inner[t], b[t])
        read.append(h @ c[t] + p["skip"] * inner[t])
    return linear(p["output"], np.array(read) * silu(gate))


def mlstm(p, config, depth, x):
    """Beck et al. 2024, equations 19 to 27, without the stabiliser."""
    H = config.mlstm.num_heads
    enter, forget = np.split(linear(p["gates"], x), 2, axis=-1)
    hidden = []
    for h, (q, k, v) in enumerate(by_head(linear(p["core"], x), H)):
        C, n, read = np.zeros((v.shape[1], k.shape[1])), np.zeros(k.shape[1]), []
        for t in range(len(x)):
            k_t, f, i = k[t] / np.sqrt(k.shape[1]), sigmoid(forget[t, h]), np.exp(enter[t, h])
            C, n = f * C + i * np.outer(v[t], k_t), f * n + i * k_t
            read.append(C @ q[t] / max(abs(n @ q[t]), 1))
        hidden.append(read)
    return linear(p["output"], sigmoid(linear(p["leave"], x)) * np.concatenate(hidden, axis=-1))


SCANS: dict[str, Callable] = {
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "lru": lru,
    "linear_attention": linear_attention,
    "delta_net": delta_net,
    "mamba": mamba,
    "mlstm": mlstm,
}

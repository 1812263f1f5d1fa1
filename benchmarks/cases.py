"""Cases of one training step: forward, backward, Adam at a constant rate, nothing else that a peer lacks.

On a GPU: the sizes of the papers, and stacks beside cuDNN through torch.
"""

import itertools
from typing import Any

from benchmarks.compare import Comparison
from benchmarks.contender import Contender
from models.mixers import MIXERS

CONSTANT = {"steps": 10**6, "every.log": 10**6, "schedule.name": "constant", "schedule.warmup_steps": 0}
ADAM = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "clip_norm": 0.0}
BOUND = {"float32": 1e-3, "bfloat16": 0.02}  # of losses: TF32 on one side or both


def step(model: str, batch: int, length: int, hidden: int, layers: int, vocab: int = 8000, **more: Any) -> Contender:
    """Our program, on rows of the full length, so no program gains by skipping padding. `more` has `__` for `.`."""
    values = CONSTANT | {f"optimizer.{key}": value for key, value in ADAM.items()}
    values |= {"batch_size": batch, "data.min_length": length, "data.max_length": length, "model.hidden_size": hidden}
    values |= {"model.num_layers": layers, "data.num_symbols": vocab - 3}  # and three specials
    return Contender("ours", f"configs/reverse.py:{model}", values, "one_batch").but("ours", **more)


def mixers() -> list[Comparison]:
    """Two layers of each mixer over long sequences, all in turn, the stepped GRU first. Half is source."""
    names, found = ["gru", *(name for name in MIXERS if name != "gru")], []
    for length, (what, setting) in itertools.product((512, 2048), (("training", "one_batch"), ("decoding", "decode"))):
        base = step("decoder", 8, length // 2, 128, 2, 64, model__mlp_dim=256).beside("ours", setting)
        programs = [base.but(name, model__mixers=name) for name in names]
        programs.append(base.but("delta_net, gated", model__mixers="delta_net", model__delta_net__gated=True))
        found.append(Comparison(f"mixers_{what}_{length}", f"a step of {what}", programs, bound=None))
    return found


def stack(model: str, batch: int, length: int, hidden: int, **more: Any) -> Contender:
    """Our program: two layers of a cell alone."""
    return step(model, batch, length, hidden, 2, **more).beside("parts", name="ours")


def core(name: str, batch: int, heads: int, length: int, width: int) -> Contender:
    """Our program: causal attention between its projections."""
    sizes: dict[str, Any] = {"model__num_heads": heads, "model__mixers": "attention"}
    return step("decoder", batch, length, heads * width, 1, **sizes).beside("parts", "core", name)


def product(dtype: str, size: int) -> Comparison:
    """A large matrix product, the reference for shares."""
    one = step("gru", 1, 1, size, 1, model__dtype=dtype).beside("parts", "product", "ours")
    return Comparison(f"matmul_{dtype}", f"a product of {size} x {size} matrices", [one], "steps")


def transformer_big(length: int, batch: int, peers: bool) -> Comparison:
    """Vaswani et al. 2017, table 3, `big`, with a vocabulary of 32,768 and no dropout of attention weights."""
    sizes: dict[str, Any] = {"model__num_heads": 16, "model__mlp_dim": 4096, "model__dropout_rate": 0.1}
    ours = step("transformer", batch, length, 1024, 6, 32768, label_smoothing=0.1, model__dtype="bfloat16", **sizes)
    both = [ours, ours.but("ours, attention not fused", model__fused_attention="never")]
    both += [ours.beside("torch"), ours.beside("torch", "compiled")] if peers else []
    question = "at least 45 % of the measured matmul rate, 1.2 times as fast as torch compiled"
    return Comparison(f"transformer_big_{length}", question, both, seconds=40.0, bound=BOUND["bfloat16"], on_gpu=True)


def cells(model: str, length: int, hidden: int, batch: int, dtype: str, peers: bool) -> Comparison:
    """Layers of one cell against cuDNN's, which torch calls."""
    ours = stack(model, batch, length, hidden, model__dtype=dtype)
    cudnn = [ours.but("ours, cuDNN", model__backend="cudnn")] if (model, dtype) == ("lstm", "float32") else []
    both = [ours, *cudnn, *([ours.beside("torch", name="torch, cuDNN")] if peers else [])]
    name = f"{model}_{length}_{hidden}_{dtype}"
    return Comparison(name, "a stack of cells beside cuDNN", both, seconds=20.0, bound=BOUND[dtype], on_gpu=True)


def gpu_cases(peers: bool) -> list[Comparison]:
    """The cases for a GPU, the most important first."""
    return [
        product("bfloat16", 8192),
        *(transformer_big(length, batch, peers) for length, batch in ((128, 128), (512, 32))),
        *(cells(model, length, 256, 64, "float32", peers) for model in ("rnn", "gru", "lstm") for length in (128, 512)),
        *(cells(model, 128, 1024, 256, "bfloat16", peers) for model in ("rnn", "gru", "lstm")),
    ]

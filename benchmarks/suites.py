"""What a user can measure: suites of comparisons, by name."""

import ctypes.util
import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

from benchmarks.agreement import agreement
from benchmarks.cases import core, gpu_cases, mixers, product, stack, step
from benchmarks.compare import Comparison
from benchmarks.contender import Contender
from benchmarks.to_loss import ToLoss

HOW = ("default", "tuned")  # every peer is measured in both ways
JOINT: dict[str, Any] = {  # a model that JoeyNMT has as well: 5.5 M parameters, one rate of dropout; it does not end
    **{"model.hidden_size": 256, "model.num_layers": 3, "model.num_heads": 8, "model.mlp_dim": 512},
    **{"model.dropout_rate": 0.2, "model.attention_dropout_rate": 0.2, "data.tokenizer.vocab_size": 6000},
    **{"tokens_per_batch": 1024, "data.num_buckets": 20, "data.train_examples": 0, "steps": 10**6, "every.log": 10**6},
    **{"optimizer.ema_decay": 0.0, "optimizer.eps": 1e-8, "schedule.name": "inverse_square_root"},
}
TINY: dict[str, Any] = {
    **{"model.hidden_size": 16, "model.num_layers": 1, "model.num_heads": 2, "cpu_devices": 1},
    **{"model.mlp_dim": 16, "batch_size": 2, "data.min_length": 4, "data.max_length": 4, "data.num_symbols": 13},
    **{"data.tokenizer.vocab_size": 64, "tokens_per_batch": 1024, "data.num_buckets": 2, "data.train_examples": 999},
}


installed = functools.cache(ctypes.util.find_library)  # the name of a shared library for LD_PRELOAD, or None


def kinds() -> dict[str, Contender]:
    """Our step of every kind of model."""
    made: dict[str, Contender] = {}
    for model in ("rnn", "gru", "lstm"):
        made[f"{model}_128"] = stack(model, 64, 128, 256)
        made[f"{model}_512"] = stack(model, 64, 512, 256)
        made[f"{model}_batch16"] = stack(model, 16, 128, 256)
        made[f"{model}_tiny"] = stack(model, 64, 64, 64)
    attention: dict[str, Any] = {"model__bidirectional": True, "model__attention__size": 128}
    made["attention"] = step("gru_attention", 64, 32, 256, 1, **attention)
    rates: dict[str, Any] = {"model__dropout_rate": 0.1, "model__attention_dropout_rate": 0.1, "label_smoothing": 0.1}
    made["transformer"] = step("transformer", 64, 32, 256, 3, model__num_heads=8, model__mlp_dim=1024, **rates)
    for length, heads in itertools.product((256, 1024), (16, 4)):  # half of a sequence is source; heads of 16 and of 64
        sizes: dict[str, Any] = {"model__num_heads": heads, "model__mlp_dim": 1024, "model__dropout_rate": 0.1}
        name = f"language_model_{length}_{256 // heads}"
        made[name] = step("transformer_decoder", 4096 // length, length // 2, 256, 3, **sizes)
    return made


def steps(peers: bool) -> list[Comparison]:
    """A training step of every kind of model, beside torch's and Flax's."""
    found: list[Comparison] = [product("float32", 2048)]
    for name, ours in kinds().items():
        beside = [ours.beside(peer, how) for peer in ("torch", "flax") for how in HOW if peers]
        programs = [ours, ours.but("ours, 2 devices", cpu_devices=2), *beside]
        if library := installed("tcmalloc_minimal"):
            both = [ours, *([ours.beside("torch", name="torch")] if peers else [])]
            programs += [one.within(f"{one.name}, tcmalloc", LD_PRELOAD=library) for one in both]
        found.append(Comparison(name, "a training step", programs))
    return found


def cores(peers: bool) -> list[Comparison]:
    """Causal attention alone, forward and backward, beside torch's; and a window of 128 over 4,096 tokens."""
    found = []
    for sizes in ((4, 4, 512, 15), (8, 8, 512, 32), (4, 8, 1024, 32), (2, 4, 2048, 64)):  # rows, heads, tokens, width
        ours = core("ours", *sizes)
        programs = [ours, ours.but("ours, 2 devices", cpu_devices=2)]
        programs += [ours.beside("torch", how) for how in HOW if peers]
        found.append(Comparison("core_{}_{}_{}_{}".format(*sizes), "causal attention", programs))
    full = core("ours", 1, 4, 4096, 32)
    window = full.but("a window of 128", model__mixers="local_attention", model__local_attention__window=128)
    return [*found, Comparison("core_window", "attention to a window", [full, window], bound=None)]


def memory(peers: bool) -> list[Comparison]:
    """What a step gains in speed by the memory that it keeps, and by who allocates it."""
    made, found = kinds(), []
    for name in ("gru_128", "lstm_512", "transformer", "language_model_1024_16"):
        ours = made[name]
        freed, recomputed = ours.but("pages freed", keep_pages=False), ours.but("recomputed", model__remat=True)
        programs = [ours, freed, recomputed, recomputed.but("recomputed, pages freed", keep_pages=False)]
        programs.append(freed.within("huge pages, pages freed", GLIBC_TUNABLES="glibc.malloc.hugetlb=1"))
        for allocator in ("jemalloc", "tcmalloc_minimal"):
            if library := installed(allocator):
                programs.append(ours.within(allocator, LD_PRELOAD=library))
        programs += [ours.beside("torch", how) for how in HOW if peers]
        found.append(Comparison(f"memory_{name}", "speed against memory", programs))
    return found


def text(peers: bool, data: Path | None, run: Path | None) -> list[Comparison]:
    """Training and translating real text, beside JoeyNMT with the same model, vocabulary and batch."""
    where = {"data.dir": str(data)}
    trained = Contender("ours", "configs/multi30k.py:transformer", JOINT | where)
    others = [trained.but("ours, 2 devices", cpu_devices=2)]
    if library := installed("tcmalloc_minimal"):
        others.append(trained.within("ours, tcmalloc", LD_PRELOAD=library))
    ahead = trained.beside("ours", "ahead", "ours")
    translated = Contender("ours", "", where, run=str(run), split="test_2016_flickr")

    def beside(ours: Contender) -> list[Contender]:
        return [ours, *(ours.beside("joeynmt", how) for how in HOW if peers)]

    return [  # in the rounds thrown away every shape of batch is met and compiled
        Comparison("multi30k", "training", [*beside(trained), *others], needs=("data",), steps=20, warm_up=5, least=5),
        ToLoss("to_loss", "3.5 nats", beside(ahead), "trainings", ("data",), steps=50, least=3, until=3.5),
        Comparison("beam5", "search", beside(translated), "sentences", ("data", "run"), steps=1, warm_up=0, least=2),
    ]


def start() -> list[Comparison]:
    """From the start of `python train.py` to the end of its first step, with an empty and with a filled cache."""
    both = itertools.product(("gru_attention", "transformer"), ("cold", "warm"))
    ours = [Contender("start", f"configs/recall.py:{m}", setting=cache, name=f"{m} {cache}") for m, cache in both]
    return [Comparison("start", "start to first step", ours, "steps", steps=1, seconds=0.0, warm_up=0, least=3)]


def pipeline() -> list[Comparison]:
    """What training consumes, and what the input pipeline delivers alone."""
    ours = {model: Contender("ours", f"configs/recall.py:{model}", name="training") for model in ("rnn", "gru")}
    pairs = {model: [one, one.beside("ours", "pipeline", "the pipeline alone")] for model, one in ours.items()}
    return [Comparison(f"pipeline_{n}", "a batch", pair, "steps", steps=60, least=7) for n, pair in pairs.items()]


def known(*, peers: bool, data: Path | None, run: Path | None) -> dict[str, list[Comparison]]:
    """Suites, and each of their cases; what shares are of comes before a step."""
    made = {"steps": steps(peers), "text": text(peers, data, run), "start": start(), "pipeline": pipeline()}
    made |= {"core": cores(peers), "memory": memory(peers), "mixers": mixers(), "gpu": [agreement(), *gpu_cases(peers)]}
    cases = {one.name: [one] for suite in made.values() for one in suite}
    return made | cases | {one.name: [made["steps"][0], one] for one in made["steps"]}


def as_asked(one: Comparison, *, seconds: float | None, tiny: bool) -> Comparison:
    """With `seconds`; or `tiny`, so that any machine makes it at once, and without cuDNN, which needs a GPU."""
    one = one if seconds is None else dataclasses.replace(one, seconds=seconds)
    if not tiny:
        return one
    kept = [ours for ours in one.contenders if ours.values.get("model.backend") != "cudnn"]
    small = [ours.but(ours.name, **{key: TINY.get(key, v) for key, v in ours.values.items()}) for ours in kept]
    return dataclasses.replace(one, contenders=small, seconds=0.0, settle=0.0)

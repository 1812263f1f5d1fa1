"""What has golden numbers, by walking the tables, and how each of it is run: tiny, and a pure function of the code.

`moved` multiplies every parameter by 1 plus that share of noise. Rounding differs from machine to machine by less, so
numbers that such a move leaves as they are hold on any.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import data
import models
from data import pipeline
from data.tasks.language import Language
from experiments.probes import PROBES
from models.decoding import METHODS, Wanted
from tests.training import runs
from training.machine import mesh
from training.run.restore import Restored
from training.step import params, train_step

Values = Mapping[str, Any]  # of a config, as `runs.config` takes them
Texts = Mapping[str, Values]  # by task, for those that read text
Numbers = dict[str, Any]

STEPS = 3
PLAIN = {
    "optimizer__name": "sgd",
    "optimizer__momentum": 0.0,
    "optimizer__clip_norm": 0.0,
    "optimizer__learning_rate": 0.2,
    "schedule__name": "constant",
    "model__dropout_rate": 0.1,
}


def run_of(task: str, model: str, values: Values, *, drawn: float, moved: float = 0.0) -> Restored:
    """A model of a task, initialised as a run is; or `drawn` with this standard deviation, so that no bias is zero and
    nothing is nearly uniform."""
    config = runs.config(task, model, **values)
    made = data.build(config.task, config.data)

    def build() -> models.Architecture:
        return models.build(model, config.model, made.spec, jax.random.key(config.seed))

    graph, state = nnx.split(nnx.eval_shape(build) if drawn else build())
    random = np.random.default_rng(0)

    def array(leaf: Any) -> jax.Array:
        value = drawn * random.normal(size=leaf.shape) if drawn else np.asarray(leaf, np.float64)
        return jnp.asarray(value * (1 + moved * random.normal(size=leaf.shape)), jnp.float32)

    return Restored(config, made, nnx.merge(graph, jax.tree.map(array, state)), 0)


class Steps(NamedTuple):
    """What training consists of: `step(state, batch(k), dials(k))` is what a run does at step k."""

    step: train_step.TrainStep
    first: train_step.State
    dials: Callable[[int], train_step.Dials]
    batches: Callable[[int], Iterator[Mapping[str, Any]]]  # from step k on


def steps_of(run: Restored) -> Steps:
    devices, recipe, batching = mesh.make(), train_step.Recipe.of(run.config), pipeline.Batching.of(run.config)

    def batches(start: int) -> Iterator[Mapping[str, Any]]:
        made = pipeline.train_batches(run.task, batching, start=start)
        yield from (mesh.place(next(made), devices) for _ in range(start, STEPS + 1))
        made.close()

    step = jax.jit(train_step.make_train_step(params.Skeleton(run.model), run.task.spec, recipe))
    first = train_step.initial_state(params.flatten(run.model), run.config.optimizer)
    # Where the step leaves its state, or the second step would be another program.
    return Steps(step, mesh.put(first, mesh.replicated(devices)), train_step.make_dials(recipe), batches)


def training(steps: Steps) -> Numbers:
    """Loss and norm of the gradient of the first batch, and of the fourth after three steps of plain SGD."""
    state, found = steps.first, []
    for number, batch in enumerate(steps.batches(0)):
        state, metrics = steps.step(state, batch, steps.dials(number))
        found.append({name: float(metrics[name]) for name in ("loss", "gradient_norm")})
    return {"at first": found[0], f"after {STEPS} steps": found[STEPS]}


class Probed(NamedTuple):
    """A probe's model and options."""

    task: str = "reverse"
    model: str = "transformer"
    options: Mapping[str, Any] = {}
    values: Values = {}
    drawn: float = 0.8
    counted: Sequence[str] = ()  # the measures that are no time; all where it is empty


COUNTED = ("num_params", "num_params_non_embedding", "flops_per_token", "state_bytes", "training_flops")
PROBED = {
    "gradient_by_time": Probed(model="rnn_decoder", options={"places": 4, "quantiles": (0.5,)}),
    "exposure": Probed("translate", "gru_attention"),
    "bleu": Probed("translate", options={"beam_size": 2}),
    "bleu_by_length": Probed("translate", options={"split": "val", "edges": (1, 6, 12), "draws": 2}),
    "throughput": Probed(
        model="gru_decoder",
        options={"seconds": 0.0, "size": 32, "decoded": 3},
        values={"data__min_length": 6},
        counted=(*COUNTED, "decoding_flops"),
    ),
}
"""Of the probes that need another model than `Probed()`."""


def probe(name: str, texts: Texts, moved: float = 0.0) -> Numbers:
    """Every measurement, as "measure, part, place, number of answers"; None where it is a time."""
    how = PROBED.get(name, Probed())
    run = run_of(how.task, how.model, {**texts.get(how.task, {}), **how.values}, drawn=how.drawn, moved=moved)
    found: Numbers = {}
    for one in PROBES[name](run, **how.options):
        place = "" if math.isnan(one.place) else f"at {one.place:g}"
        answers = "" if math.isnan(one.answers) or how.counted else f"of {one.answers:g}"  # turns are no answers
        timed = bool(how.counted) and one.measure not in how.counted
        label = " ".join(filter(None, (one.measure, one.part, place, answers)))
        assert timed or label not in found, f"probe {name} gives {label} twice"
        found[label] = None if timed else float(one.value)
    return found


DECODED: dict[str, tuple[str, Values]] = {
    **{name: (name, {}) for name in METHODS},
    "beam": ("beam", {"beam_size": 3}),
    "sample within top k and p": ("sample", {"temperature": 0.8, "top_k": 4, "top_p": 0.9}),
}
"""By name: the method and its options."""


def decoding(name: str, texts: Texts, moved: float = 0.0) -> Numbers:
    """The tokens of each row, by architecture."""
    method, options = DECODED[name]
    found: Numbers = {}
    for model in ("gru_attention", "transformer"):
        run = run_of("translate", model, texts["translate"], drawn=0.8, moved=moved)
        batch = next(pipeline.eval_batches(run.task, "val", pipeline.Batching.of(run.config), limit=8))
        graph, state = nnx.split(run.model)
        spec, key = run.task.spec, {"key": jax.random.split(jax.random.key(4), 8)} if method == "sample" else {}

        @jax.jit
        def decode(state, source, mask, graph=graph, spec=spec, key=key):
            wanted = Wanted(spec.bos, spec.eos, spec.pad, max_len=12)
            return METHODS[method](nnx.merge(graph, state), source, mask, wanted, **options, **key).tokens

        tokens_BN = np.asarray(decode(state, jnp.asarray(batch["source"]), jnp.asarray(batch["source_mask"])))
        found[model] = [" ".join(map(str, row)) for row in tokens_BN.tolist()]
    return found


SMOOTH: dict[str, Values] = {"delta_net_decoder": {"optimizer__learning_rate": 0.02, "model__delta_net__num_heads": 1}}
"""Of the architectures whose rounding grows: this one divides what narrow heads read by its size, which may be tiny."""


@functools.cache
def steps_with(name: str, moved: float) -> Steps:
    """Of an architecture; kept for the test that goes on from a checkpoint."""
    task = "reverse" if "sequence" in models.MODELS[name].layouts else "odds_first"
    return steps_of(run_of(task, name, {**PLAIN, **SMOOTH.get(name, {})}, drawn=0.0, moved=moved))


def architecture(name: str, texts: Texts, moved: float = 0.0) -> Numbers:
    return counting(name, texts) if models.MODELS[name].counted else training(steps_with(name, moved))


PATTERNS: dict[str, tuple[str, Values]] = {
    "mixers": (
        "decoder",
        {
            "model__mixers": "gru,local_attention,hierarchical_attention,conv",
            "model__num_layers": 4,
            "model__local_attention__window": 3,
            "model__hierarchical_attention__block_size": 3,
        },
    ),
    "current practice": (
        "transformer_decoder",
        {
            "model__norm_kind": "rmsnorm",
            "model__activation": "swiglu",
            "model__use_bias": False,
            "model__num_kv_heads": 1,
            "model__positions": "relative",
        },
    ),
    "buckets of distances": ("transformer", {"model__positions": "t5", "model__norm": "post"}),
}
"""By name: an architecture, with other values than its defaults."""


def pattern(name: str, texts: Texts, moved: float = 0.0) -> Numbers:
    model, values = PATTERNS[name]
    return training(steps_of(run_of("reverse", model, {**PLAIN, **values}, drawn=0.0, moved=moved)))


def counting(name: str, texts: Texts) -> Numbers:
    """Nats a token of the text that was counted, and of others. No parameter can be moved: they follow from counts."""
    run = run_of("shakespeare", name, texts["shakespeare"], drawn=0.0)
    assert isinstance(run.task, Language)
    counted = run.model.count(run.task.tokens("train"))
    rows = next(pipeline.eval_batches(run.task, "val", pipeline.Batching.of(run.config)))
    logits_BTV = run.model(
        jnp.asarray(rows["source"]), jnp.asarray(rows["source_mask"]), jnp.asarray(rows["target_in"])
    ).logits
    loss_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, jnp.asarray(rows["target_out"]))
    return {"train": counted.nll, "val": float(jnp.average(loss_BT, weights=rows["target_weights"]))}


def task(name: str, texts: Texts, moved: float = 0.0) -> Numbers:
    return training(steps_of(run_of(name, "gru_decoder", {**PLAIN, **texts.get(name, {})}, drawn=0.4, moved=moved)))


Case = Callable[..., Numbers]
"""(name, texts, moved) -> numbers."""

CASES: dict[str, tuple[Case, Mapping[str, Any]]] = {
    "architectures": (architecture, models.MODELS),
    "patterns": (pattern, PATTERNS),
    "tasks": (task, data.TASKS),
    "probes": (probe, PROBES),
    "decoding": (decoding, DECODED),
}
"""By kind: how one is run, and the table of them."""

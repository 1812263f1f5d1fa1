"""How fast an architecture trains and decodes: tokens per second, FLOPs, memory, and the share of the machine's peak.

Everything is measured in one process and in turn, beside a large matrix product that shows what the machine can do at
that moment. The same batch is used for every step, so the input pipeline does not count.

Dims: B batch, S source length, T target length.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

import models
from benchmarks.chips import vendor_peak
from data import pipeline
from data.batch import Batch
from experiments.probes import compiled
from experiments.probes.by_call import ByCall
from experiments.probes.compiled import Called
from experiments.probes.measurement import Measurement, of_model
from models import flops
from models.contract import Architecture, Spec
from training.command import cli
from training.command.config_file import override
from training.machine import mesh, provenance
from training.run.restore import Restored
from training.step import params, train_step
from training.step.train_step import Recipe

PHASES = ("training", "decoding")
BACKWARD = 2  # as much work as forward, so many times
SIZE = {"cpu": 2048}  # of the product on each kind of device
LARGE = 8192  # and on any other


def measure(
    run: Restored,
    *,
    label: str = "",
    beside: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    phases: Sequence[str] = PHASES,
    by_call: Mapping[str, str] | None = None,
    seconds: float = 5.0,
    decoded: int = 16,
    size: int = 0,
) -> Iterator[Measurement]:
    """The run's own model, as `label` (or its architecture's name), and others `beside` it: label -> (FILE:ARGUMENT,
    overrides), on the run's task, data and batch. `by_call` names recurrent ones, new label ->
    label, whose training with a call a time step is measured as well (`by_call.py`). `part` says
    which, `place` how many tokens a sequence has: those of source and target in `training`, those read before the first
    decoded one in `decoding`. For each phase:

    PHASE_tokens_per_second    medians over turns, and `..._p10`, `..._p90`; tokens read in training, tokens given in
                               decoding, padding left out; B rows give B tokens per step
    PHASE_step_seconds         of an update (forward, backward, optimizer), or of one more token in all B rows, the
                               reading of the source left out; `answers` is the number of turns
    PHASE_compile_seconds      past the cache; beside other compilations where several jobs run on a GPU
    PHASE_flops                a step: products alone, the backward pass as twice the forward; causal attention counts
                               all keys
    PHASE_matmul_share         of the rate of a `size` x `size` product in the same dtype, measured in the same turns
    PHASE_mfu                  of the vendor's peak, for bfloat16 on devices whose peak is known
    PHASE_program_bytes        arguments, results and temporaries of the program on each device, as the compiler plans
                               them: no measurement, but of this one alone

    Sizes of each come first: `num_params`, `num_params_non_embedding`, `flops_per_token`, `state_bytes`.
    `peak_memory_bytes` is measured, and of the whole process, so of all that it ever held. Raises ValueError for what
    cannot be stepped: a phase that is none, decoding where outputs are not fed back, another task beside.
    """
    if unknown := set(phases) - set(PHASES):
        raise ValueError(f"throughput: phases = {unknown.pop()!r} is none; choose from {', '.join(PHASES)}")
    devices, spec = mesh.make(), run.task.spec
    batch = _batch(run)
    systems = {label or run.config.model.name: (run.config, run.model)}
    systems |= {name: _other(run, name, *how) for name, how in (beside or {}).items()}
    for name, (_, model) in systems.items():
        parts = params.flatten(model)
        yield Measurement("num_params", params.count(parts), part=name)
        yield Measurement("num_params_non_embedding", params.count(parts, embeddings=False), part=name)
        yield from of_model(model, spec, name)
    kind = jax.devices()[0].device_kind
    for phase in phases:
        programs: dict[str, Called] = {}
        dtypes = {name: config.model.dtype for name, (config, _) in systems.items()}
        for name, (config, model) in systems.items():
            if phase == "training":
                programs[name] = _training(spec, Recipe.of(config), model, batch, devices)
            elif model.decodes and spec.free_running:
                programs[name] = _decoding(spec, model, batch, devices, decoded)
            else:
                whose = f"outputs of {config.model.name} on {config.task}"
                raise ValueError(f"throughput: {whose} are not fed back; leave it out")
        for name, of in (by_call or {}).items() if phase == "training" else ():
            config, model = systems[of]
            trained = ByCall(model, config.model, spec, Recipe.of(config), batch)
            sizes = (programs[of].tokens, 1, trained.compile_seconds, trained.program_bytes)
            programs[name] = Called(trained.step, programs[of].flops, *sizes)  # the work is that of its scan
            dtypes[name] = dtypes[of]
        size = size or SIZE.get(jax.default_backend(), LARGE)
        products = {dtype: compiled.matmul(size, jnp.dtype(dtype), devices) for dtype in set(dtypes.values())}
        compiled.measure([*programs.values(), *products.values()], seconds)
        place = float(batch["source_mask"].shape[1] + (batch["target_in"].shape[1] if phase == "training" else 0))
        for name, program in programs.items():
            product = products[dtypes[name]]
            peak = vendor_peak(kind) if dtypes[name] == "bfloat16" else None
            for measure, value in _rows(program, product, peak and peak * devices.size):
                yield Measurement(f"{phase}_{measure}", value, place, name, len(program.seconds))
        for dtype, product in products.items():
            rate = product.flops / product.quantile(0.5)
            yield Measurement("matmul_flops_per_second", rate, part=dtype, answers=len(product.seconds))
    yield Measurement("peak_memory_bytes", provenance.device_memory_bytes())


def _rows(program: Called, product: Called, peak: float | None) -> Iterator[tuple[str, float]]:
    median, rate = program.quantile(0.5), product.flops / product.quantile(0.5)
    for ending, share in (("", 0.5), ("_p10", 0.1), ("_p90", 0.9)):
        yield f"step_seconds{ending}", program.quantile(share)
        yield f"tokens_per_second{ending}", program.tokens / program.quantile(1 - share)
    yield "compile_seconds", program.compile_seconds
    yield "flops", program.flops
    yield "matmul_share", program.flops / median / rate
    if peak:
        yield "mfu", program.flops / median / peak
    yield "program_bytes", program.program_bytes


def _batch(run: Restored) -> Batch:
    """The first batch of training."""
    batches = pipeline.train_batches(run.task, pipeline.Batching.of(run.config))
    try:
        return next(batches)
    finally:
        batches.close()


def _other(run: Restored, name: str, where: str, overrides: Mapping[str, Any]) -> tuple[ConfigDict, Architecture]:
    """Another architecture on the run's task, untrained: its cost does not depend on its weights."""
    config = cli.load(where)
    override(config, overrides)
    if config.task != run.config.task:
        raise ValueError(f"throughput: {name} = {where} is of another task; use one of {run.config.task}, the run's")
    config.data = run.config.data
    return config, models.build(config.model.name, config.model, run.task.spec, jax.random.key(config.seed))


def _training(spec: Spec, recipe: Recipe, model: Architecture, batch: Batch, devices: Mesh) -> Called:
    """One update, as train.py makes it."""
    skeleton, arrays = params.Skeleton(model), mesh.place(batch, devices, recipe.optimizer.accumulation)
    weights = jax.tree.map(jnp.copy, params.flatten(model))  # they are given away
    held = {"state": jax.device_put(train_step.initial_state(weights, recipe.optimizer), mesh.replicated(devices))}
    dials = train_step.make_dials(recipe)(0)
    update = mesh.within(devices, train_step.make_train_step(skeleton, spec, recipe))
    program, taken, size = compiled.compiled(update, held["state"], arrays, dials, donate=(0,))

    def take() -> dict[str, jax.Array]:
        held["state"], metrics = program(held["state"], arrays, dials)
        return metrics

    work = flops.count(lambda weights, arrays: train_step.forward(skeleton(weights), arrays).logits, weights, arrays)
    return Called(take, (1 + BACKWARD) * work, _tokens(batch, spec), 1, taken, size)


def _tokens(batch: Batch, spec: Spec) -> float:
    """Tokens read in training, without padding."""
    return float(batch["source_mask"].sum() + (batch["target_in"] != spec.pad).sum())


def _decoding(spec: Spec, model: Architecture, batch: Batch, devices: Mesh, decoded: int) -> Called:
    """Decodes `decoded` greedy tokens after the source; a step is one of them."""
    arrays = mesh.place(batch, devices)
    graph, weights = nnx.split(model)
    weights = jax.device_put(weights, mesh.replicated(devices))

    def start(weights, arrays):
        return nnx.merge(graph, weights).start(arrays["source"], arrays["source_mask"], decoded)

    def decode(weights, memory, state):
        model = nnx.merge(graph, weights)

        def one(t, carry):
            token_B, state = carry
            logits_BV, state = model.step(token_B, t, memory, state)
            return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32), state

        first_B = jnp.full(arrays["source"].shape[0], spec.bos, jnp.int32)
        return jax.lax.fori_loop(0, decoded, one, (first_B, state))[0]

    memory, state = jax.jit(mesh.within(devices, start))(weights, arrays)
    program, taken, size = compiled.compiled(mesh.within(devices, decode), weights, memory, state)
    token_B, t = jnp.full(arrays["source"].shape[0], spec.bos, jnp.int32), jnp.zeros((), jnp.int32)
    work = flops.count(lambda weights: nnx.merge(graph, weights).step(token_B, t, memory, state)[0], weights)
    rows = int((batch["index"] >= 0).sum())
    return Called(lambda: program(weights, memory, state), work, rows, decoded, taken, size)

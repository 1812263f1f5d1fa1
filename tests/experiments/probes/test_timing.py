"""Throughput: what is counted is right, systems step in turn, and a call a step gives the same update."""

import jax
import numpy as np
import pytest

from benchmarks import turns
from data import pipeline
from experiments.probes import by_call, compiled
from experiments.probes import timing as probe
from experiments.probes.compiled import Called
from tests.experiments.probes.restored import restored
from tests.training import runs
from training.machine import mesh
from training.step import params, train_step

FAST = {"seconds": 0.0, "size": 32, "decoded": 3}
BY_CALL = {"by call": "gru_decoder"}
BESIDE = {"Transformer": ("configs/reverse.py:transformer_decoder", {"model.hidden_size": 8, "model.num_layers": 1})}


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def test_systems_are_measured_side_by_side():
    run = restored("reverse", "gru_decoder", data__min_length=6)
    found = {(one.measure, one.part): one for one in probe.measure(run, beside=BESIDE, by_call=BY_CALL, **FAST)}
    systems = {part for measure, part in found if measure == "training_tokens_per_second"}
    assert systems == {"gru_decoder", "Transformer", "by call"}
    for phase, place, tokens in (("training", 12, 16 * 12), ("decoding", 6, 16)):
        for name in ("gru_decoder", "Transformer"):
            rate, seconds = (found[f"{phase}_{m}", name] for m in ("tokens_per_second", "step_seconds"))
            assert rate.place == place and rate.answers >= turns.LEAST_ROUNDS
            assert rate.value * seconds.value == pytest.approx(tokens)
            assert found[f"{phase}_step_seconds_p10", name].value <= seconds.value
            assert found[f"{phase}_tokens_per_second_p10", name].value <= rate.value
            share, work = found[f"{phase}_matmul_share", name].value, found[f"{phase}_flops", name].value
            assert share > 0 and work > 0 and found[f"{phase}_compile_seconds", name].value > 0
            assert found[f"{phase}_program_bytes", name].value > 4 * params.count(params.flatten(run.model))
    assert not any("mfu" in measure for measure, _ in found)  # of a CPU no peak is known
    assert found["peak_memory_bytes", ""].value > 1e6


def test_the_work_of_a_gru_in_closed_form():
    run = restored("reverse", "gru_decoder", data__min_length=6)
    found = {one.measure: one.value for one in probe.measure(run, **FAST)}
    D, V = run.config.model.hidden_size, run.task.spec.output_size
    cell, output = 2 * 2 * D * 3 * D, 2 * D * V
    assert found["training_flops"] == 3 * 16 * (12 * cell + 6 * output)
    assert found["decoding_flops"] == 16 * (cell + output)


def test_the_run_itself_is_left_as_it_was():
    run = restored("reverse", "gru_decoder", data__min_length=6)
    before = {name: np.array(array) for name, array in params.flatten(run.model).items()}
    list(probe.measure(run, phases=["training"], **FAST))
    for name, array in params.flatten(run.model).items():
        np.testing.assert_array_equal(array, before[name])


def test_nothing_is_read_from_the_cache_on_disk(tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        compiled.compiled(lambda x: x @ x + 2, np.ones((3, 3), np.float32))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert list(tmp_path.iterdir()) == [] and jax.config.values["jax_enable_compilation_cache"]


def test_turns_alternate_and_warm_up_is_thrown_away():
    called: list[str] = []
    programs = [Called(lambda name=name: called.append(name), 1.0, steps=2) for name in "ab"]
    turns.TURN_SECONDS, before = 0.0, turns.TURN_SECONDS
    try:
        compiled.measure(programs, 0.0)
    finally:
        turns.TURN_SECONDS = before
    rounds = turns.WARM_UP + turns.LEAST_ROUNDS
    assert called == ["a", "a", "b", "b"] + ["a", "b"] * rounds
    assert len(programs[0].seconds) == turns.LEAST_ROUNDS


@pytest.mark.parametrize("model", ["rnn_decoder", "gru_decoder", "lstm_decoder"])
def test_a_call_a_step_gives_the_update_of_the_scan(model):
    run = restored("reverse", model, data__min_length=6, model__num_layers=2, schedule__name="constant")
    batch = next(pipeline.train_batches(run.task, pipeline.Batching.of(run.config)))
    recipe = train_step.Recipe.of(run.config)
    trained = by_call.ByCall(run.model, run.config.model, run.task.spec, recipe, batch)
    devices, skeleton = mesh.make(), params.Skeleton(run.model)
    update = jax.jit(train_step.make_train_step(skeleton, run.task.spec, recipe))
    state = train_step.initial_state(params.flatten(run.model), run.config.optimizer)
    for number in range(2):
        state, _ = update(state, mesh.place(batch, devices), train_step.make_dials(recipe)(number))
        weights = trained.step()
    moved = max(float(abs(state["params"][name] - array).max()) for name, array in params.flatten(run.model).items())
    assert moved > 1e-4
    for name, array in state["params"].items():
        np.testing.assert_allclose(weights[name], array, atol=0.02 * moved, err_msg=name)


def test_what_cannot_be_measured():
    run = restored("reverse", "gru_decoder", data__min_length=6)
    with pytest.raises(ValueError, match="phases = 'sleeping' is none; choose from training, decoding"):
        list(probe.measure(run, phases=["sleeping"]))
    with pytest.raises(ValueError, match="is of another task; use one of reverse"):
        list(probe.measure(run, beside={"b": ("configs/recall.py:gru_decoder", {})}))
    with pytest.raises(ValueError, match="outputs of gru_decoder on recall are not fed back"):
        list(probe.measure(restored("recall", "gru_decoder"), phases=["decoding"], **FAST))
    with pytest.raises(ValueError, match="cannot read this batch token by token"):
        list(probe.measure(restored("reverse", "gru_decoder"), phases=["training"], by_call=BY_CALL, **FAST))

"""What does not fit the machine is refused before anything is allocated; what fits is not."""

import re

import jax
import jax.numpy as jnp
import pytest

import data
import models
import train
from data import pipeline
from tests.training import runs
from tests.training.processes import ROOT
from training.command import cli
from training.machine import programs
from training.run import memory
from training.step import params
from training.step.train_step import Recipe


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 2_000_000)


def check(**values):
    config = runs.config("recall", "gru", **values)
    task, batching = data.build(config.task, config.data), pipeline.Batching.of(config)
    memory.check(config.model, Recipe.of(config), batching, task, config.eval_examples)


def test_what_fits_goes_on(small):
    check()


def test_parameters_gradients_and_both_moments_must_fit(small):
    with pytest.raises(ValueError, match=r"model\.hidden_size = 512 and the other .* 0\.0 GB a device; lower model"):
        check(model__hidden_size=512)


@pytest.mark.parametrize(
    ("model", "values", "size"),
    [
        ("gru", {"embed_size": 4096}, "embed_size = 4096"),
        ("transformer", {"mlp_dim": 65536, "hidden_size": 16}, "mlp_dim = 65536"),
        ("transformer", {"hidden_size": 1024, "mlp_dim": 4096}, "hidden_size = 1024"),
        ("min_gru_decoder", {"min_gru__expansion": 2**24}, "min_gru.expansion = 16777216"),
    ],
)
def test_the_size_that_is_out_of_proportion_is_named(small, model, values, size, recwarn):
    values = {f"model__{key}": value for key, value in values.items()}
    config = runs.config("recall" if "decoder" not in model else "selective_copying", model, **values)
    spec = data.outline(config.task, config.data)
    with pytest.raises(ValueError) as error:
        memory.check_parameters(config.model, Recipe.of(config), spec)
    said = str(error.value)
    assert said.startswith(f"model.{size} and the other sizes make ") and f"lower model.{size.split(' ')[0]}, " in said
    assert said.count("model.hidden_size") == 1 + size.startswith("hidden") and not len(recwarn)


def test_many_layers_are_refused_without_being_traced(small, monkeypatch):
    built, build = [], memory.models.build
    monkeypatch.setattr(
        memory.models, "build", lambda name, c, *rest: (built.append(c.num_layers), build(name, c, *rest))[1]
    )
    with pytest.raises(ValueError) as error:
        check(model__num_layers=1000)
    assert max(built) == 8
    (layer,) = {few - fewer for few, fewer in ((parameters(8), parameters(7)), (parameters(5), parameters(4)))}
    assert f" make {parameters(8) + 992 * layer:,} parameters" in str(error.value)


def parameters(num_layers):
    config = runs.config("recall", "gru", model__num_layers=num_layers)
    spec = data.build(config.task, config.data).spec
    key = jax.random.key(0)
    return params.count(jax.eval_shape(lambda: params.flatten(models.build("gru", config.model, spec, key))))


@pytest.mark.parametrize("values", [{}, {"loss_positions": 1}])
def test_a_batch_must_fit(small, values):
    with pytest.raises(ValueError, match=r"batch_size = 1000000 makes batches .*; lower batch_size"):
        check(batch_size=1_000_000, **values)


def test_the_machine_has_memory():
    assert memory.device_bytes() > 100e6


def test_what_is_evaluated_on_must_fit(small):
    with pytest.raises(
        ValueError, match=r"eval_examples = 0 makes 1,000,000 examples which .* GB a device; lower eval_ex"
    ):
        check(data__val_examples=1_000_000, eval_examples=0)
    check(data__val_examples=1_000_000, eval_examples=32)


def test_a_program_must_fit_before_it_runs(monkeypatch):
    program = jax.jit(lambda x: (x @ x).sum()).lower(jnp.ones((64, 64))).compile()
    programs.check_memory(program, "a program")
    monkeypatch.setattr(programs.backend, "device_bytes", lambda: 10_000)
    with pytest.raises(MemoryError, match=r"^a program takes 0\.0 GB$") as error:
        programs.check_memory(program, "a program")
    assert "memory ran out: a program takes 0.0 GB; a device has" in (memory.exhausted(error.value, "") or "")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model__num_heads": 3}, "model.num_heads = 3 does not divide"),
        ({"model__hidden_size": 10**7, "model__num_heads": 1}, "model.hidden_size = 10000000 and the other sizes"),
        ({"data__tokenizer__normalization": "nfk"}, "data.tokenizer.normalization = 'nfk' is not known"),
    ],
)
def test_a_mistake_is_found_before_text_is_read_and_a_tokenizer_kept(tmp_path, values, said):
    config = runs.text_config(tmp_path / "nowhere", "transformer", data__cache_dir=str(tmp_path / "cache"), **values)
    with pytest.raises(ValueError, match=re.escape(said)):
        train.train(config, tmp_path / "run")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["translate", "multi30k", "multi30k_joined", "tfds", "shakespeare"])
def test_text_is_outlined_without_being_read(task):
    config = cli.load(f"{ROOT}/configs/{task}.py:gru_decoder")
    spec, size = data.outline(task, config.data), config.data.tokenizer.vocab_size
    if task == "shakespeare":  # of characters nobody knows how many there are
        assert (spec.source_size, spec.output_size, spec.max_target_length) == (0, 260, config.data.length)
    else:
        assert (spec.source_size, spec.output_size, spec.max_target_length) == (size, size, config.data.max_length)


def test_a_vocabulary_that_is_most_of_it_is_named(small):
    config = runs.config("recall", "gru", data__num_values=2**17)
    with pytest.raises(ValueError, match=r"a vocabulary of 131,\d+ tokens and the other sizes make .* or the vocabu"):
        memory.check_parameters(config.model, Recipe.of(config), data.outline(config.task, config.data))


def test_the_size_that_is_out_of_proportion_is_what_to_lower_first():
    usual, large = (runs.config("recall", "gru", model__embed_size=size).model for size in (8, 4096))
    assert memory.lower(usual).startswith(
        "lower batch_size, tokens_per_batch, lengths, model.hidden_size or model.num_"
    )
    assert "lengths, model.embed_size or model.hidden_size or model.num_layers, raise" in memory.lower(large)

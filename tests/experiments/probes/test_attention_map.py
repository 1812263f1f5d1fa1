"""Attention maps: entropies and agreement by hand, and places of answers in every layout."""

import numpy as np
import pytest

from data import pipeline
from experiments.probes import attention_map as probe
from models.seq2seq_attention import WEIGHTS_TAP
from tests.experiments.probes.restored import restored
from tests.training import runs


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def test_entropy_and_agreement_by_hand():
    even, sharp = [0.25] * 4, [0.0, 0.0, 0.9, 0.1]
    found = probe._of_head(np.array([[even, sharp]]), np.array([[True, True]]), np.array([[-1, 2]]))
    np.testing.assert_allclose(found["entropy"], [np.log(4), -0.9 * np.log(0.9) - 0.1 * np.log(0.1)])
    np.testing.assert_allclose(found["entropy_share"][0], 1.0)
    assert found["on_answer"].tolist() == [0.9] and found["near_answer"].tolist() == [1.0]
    assert found["finds_answer"].tolist() == [1.0]
    assert probe._of_head(np.array([[sharp]]), np.array([[True]]), np.array([[0]]))["finds_answer"].tolist() == [0.0]


@pytest.mark.parametrize("model", ["transformer_decoder", "gru_attention", "transformer"])
def test_answers_lie_where_the_source_holds_them(model):
    """The key that is pointed at is the target's own token."""
    run = restored("recall", model)
    batch = next(pipeline.eval_batches(run.task, "val", pipeline.Batching.of(run.config), limit=8))
    (B, S), T = batch["source_mask"].shape, batch["target_in"].shape[1]
    whole = model == "transformer_decoder"
    name = {"gru_attention": WEIGHTS_TAP, "transformer": "decoder.0.cross_attention"}.get(model, "decoder.0.attention")
    Q, K = (S + T, S + T) if whole else (T, S)
    real_BQ, answer_BQ = probe.queries(batch, name, Q, K)
    keys_BK = np.concatenate([batch["source"], batch["target_in"]], 1) if whole else batch["source"]
    for row in range(B):
        answers = answer_BQ[row][real_BQ[row]]
        counted = batch["target_weights"][row] > 0
        np.testing.assert_array_equal(keys_BK[row][answers], batch["target_out"][row][counted])


def test_the_source_is_not_looked_for_among_the_targets():
    """Not even where both are as long."""
    run = restored("reverse", "transformer")
    batch = next(pipeline.eval_batches(run.task, "val", pipeline.Batching.of(run.config), limit=8))
    S, T = batch["source_mask"].shape[1], batch["target_in"].shape[1]
    places = {
        kind: probe.queries(batch, f"decoder.0.{kind}", T, keys)[1]
        for kind, keys in (("attention", T), ("cross_attention", S))
    }
    assert (places["attention"] == -1).all() and (places["cross_attention"] >= 0).any()


@pytest.mark.parametrize("model", ["transformer_decoder", "gru_attention", "transformer"])
def test_every_head_of_every_layer(model):
    found = list(probe.measure(restored("recall", model), examples=16))
    assert {one.measure for one in found} == {"entropy", "entropy_share", "on_answer", "near_answer", "finds_answer"}
    heads = {one.part for one in found if one.measure == "entropy"}
    per_layer = 1 if model == "gru_attention" else 2
    layers = {"gru_attention": 1, "transformer_decoder": 1, "transformer": 3}[model]
    assert len(heads) == per_layer * layers
    assert all(0 <= one.value <= 1 + 1e-6 for one in found if one.measure != "entropy")


def test_without_attention():
    with pytest.raises(ValueError, match="gru_decoder has no attention"):
        list(probe.measure(restored("recall", "gru_decoder")))

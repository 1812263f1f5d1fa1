"""In-context recall: what is drawn is what the paper draws, and a place where a value was given is found."""

import importlib

import numpy as np
import pytest

from data import build, random
from data.tasks.fuzzy_recall import code, last_same, motifs
from data.tasks.repeated_keys import cut
from data.tasks.synthetic import FIRST


def make(name, setting):
    return build(name, importlib.import_module(f"configs.{name}").get_config(f"gru,{setting}").data)


def whole(task, split, count=400):
    """Sequences as drawn: the source, then the target's tokens."""
    shape = task.spec.max_source_length, task.spec.max_target_length
    made = task.batch(split, 0, np.arange(count), shape)
    return np.concatenate([made["source"], made["target_in"]], axis=1), made


def test_a_sequence_is_cut_into_source_and_target():
    sequence = np.array([[10, 20, 11, 21, 10, 20, 11, 21]])
    given = np.array([[-1, -1, -1, -1, -1, 1, -1, 3]])
    made = cut(sequence, given, source_length=3, space=1.0)
    assert made.source.tolist() == [[10, 20, 11]] and made.target_in.tolist() == [[21, 10, 20, 11]]
    assert made.target_out.tolist() == [[0, 20, 0, 21]] and made.weights.tolist() == [[0, 1, 0, 1]]
    assert made.distance.tolist() == [[-1, 3, -1, 3]]


@pytest.mark.parametrize(("setting", "noise"), [("mad", 0.2), ("mad_60", 0.6), ("mad_clean", 0.0)])
def test_noise_takes_the_place_of_whole_pairs(setting, noise):
    task = make("noisy_recall", setting)
    tokens, made = whole(task, "val")
    first_noise = FIRST + task.num_keys + task.num_values
    keys, values = tokens[:, :-1:2], tokens[:, 1::2]
    noisy = keys >= first_noise
    np.testing.assert_array_equal((values >= first_noise), noisy[:, : values.shape[1]])
    assert noisy.mean() == pytest.approx(noise, abs=0.02)
    assert not noisy[:, -1:].any() or noise  # the last place asks
    assert (keys[~noisy] < FIRST + task.num_keys).all()
    assert (made["target_weights"][:, -1] == 1).all()  # the last value is always asked for


def test_the_last_key_is_any_that_was_there():
    task = make("noisy_recall", "mad_clean")
    last = whole(task, "train", 4000)[0][:, -1] - FIRST
    np.testing.assert_allclose(np.bincount(last) / 4000, 1 / task.num_keys, atol=0.02)


def test_keys_of_motifs_are_long_in_evaluation_and_of_any_length_in_training():
    task = make("fuzzy_recall", "mad")
    for split, wanted in (("train", [1 / 3] * 3), ("val", [0, 0, 1])):
        sizes = {"key": np.zeros(4), "value": np.zeros(4)}
        for tokens in whole(task, split)[0]:
            kind = np.where(tokens < FIRST + task.num_key_tokens, 1, 2) * (tokens > 0)
            ends = np.flatnonzero(np.diff(kind, prepend=0, append=0))
            for start, stop in zip(ends[:-2], ends[1:-1], strict=True):  # the last is cut off
                sizes["key" if kind[start] == 1 else "value"][stop - start] += 1
                assert len(set(tokens[start:stop])) == stop - start  # no token twice in a motif
        np.testing.assert_allclose(sizes["key"][1:] / sizes["key"].sum(), wanted, atol=0.03)
        np.testing.assert_allclose(sizes["value"][1:] / sizes["value"].sum(), [1 / 3] * 3, atol=0.05)


def test_every_motif_is_as_likely_as_another():
    drawn = motifs(random.keys(0, 0, np.arange(24_000)).reshape(2, -1), num_tokens=4, longest=3).reshape(-1, 3)
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(kinds) == 24 and all(len(set(kind)) == 3 for kind in kinds.tolist())
    np.testing.assert_allclose(counts, 1000, atol=120)


def test_motifs_are_told_apart():
    motifs = np.array([[[0, 1], [1, 0], [0, 1], [0, 1], [1, 1]]])
    codes = code(motifs, np.array([[2, 2, 1, 2, 1]]), num_tokens=2)
    assert len(set(codes[0])) == 4 and codes[0, 0] == codes[0, 3]
    assert last_same(np.array([[7, 7, 3, 7, 3, 9]])).tolist() == [[0, 0, 2, 1, 2, 5]]

"""What is true of every synthetic task, and of every setting of its config."""

import importlib

import numpy as np
import pytest

from data import TASKS, build, random
from data.tasks import recall, synthetic
from data.tasks.synthetic import FIRST, SHARES, Synthetic
from tests.data.oracles import ORACLES

NAMES = sorted(name for name, task in TASKS.items() if isinstance(task, type) and issubclass(task, Synthetic))
SETTINGS = [(name, setting) for name in NAMES for setting in importlib.import_module(f"configs.{name}").SETTINGS]


def make(name: str, setting: str = "small", **changes) -> Synthetic:
    config = importlib.import_module(f"configs.{name}").get_config(f"gru,{setting}")
    config.data.update(changes)
    task = build(name, config.data)
    assert isinstance(task, Synthetic)
    return task


def shape(task: Synthetic, split: str) -> tuple[int, int]:
    lengths = task.lengths(split)
    return (task.spec.max_source_length, task.spec.max_target_length) if lengths is None else tuple(lengths[0])


def batch(task: Synthetic, split: str, count: int, seed: int = 0, first: int = 0):
    return task.batch(split, seed, np.arange(first, first + count), shape(task, split))


def contents(made) -> set[bytes]:
    return {row.tobytes().rstrip(b"\0") for row in made["source"]}


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_model_knows_the_longest_of_training(name, setting):
    task = make(name, setting)
    assert task.spec.trained_lengths == shape(task, "train")


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_an_oracle_solves_every_split(name, setting):
    task = make(name, setting)
    for split in task.splits:
        made = batch(task, split, 32)
        scored = made["target_weights"] > 0
        answers = ORACLES[name](task, made)
        np.testing.assert_allclose(answers[scored], made["target_out"][scored], rtol=1e-6)
        assert scored.sum() >= 16
        others = batch(task, split, 32, first=32)["target_out"]
        assert not np.array_equal(others[scored], made["target_out"][scored])  # not one answer to everything


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_batch_has_the_promised_arrays(name, setting):
    task = make(name, setting)
    spec = task.spec
    for split in task.splits:
        s, t = shape(task, split)
        made = task.batch(split, 0, np.arange(8), (s + 3, t + 2))
        width = (spec.source_size,) if spec.source == "features" else ()
        wanted = {
            "source": ((8, s + 3, *width), np.float32 if width else np.int32),
            "source_mask": ((8, s + 3), np.bool_),
            "target_in": ((8, t + 2), np.int32),
            "target_out": ((8, t + 2), np.float32 if spec.output == "real" else np.int32),
            "target_weights": ((8, t + 2), np.float32),
            "distance": ((8, t + 2), np.int32),
            "index": ((8,), np.int32),
        }
        assert {key: (array.shape, array.dtype) for key, array in made.items()} == wanted
        assert not made["source_mask"][:, s:].any() and not made["source"][~made["source_mask"]].any()
        assert not made["target_weights"][:, t:].any() and not made["target_in"][:, t:].any()
        assert (made["distance"][made["target_weights"] == 0] == -1).all()
        assert made["target_in"].min() >= 0 and made["target_in"].max() < spec.target_size
        if not width:
            assert made["source"].min() >= 0 and made["source"].max() < spec.source_size
        if spec.output != "real":
            assert made["target_out"].min() >= 0 and made["target_out"].max() < spec.output_size
        if spec.free_running:
            inside = made["target_weights"][:, 1:] > 0
            assert (made["target_in"][:, 0] == spec.bos).all()
            np.testing.assert_array_equal(made["target_in"][:, 1:][inside], made["target_out"][:, :-1][inside])


@pytest.mark.parametrize("name", NAMES)
def test_an_example_alone_is_what_it_is_in_a_batch(name):
    task = make(name)
    for split in task.splits:
        whole = batch(task, split, 40)
        again = batch(task, split, 40)
        alone = task.batch(split, 0, np.array([17]), shape(task, split))
        shuffled = task.batch(split, 0, np.arange(40)[::-1], shape(task, split))
        for key in whole:
            np.testing.assert_array_equal(whole[key], again[key])
            np.testing.assert_array_equal(whole[key][17:18], alone[key])
            np.testing.assert_array_equal(whole[key][::-1], shuffled[key])
        assert len(contents(whole)) > 30


@pytest.mark.parametrize("name", NAMES)
def test_seeds_change_training_and_nothing_else(name):
    task = make(name)
    for split in task.splits:
        first, second = (batch(task, split, 64, seed)["source"] for seed in (0, 1))
        assert np.array_equal(first, second) == (split != "train")


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_fill_the_shape_are_empty(name):
    task = make(name)
    made = task.batch("train", 0, np.array([5, -1, 6, -1]), shape(task, "train"))
    for key, array in made.items():
        if key not in ("index", "distance"):
            assert not array[[1, 3]].any(), key
            assert array[[0, 2]].any() or key == "target_out", key
    assert (made["distance"][[1, 3]] == -1).all()
    np.testing.assert_array_equal(made["index"], [5, -1, 6, -1])
    alone = task.batch("train", 0, np.array([5, 6]), shape(task, "train"))
    np.testing.assert_array_equal(made["source"][[0, 2]], alone["source"])
    nothing = task.batch("train", 0, np.array([-1, -1]), shape(task, "train"))
    assert not nothing["source_mask"].any()


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_example(name):
    task = make(name, **({"min_pairs": 8} if name == "recall" else {}))  # one pair has too few contents to share out
    shares = {}
    for split in task.splits:
        made = batch(task, split, 2000)
        large = made["source_mask"].sum(axis=1) >= 12  # of two symbols, the smallest space that is shared out
        width = 2 if task.spec.source == "features" else 1
        source = made["source"][large].reshape(large.sum(), -1)
        shares[split] = set(random.content_hash(source) % np.uint64(SHARES))
        assert width * made["source"].shape[1] == source.shape[1]
    assert shares["val"] == {0} and shares["test"] == {1}
    assert shares["train"] == set(range(2, SHARES))


def test_held_out_contents_are_kept_from_training_where_chance_would_show_them(monkeypatch):
    small = {"num_symbols": 8, "block_length": 4, "num_blanks": 8, "offset": "start"}  # 4,096 contents
    task = make("copying", **small)

    def shared() -> int:
        train = contents(batch(task, "train", 8000)) | contents(batch(task, "train", 8000, seed=1))
        return len(train & contents(batch(task, "test", 1000)))

    assert shared() == 0
    monkeypatch.setattr(synthetic, "SMALLEST_SPACE", 13.0)
    assert shared() > 500


UNSHARED = {
    "parity": 11,
    "even_pairs": 11,
    "odds_first": 11,
    "duplicate_string": 11,
    "cycle_navigation": 7,
    "modular_arithmetic": 6,
    "bucket_sort": 5,
}
"""How many of the lengths 1 to 20 have fewer strings than 2**12, the smallest space that is shared out."""


@pytest.mark.parametrize("name", NAMES)
def test_overlap_is_what_both_splits_show(name):
    task = make(name)
    train, test = contents(batch(task, "train", 20_000)), batch(task, "test", 1000)
    seen = np.mean([row.tobytes().rstrip(b"\0") in train for row in test["source"]])
    assert seen <= task.overlap("test")
    assert task.overlap("test") == pytest.approx(UNSHARED.get(name, 0) / 20, abs=0.01 if name in UNSHARED else 0)
    assert "test_long" not in task.splits or task.overlap("test_long") == 0.0
    assert (seen > 0.1) == (name in UNSHARED)


@pytest.mark.parametrize("name", NAMES)
def test_notes_say_which_splits_overlap_with_training(name):
    task = make(name)
    assert "notes" not in vars(task)  # building draws nothing
    said = {note.partition(":")[0] for note in task.notes}
    assert said == {split for split in task.splits if split != "train" and task.overlap(split) > 0}
    assert said == ({"val", "test"} if name in UNSHARED else set())
    if name == "parity":
        rest = "55.0% of the examples are of so few kinds that none is held out; training may show them"
        assert task.notes == [f"{split}: {rest}" for split in ("val", "test")]


CHANCE = [(name, "small") for name in NAMES] + [
    ("reverse", "deletang"),
    ("reverse", "permuted_copy"),
    ("adding", "urnn_100"),
    ("temporal_order", "pascanu_50"),
    ("bucket_sort", "deletang"),
    ("state_tracking", "s5"),
]


@pytest.mark.parametrize(("name", "setting"), CHANCE)
def test_chance_is_the_best_blind_guess(name, setting):
    """For each target position the best constant, from one half of 40,000 examples, tried on the other."""
    task = make(name, setting)
    made = batch(task, "train", 40_000)
    answers, scored = made["target_out"], made["target_weights"] > 0
    right = loss = total = 0.0
    for t in range(answers.shape[1]):
        rows = np.flatnonzero(scored[:, t])
        fit, tried = answers[rows[::2], t], answers[rows[1::2], t]
        if task.spec.output == "real":
            loss += ((tried - fit.mean()) ** 2).sum()
        else:
            share = np.bincount(fit, minlength=task.spec.output_size) / max(len(fit), 1)
            right += (tried == share.argmax()).sum()
            loss -= np.log(share[tried] + 1e-9).sum()
        total += len(tried)
    assert loss / total == pytest.approx(task.chance["loss"], rel=0.01)
    if task.spec.output != "real":
        assert right / total == pytest.approx(task.chance["token_accuracy"], rel=0.05)


def test_chance_with_the_values_but_not_the_binding_is_one_over_pairs():
    task = make("recall")
    made = batch(task, "test", 4608)
    some_value = np.sort(made["source"], axis=1)[:, -1:]  # the largest id is a value that occurred
    hits = (made["target_out"] == some_value)[made["target_weights"] > 0].mean()
    assert hits == pytest.approx(task.chance["token_accuracy_in_context"], rel=0.05)


NOWHERE = {"parity", "cycle_navigation", "modular_arithmetic", "bucket_sort", "memorization", "state_tracking"}
"""Tasks whose answers lie at no one place."""
UNEVEN = NOWHERE | {"odds_first", "duplicate_string", "noisy_recall", "fuzzy_recall", "compression"}


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_the_answer_lies_distance_back(name, setting):
    task = make(name, setting)
    for split in task.splits:
        made = batch(task, split, 32)
        for b, t in np.argwhere(made["distance"] >= 0):
            source = made["source"][b, made["source_mask"][b]]
            place = len(source) + t - made["distance"][b, t]
            if name == "adding":
                assert source[place, 1] == 1 and not source[:place, 1].any()
            elif name == "temporal_order":
                assert source[place] < FIRST + 2 and (source[:place] >= FIRST + 2).all()
            elif name == "even_pairs":
                assert place == 0
            elif name == "reverse":
                assert FIRST + task.mapped_V[source[place] - FIRST] == made["target_out"][b, t]
            else:
                assert np.append(source, made["target_in"][b])[place] == made["target_out"][b, t]
        answered = (made["target_weights"] > 0) & (made["target_out"] != task.spec.eos)
        assert (made["distance"][answered] >= 0).all() == (name not in NOWHERE)


def counts_by_distance(task, split):
    """Answers at each of the task's distances, over the whole split."""
    made = [batch(task, split, min(512, n), first=i) for i, n in parts(task.num_examples(split), 512)]
    distance = np.concatenate([part["distance"] for part in made]).ravel()
    assert np.isin(distance, [-1, *task.distances]).all()
    return (distance[:, None] == task.distances).sum(axis=0)


def parts(total, size):
    return [(first, min(size, total - first)) for first in range(0, total, size)]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("name", sorted(set(NAMES) - UNEVEN))
def test_evaluation_spreads_distances_evenly(name, split):
    task = make(name)
    counts = counts_by_distance(task, split)
    bins = np.array_split(counts, 8)
    answers, each = np.array([part.sum() for part in bins]), np.array([part.mean() for part in bins])
    assert len(counts) >= 16 and answers.min() >= 500, answers
    assert each.min() >= 0.95 * each.max(), each


def test_zoology_keeps_the_papers_gaps_and_has_an_even_split():
    task = make("recall", "zoology_64_4")
    counts = counts_by_distance(task, "test_even")
    assert np.array_split(counts, 8)[-1].sum() >= 500 and counts.min() >= 0.9 * counts.max()
    # The first gap has a weight of 1, the second of 2 ** -0.99: the paper's test set prefers near queries.
    queries = (batch(task, "test", 3000)["target_in"] != recall.BLANK).mean(axis=0)[::2]
    assert queries[0] > 1.4 * queries[1] > 1.4 * queries[-1] > 0
    assert queries.sum() == pytest.approx(4)
    even = (batch(task, "test_even", 2800)["target_in"] != recall.BLANK).mean(axis=0)[::2]
    np.testing.assert_allclose(even, 4 / 28, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reverse", "parity"])
def test_lengths_are_dealt_out_evenly_and_the_long_split_is_longer(name):
    task = make(name, "deletang")
    for split in ("train", "val", "test"):
        lengths = batch(task, split, 4000)["source_mask"].sum(axis=1)
        counts = np.bincount(lengths, minlength=41)[1:]
        assert lengths.min() == 1 and lengths.max() == 40 and counts.min() > 60
    assert shape(task, "train") == (40, 41 if name == "reverse" else 1)
    lengths = batch(task, "test_long", task.num_examples("test_long"))["source_mask"].sum(axis=1)
    assert lengths.min() == 41 and lengths.max() == 500
    assert np.histogram(lengths, bins=4)[0].min() >= 500


def test_recall_mixes_numbers_of_pairs_in_training_only():
    task = make("recall")
    for split, mixed in (("train", True), ("val", False)):
        pairs = (batch(task, split, 800)["source"] != recall.BLANK).sum(axis=1) / 2
        assert set(pairs) == set(range(1, 9) if mixed else [8])
        assert not mixed or np.bincount(pairs.astype(int))[1:].min() > 60


def test_permuted_symbols_are_renamed_one_to_one():
    task = make("reverse", "permuted_copy")
    assert sorted(task.mapped_V) == list(range(50)) and (task.mapped_V != np.arange(50)).sum() > 40
    np.testing.assert_array_equal(make("reverse", "permuted_copy").mapped_V, task.mapped_V)


def test_published_sizes():
    """Lengths and vocabularies as the papers give them (three ids of ours come on top)."""
    spec = make("recall", "zoology_64_4").spec
    assert (spec.max_source_length + spec.max_target_length, spec.source_size) == (64, 8192 + 3)
    spec = make("copying", "urnn_200").spec
    assert (spec.max_source_length + spec.max_target_length, spec.source_size) == (220, 10 + 3)
    task = make("induction_heads", "mamba_256")
    assert (task.spec.max_source_length, task.lengths("train")[0, 0] + 1, task.spec.source_size) == (4095, 256, 16 + 3)
    spec = make("noisy_recall", "mad").spec
    assert (spec.max_source_length + spec.max_target_length, spec.source_size) == (127, 32 + 3)  # the last is told only
    spec = make("fuzzy_recall", "mad").spec
    assert (spec.max_source_length + spec.max_target_length, spec.source_size) == (127, 15 + 3)  # padding is ours
    spec = make("compression", "mad").spec
    assert (spec.max_source_length, spec.source_size) == (32, 16 + 3 + 31)  # places are asked for by number
    spec = make("memorization", "mad").spec
    assert (spec.max_source_length + spec.max_target_length, spec.source_size) == (32, 256 + 3)
    orders = [make("state_tracking", f"merrill_{group}").spec.source_size - 3 for group in ("s5", "a5", "z60")]
    assert orders == [120, 60, 60]
    spec = make("selective_copying", "mamba_4096").spec
    assert (spec.max_source_length, spec.max_target_length, spec.source_size) == (4112, 16, 16 + 3)
    task = make("temporal_order", "pascanu_100")
    assert (task.first_window, task.second_window, task.spec.source_size) == ((10, 20), (50, 60), 6 + 3)
    block, chance = 10, make("copying", "urnn_100").chance["loss"]
    assert block * chance / (100 + 2 * block) == pytest.approx(0.1733, abs=1e-4)
    assert make("adding", "urnn_100").chance["loss"] == pytest.approx(0.1667, abs=1e-4)


BAD = [
    ("recall", {"num_pairs": 0}, "data.num_pairs = 0"),
    ("recall", {"min_pairs": 9}, "data.min_pairs = 9"),
    ("recall", {"num_queries": 9}, "data.num_queries = 9"),
    ("recall", {"num_keys": 7}, "data.num_keys = 7"),
    ("recall", {"source_length": 15}, "data.source_length = 15"),
    ("recall", {"target_length": 12}, "data.target_length = 12"),
    ("recall", {"query_power": 0.0}, "data.query_power = 0.0"),
    ("copying", {"offset": "anywere"}, "did you mean anywhere?"),
    ("copying", {"num_symbols": 1}, "data.num_symbols = 1"),
    ("selective_copying", {"num_blanks": 0}, "data.num_blanks = 0"),
    ("adding", {"length": 1}, "data.length = 1"),
    ("temporal_order", {"length": 9, "positions": "pascanu"}, "data.length = 9"),
    ("parity", {"max_length": 0}, "data.max_length = 0"),
    ("parity", {"long_length": 20}, "data.long_length = 20"),
    ("reverse", {"order": "sorted"}, "data.order = 'sorted'"),
    ("reverse", {"test_examples": -1}, "data.test_examples = -1"),
    ("induction_heads", {"long_length": 64}, "data.long_length = 64"),
    ("noisy_recall", {"noise": 1.0}, "data.noise = 1.0"),
    ("noisy_recall", {"length": 65}, "data.length = 65"),
    ("noisy_recall", {"source_length": 63}, "data.source_length = 63"),
    ("fuzzy_recall", {"max_key": 5}, "data.max_key = 5"),
    ("fuzzy_recall", {"source_length": 57}, "data.length = 64"),
    ("memorization", {"num_values": 31}, "data.num_values = 31"),
    ("memorization", {"source_length": 15}, "data.source_length = 15"),
    ("state_tracking", {"group": "S4"}, "data.group = 'S4'"),
    ("state_tracking", {"min_source_length": 13}, "data.min_source_length = 13"),
    ("state_tracking", {"long_length": 20}, "data.long_length = 20"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD)
def test_a_bad_value_is_named_in_one_line(name, changes, message):
    with pytest.raises(ValueError) as error:
        make(name, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean recall?"):
        build("recal", {})
    with pytest.raises(ValueError, match="did you mean zoology_64_4?"):
        make("recall", "zoology_64_44")
    task = make("recall")
    with pytest.raises(ValueError, match="choose from train, val, test"):
        task.batch("dev", 0, np.arange(2), (72, 8))
    with pytest.raises(ValueError, match="too small"):
        task.batch("val", 0, np.arange(2), (71, 8))

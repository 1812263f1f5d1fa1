"""Attention pictures: a panel a layer and head, each as large as the example without its padding."""

import types

import jax
import numpy as np
import pytest
from matplotlib import pyplot

import models
from data.spec import Spec
from data.tasks.translation import Translation
from tests.training import runs
from training.evaluation import pictures
from training.evaluation.pictures import attention_maps, attention_names, draw_attention, labels

PAIRS = Spec("tokens", 9, 9, "tokens", 9, 5, 4, free_running=True, eos=2)
TAGS = Spec("tokens", 9, 9, "tokens", 9, 4, 4, layout="aligned")
LANGUAGE = Spec("none", 0, 9, "tokens", 9, 0, 4, free_running=True, eos=2)
SYMBOLS = types.SimpleNamespace()  # a task without text


class Pieces(Translation):
    """Text whose ids are their own names."""

    def __init__(self):
        pass

    def source_pieces(self, ids):
        return [f"s{i}" for i in ids]

    def target_pieces(self, ids):
        return [f"t{i}" for i in ids]


TEXT = Pieces()


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def build(name, spec=PAIRS):
    config = models.configured(name)
    models.set_width(config, 8)
    if "num_heads" in config:
        config.num_heads = 2
    return models.build(name, config, spec, jax.random.key(0))


def batch(source_length=5):
    """Two rows; the second has 3 of 5 source positions (or none) and 2 of 4 target positions."""
    rng = np.random.default_rng(0)
    return {
        "source": rng.integers(3, 9, (2, source_length)).astype(np.int32),
        "source_mask": np.arange(source_length) < np.array([[5], [3]]),
        "target_in": rng.integers(3, 9, (2, 4)).astype(np.int32),
        "target_out": rng.integers(3, 9, (2, 4)).astype(np.int32),
        "target_weights": (np.arange(4) < np.array([[4], [2]])).astype(np.float32),
        "index": np.arange(2, dtype=np.int32),
    }


@pytest.fixture
def figures(monkeypatch):
    """Figures that were drawn, not yet closed."""
    drawn = []
    monkeypatch.setattr(pyplot, "close", drawn.append)
    yield drawn
    monkeypatch.undo()
    for figure in drawn:
        pyplot.close(figure)


@pytest.mark.parametrize("name", sorted(name for name, kind in models.MODELS.items() if kind.takes_source))
def test_attention_is_found_where_there_is_any(name):
    spec = PAIRS if "sequence" in models.MODELS[name].layouts else TAGS
    names, kind = attention_names(build(name, spec)), name.removeprefix("linear_attention")  # which forms no weights
    attends = name in ("decoder", "encoder_decoder", "conv") or "attention" in kind or "transformer" in kind
    assert bool(names) == attends
    if name == "transformer":
        assert names and all("cross_attention" in tap for tap in names)  # it shows where the translation comes from


@pytest.mark.parametrize(
    ("name", "panels", "source_length", "shape"),
    [
        ("gru_attention", 1, 5, (2, 3)),
        ("transformer", 2 * 2, 5, (2, 3)),
        ("transformer_decoder", 2 * 2, 5, (5, 5)),  # one sequence of 3 + 2
        ("transformer_decoder", 2 * 2, 0, (2, 2)),
        ("transformer_encoder", 2 * 2, 4, (4, 4)),  # 3 and the one before them
    ],
)
def test_a_panel_a_layer_and_head(tmp_path, figures, name, panels, source_length, shape):
    spec = {0: LANGUAGE, 4: TAGS}.get(source_length, PAIRS)
    model, made = build(name, spec), batch(source_length)
    maps = attention_maps(model, made)
    draw_attention(tmp_path / "attention.png", maps, SYMBOLS, made, row=1)
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = figures
    *drawn, scale = figure.axes
    assert len(drawn) == panels and scale.get_ylabel() == "attention weight"
    assert ("target" in figure.get_supylabel()) == (name != "transformer_encoder")
    assert ("source" in figure.get_supxlabel()) == bool(source_length)
    for panel in drawn:
        (image,) = panel.images
        shown = np.asarray(image.get_array())
        assert shown.shape == shape
        np.testing.assert_allclose(shown.sum(axis=1), 1, rtol=1e-5)  # nothing went to what is not shown
    labelled = drawn[-panels // 2 if panels > 1 else 0]
    assert len(labelled.get_yticks()) == shape[0] and len(labelled.get_xticks()) == shape[1]


def test_decoder_only_pictures_are_causal():
    maps = attention_maps(build("transformer_decoder"), batch())
    for weights_BHNN in maps.values():
        assert weights_BHNN.shape == (2, 2, 9, 9)
        assert not np.triu(weights_BHNN[0], k=1).any() and weights_BHNN[0, :, 3, :4].all()


def test_labels_are_pieces_of_text_or_symbols():
    made = batch()
    source, target_in, target_out = (made[name][1] for name in ("source", "target_in", "target_out"))
    assert labels(TEXT, made, 1) == ([f"s{i}" for i in source[:3]], [f"t{i}" for i in target_out[:2]])
    assert labels(SYMBOLS, made, 1) == ([str(i) for i in source[:3]], [str(i) for i in target_in[:2]])
    made["source"] = np.full((2, 5, 2), 0.123456, np.float32)
    assert labels(SYMBOLS, made, 1)[0] == ["0.12"] * 3


def test_long_examples_are_drawn_without_labels(tmp_path, figures):
    made = batch() | {
        "source": np.full((2, 100), 3, np.int32),
        "source_mask": np.ones((2, 100), bool),
    }
    draw_attention(tmp_path / "long.png", {"attention": np.full((2, 1, 4, 100), 0.01)}, SYMBOLS, made, row=0)
    panel, _ = figures[0].axes
    assert len(panel.get_xticks()) == 0 and len(panel.get_yticks()) == 4


def rows_of(length):
    """A batch whose source and target are both so long."""
    made = batch()
    long = {name: np.resize(made[name], (2, length)) for name in made if name != "index"}
    return made | long | {"source_mask": np.ones((2, length), bool), "target_weights": np.ones((2, length), np.float32)}


@pytest.mark.parametrize("length", [400, 3000])
def test_a_long_example_has_a_small_picture_that_says_what_it_shows(tmp_path, figures, monkeypatch, length):
    monkeypatch.setattr(pictures, "MOST_WEIGHTS", 2**22)
    pictures.picture(tmp_path / "long.png", build("transformer_decoder"), SYMBOLS, rows_of(length), 1)
    (figure,) = figures
    height, width, _ = pyplot.imread(tmp_path / "long.png").shape
    assert height * width < 5e6
    for panel in figure.axes[:-1]:
        shown = np.asarray(panel.images[0].get_array())
        assert max(shown.shape) <= pictures.MOST_CELLS
        np.testing.assert_allclose(shown.sum(axis=1), 1, rtol=1e-4)  # the cells still share out all of the attention
    said = figure.get_suptitle()
    assert "a cell is a mean over" in said
    assert ("first" in said) == (length == 3000)


@pytest.mark.parametrize(
    ("whole", "squares"),
    [(False, [[0, 4], [1, 3]]), (True, [[5, 4], [6, 3], [7, 7]])],
    ids=["to source", "one sequence"],
)
def test_the_right_key_is_marked_where_the_task_knows_it(tmp_path, figures, whole, squares):
    made = batch()
    places = np.array([[1, 3, 0, -1], [-1] * 4])  # the third answer lies in the target itself
    made["distance"] = places
    size = 9 if whole else 5
    weights = np.full((2, 1, size if whole else 4, size), 1 / size)
    draw_attention(tmp_path / "marked.png", {"attention": weights}, SYMBOLS, made, row=0)
    (marks,) = figures[0].axes[0].lines
    assert [[y, x] for x, y in zip(*marks.get_data(), strict=True)] == squares
    assert "squares" in figures[0].get_suptitle()


def test_many_layers_and_heads_are_cut(tmp_path, figures, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PANELS", 2)
    maps = {f"decoder.{layer}.attention": np.full((1, 4, 9, 9), 1 / 9) for layer in range(3)}
    made = rows_of(9)
    draw_attention(tmp_path / "many.png", maps, SYMBOLS, made, row=0)
    assert "the first 2 of 3 layers and 2 of 4 heads" in figures[0].get_suptitle()


TOKENS = ("$^$", "$x_", "a$", "\\frac{", "\n", "\x00", "\u4e2d", "<s>", "w" * 500, "")


def test_any_token_can_be_a_label(tmp_path, figures, monkeypatch):
    monkeypatch.setattr(TEXT, "target_pieces", lambda ids: [*TOKENS])
    made = rows_of(len(TOKENS))
    maps = {"decoder.attention": np.full((2, 1, len(TOKENS), len(TOKENS)), 1 / len(TOKENS))}
    draw_attention(tmp_path / "odd.png", maps, TEXT, made, row=0)
    panel, _ = figures[0].axes
    shown = [label.get_text() for label in panel.get_yticklabels()]
    assert shown[:4] == list(TOKENS[:4]) and shown[4:6] == ["\\n", "\\x00"]
    assert len(shown[8]) == pictures.LONGEST_LABEL

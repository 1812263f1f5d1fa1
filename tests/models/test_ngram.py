"""The n-gram model against hand-computed numbers, and against the definition in plain loops over dicts.

What is asked of it as of any architecture, `test_contract.py` asks.
"""

import itertools
import math
from collections import Counter, defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import ngram_counts
from tests.training import runs


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


V, BOS, A, B = 6, 1, 4, 5
SPEC = Spec("none", 0, V, "tokens", V, 0, 8, free_running=True)
TEXT = np.random.default_rng(0).choice([2, 3, 4, 5], 400, p=[0.1, 0.2, 0.3, 0.4])


def counted(order: int, text=TEXT):
    model = models.build("ngram", models.configured("ngram", {"order": order}), SPEC, jax.random.key(0))
    return model, model.count(np.asarray(text))


def read(model, target_in, carry=None):
    nothing = jnp.zeros((len(target_in), 0), jnp.int32)
    graph, params = nnx.split(model)
    call = jax.jit(lambda params, fed, carry: nnx.merge(graph, params)(nothing, nothing > 0, fed, carry=carry))
    return call(params, jnp.asarray(target_in, jnp.int32), carry)


def probs(model, target_in) -> np.ndarray:
    """Of every token after each position."""
    return np.exp(np.asarray(read(model, target_in).logits, np.float64))


def test_two_words_by_hand():
    """a b a a b. After how many tokens: a 3 (the beginning, b, a), b 1. Pairs: a b twice, the others once. Neither has
    counts to tell discounts, so 0.5, 1 and 1.5 are taken off counts of 1, 2 and 3."""
    model, found = counted(2, [A, B, A, A, B])
    unigrams = {A: 1.5 / 4 + 0.5 / V, B: 0.5 / 4 + 0.5 / V, 0: 0.5 / V}  # (1.5 + 0.5) / 4 is left to all alike
    half = {w: 0.5 * p for w, p in unigrams.items()}  # what each context here leaves: (1 + 0.5) / 3, or 0.5 / 1
    expected = {
        A: {A: 0.5 / 3 + half[A], B: 1 / 3 + half[B], 0: half[0]},
        B: {A: 0.5 + half[A], B: half[B], 0: half[0]},
        BOS: {A: 0.5 + half[A], B: half[B], 0: half[0]},
        3: unigrams,  # not met
    }
    given = probs(model, [[word] for word in expected])[:, 0]
    for row, after in zip(given, expected.values(), strict=True):
        for word, prob in after.items():
            assert row[word] == pytest.approx(prob, rel=1e-6)
    assert given[0, A] == pytest.approx(0.395833, abs=1e-6)
    words = [(BOS, A), (A, B), (B, A), (A, A), (A, B)]
    assert found.nll == pytest.approx(-sum(math.log(expected[h][w]) for h, w in words) / 5)
    assert found.notes == [
        "the text has not the counts that tell discounts of n-grams of order 1, 2; they are 0.5, 1.0, 1.5"
    ]


def test_discounts_are_chen_and_goodman_s():
    """Equation 26: Y = 10 / (10 + 2 * 5); 1 - 2 Y 5 / 10, 2 - 3 Y 3 / 5, 3 - 4 Y 2 / 3. Counts above 4 play no part."""
    counts = np.repeat([0, 1, 2, 3, 4, 9], [7, 10, 5, 3, 2, 8])
    assert ngram_counts.discount(counts) == pytest.approx((0.5, 1.1, 3 - 4 / 3))


@pytest.mark.parametrize("counts", [[], [0, 10, 5, 0, 2], [0, 10, 0, 3, 2], [0, 0, 5, 3, 2], [0, 1, 1, 10, 2]])
def test_discounts_that_the_counts_do_not_tell(counts):
    """A number of counts is missing; or the second discount would be -8, as KenLM refuses."""
    assert ngram_counts.discount(np.repeat(np.arange(len(counts)), counts)) is None


def by_definition(order: int, text):
    """p(word, context) of interpolated modified Kneser-Ney: equations 20 to 27, with KenLM's adjusted counts."""
    read = [BOS, *map(int, text)]
    grams = {k: Counter(tuple(read[i : i + k]) for i in range(len(read) - k + 1)) for k in range(1, order + 1)}
    grams[1].pop((BOS,))
    counts: dict[int, dict] = {}
    for k in range(1, order):
        before = defaultdict(set)
        for gram in grams[k + 1]:
            before[gram[1:]].add(gram[0])
        counts[k] = {g: grams[k][g] if g[0] == BOS else len(before[g]) for g in grams[k]}
    counts[order] = grams[order]
    off: dict[int, list] = {}
    after: dict[tuple, dict] = defaultdict(dict)
    for k in counts:
        n = [list(counts[k].values()).count(i) for i in range(5)]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0
        ds = [i - (i + 1) * y * n[i + 1] / n[i] if n[i] else -1 for i in (1, 2, 3)]
        off[k] = ds if all(0 < d <= i for i, d in enumerate(ds, 1)) else [0.5, 1, 1.5]
        for gram, c in counts[k].items():
            after[gram[:-1]][gram[-1]] = c

    def p(word, context):
        if len(context) >= order:
            return p(word, context[len(context) - order + 1 :])
        seen = after[context]
        shorter = p(word, context[1:]) if context else 1 / V
        if not seen:
            return shorter
        taken = {w: off[len(context) + 1][min(c, 3) - 1] for w, c in seen.items()}
        kept = seen[word] - taken[word] if word in seen else 0
        return (kept + sum(taken.values()) * shorter) / sum(seen.values())

    return p


@pytest.mark.parametrize("order", range(1, 7))
def test_every_probability_is_that_of_the_definition_and_they_sum_to_one(order):
    """In contexts that were met and others, of every length up to one more than matters; sums in all that were met."""
    model, found = counted(order)
    p = by_definition(order, TEXT)
    met = [tuple(TEXT[i : i + order].tolist()) for i in range(0, 380, 8)]
    anything = np.random.default_rng(1).integers(0, V, (30, order)).tolist()
    contexts = [(BOS, *TEXT[: order - 1].tolist()), *met, *map(tuple, anything)]
    given = probs(model, contexts)
    np.testing.assert_allclose(given.sum(-1), 1, rtol=2e-6)
    every = sorted({tuple(TEXT[i : i + order].tolist()) for i in range(len(TEXT) - order + 1)})
    np.testing.assert_allclose(probs(model, every).sum(-1), 1, rtol=2e-6)
    for row, context in zip(given, contexts, strict=True):
        for t in range(order):
            expected = [p(word, context[: t + 1]) for word in range(V)]
            np.testing.assert_allclose(row[t], expected, rtol=1e-5)
    log_probs = [math.log(p(int(w), (BOS, *TEXT[:i].tolist()))) for i, w in enumerate(TEXT) if i >= order - 2]
    assert found.nll == pytest.approx(-np.mean(log_probs), rel=1e-9)


def test_the_longest_possible_contexts_sum_to_one():
    model, _ = counted(3)
    given = probs(model, list(itertools.product(range(V), repeat=2)))
    np.testing.assert_allclose(given.sum(-1), 1, rtol=2e-6)


def test_a_carry_goes_on_where_a_chunk_ended():
    model, _ = counted(4)
    fed = TEXT[:16].reshape(2, 8)
    whole, carry = read(model, fed).logits, None
    for begin, end in ((0, 1), (1, 8)):
        output = read(model, fed[:, begin:end], carry)
        np.testing.assert_allclose(output.logits, whole[:, begin:end], rtol=1e-6)
        carry = output.carry


def test_before_it_has_counted_every_token_is_alike():
    model = models.build("ngram", models.configured("ngram"), SPEC, jax.random.key(0))
    np.testing.assert_allclose(probs(model, [[BOS, 2, 5]]), 1 / V, rtol=1e-6)


@pytest.mark.parametrize("text", [[A], [A, B]])
def test_a_text_that_is_shorter_than_the_order(text):
    model, found = counted(5, text)
    np.testing.assert_allclose(probs(model, [[BOS, A, B, A]]).sum(-1), 1, rtol=2e-6)
    assert math.isfinite(found.nll)


def test_orders_are_1_to_6():
    with pytest.raises(ValueError, match=r"model\.order = 7 is out of range; use 1 to 6"):
        models.build("ngram", models.configured("ngram", {"order": 7}), SPEC, jax.random.key(0))

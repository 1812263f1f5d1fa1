"""Counts n-grams and turns them into interpolated modified Kneser-Ney probabilities, in float64 numpy.

Chen and Goodman 1999 ("An empirical study of smoothing techniques for language modeling"), section 3 and equations 26
and 27; adjusted counts and what is done where there are too few as in KenLM (Heafield et al. 2013).

Dims: N tokens read, V vocabulary, G n-grams of one length, A nodes of the trie.
"""

from typing import NamedTuple

import numpy as np

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of counts of 1, 2, and 3 or more, where the text is too small or too regular to tell (KenLM's)."""


class Trie(NamedTuple):
    """All n-grams up to an order, and none at node 0. The n-grams of one length follow each other, sorted, so what
    followed a context is the nodes from `first[context]` to `first[context + 1]`. Each has every token as a unigram.

    Node A is nowhere: a context that was not met, so that nothing followed it and nothing is taken off.
    """

    token: np.ndarray  # (A,) the last of each n-gram
    log_prob: np.ndarray  # (A,) of it, given those before it
    log_backoff: np.ndarray  # (A + 1,) what shorter contexts' probabilities are multiplied by, as a context
    first: np.ndarray  # (A + 2,)


class Level(NamedTuple):
    """The n-grams of one length."""

    parent_G: np.ndarray  # the n-gram without its last token: its place in the level before
    suffix_G: np.ndarray  # without its first
    token_G: np.ndarray  # the last
    count_G: np.ndarray  # how often it was met; below the highest order, after how many different tokens


class Smoothed(NamedTuple):
    trie: Trie
    nll: float  # of the text, in nats a token, its first `order` - 2 left out
    discounts: list[tuple[float, float, float]]  # of each order, for counts of 1, 2, and 3 or more
    fallen_back: list[int]  # the orders whose discounts are FALLBACK


def nothing(vocab_size: int) -> Trie:
    """Before anything is counted: every token alike."""
    token, prob = np.arange(vocab_size), np.full(vocab_size, 1 / vocab_size)
    level = Level(np.zeros(vocab_size, np.int64), np.zeros(vocab_size, np.int64), token, np.zeros(vocab_size, np.int64))
    return _trie([level], [prob], [np.ones(1), np.ones(vocab_size)])


def kneser_ney(tokens_N: np.ndarray, order: int, vocab_size: int, bos: int) -> Smoothed:
    """The model of a text, which BOS precedes and which is one sequence."""
    met = count(tokens_N, order, vocab_size, bos)
    levels = _adjusted(met, bos)
    discounts, fallen_back, probs = list[tuple[float, float, float]](), list[int](), list[np.ndarray]()
    backoffs, prob = list[np.ndarray](), np.full(1, 1 / vocab_size)  # below unigrams all tokens are alike
    for number, level in enumerate(levels, start=1):
        taken = discount(level.count_G)
        if taken is None:
            fallen_back.append(number)
        discounts.append(taken or FALLBACK)
        taken_G = np.array([0.0, *discounts[-1]])[np.minimum(level.count_G, 3)]
        contexts = len(levels[number - 2].token_G) if number > 1 else 1
        total = np.bincount(level.parent_G, level.count_G, contexts)
        # What is taken off a context's counts, as a share of them; all of it where nothing followed.
        backoff = np.divide(np.bincount(level.parent_G, taken_G, contexts), total, np.ones(contexts), where=total > 0)
        seen_G = (level.count_G - taken_G) / np.maximum(total, 1)[level.parent_G]
        prob = seen_G + backoff[level.parent_G] * prob[level.suffix_G]
        backoffs.append(backoff)
        probs.append(prob)
    nll = -float(met[-1].count_G @ np.log(prob)) / met[-1].count_G.sum()
    return Smoothed(_trie(levels, probs, [*backoffs, np.ones(len(prob))]), nll, discounts, fallen_back)


def count(tokens_N: np.ndarray, order: int, vocab_size: int, bos: int) -> list[Level]:
    """The n-grams of each length up to `order`, by how often they were met."""
    read_N = np.concatenate([[bos], np.asarray(tokens_N, np.int64)])
    every = np.arange(vocab_size)
    levels = [Level(0 * every, 0 * every, every, np.bincount(read_N[1:], minlength=vocab_size))]
    before_N = read_N  # which n-gram begins at each place
    for length in range(2, min(order, len(read_N)) + 1):
        key_N = before_N[:-1] * vocab_size + read_N[length - 1 :]
        key_G, at_G, now_N, count_G = np.unique(key_N, return_index=True, return_inverse=True, return_counts=True)
        levels.append(Level(key_G // vocab_size, before_N[at_G + 1], key_G % vocab_size, count_G))
        before_N = now_N
    return levels


def _adjusted(levels: list[Level], bos: int) -> list[Level]:
    """Counts below the highest order as Kneser and Ney have them: after how many different tokens an n-gram was met.
    Nothing comes before BOS, so n-grams that begin with it keep their counts."""
    adjusted, begins_G = [], levels[0].token_G == bos  # which n-grams begin with BOS
    for level, above in zip(levels, [*levels[1:], None], strict=True):
        count_G = level.count_G
        if above is not None:
            after_G = np.bincount(above.suffix_G, minlength=len(count_G))
            count_G = np.where(begins_G, count_G, after_G)
            begins_G = begins_G[above.parent_G]
        adjusted.append(level._replace(count_G=count_G))
    return adjusted


def discount(count_G: np.ndarray) -> tuple[float, float, float] | None:
    """What is taken off counts of 1, 2, and 3 or more: Y = n1 / (n1 + 2 n2), D_i = i - (i + 1) Y n_(i+1) / n_i, where
    n_i n-grams have the count i. None where one of n1 to n3 is 0, or a discount is not between 0 and its count."""
    n = np.bincount(np.minimum(count_G, 5), minlength=6)
    if not n[1:4].all():
        return None
    y = n[1] / (n[1] + 2 * n[2])
    one, two, more = (float(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3))
    return (one, two, more) if 0 < one <= 1 and 0 < two <= 2 and 0 < more <= 3 else None


def _trie(levels: list[Level], probs: list[np.ndarray], backoffs: list[np.ndarray]) -> Trie:
    """The levels one after the other, below a node of no token; `backoffs` begins with that one's."""
    nodes = zip(levels, backoffs[:-1], strict=True)
    children = [np.bincount(level.parent_G, minlength=len(backoff)) for level, backoff in nodes]
    children.append(np.zeros(len(probs[-1]), np.int64))
    total = 1 + sum(map(len, probs))
    first = np.concatenate([[1], 1 + np.cumsum(np.concatenate(children)), [total]])
    return Trie(
        token=np.concatenate([[0], *(level.token_G for level in levels)]).astype(np.int32),
        log_prob=np.concatenate([[0.0], *map(np.log, probs)]).astype(np.float32),
        log_backoff=np.concatenate([*map(np.log, backoffs), [0.0]]).astype(np.float32),
        first=first.astype(np.int32),
    )

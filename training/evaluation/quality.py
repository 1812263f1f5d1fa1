"""Quality of a trained model on a split, in one dict: overall, by source length, by distance, by position.

Dims: B batch, T target length, N answers, E examples.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.batch import Batch
from training.evaluation.scoring import Scored

LEAST_ANSWERS = 500  # a bin of distances
MOST_BINS = 32  # as many different values each have a bin of their own
WORDS_A_BIN = 5


Row = dict[str, float]
"""Of a table in RUN/eval/SPLIT.json: what was measured from `low` to `high`, both counted in."""


class Answers(NamedTuple):
    """Every weighted position of a split."""

    example: np.ndarray  # (N,) index of its example
    distance: np.ndarray  # (N,) tokens back; -1 where there is no one answer
    position: np.ndarray  # (N,) in its target, from 0
    nll: np.ndarray  # (N,)
    correct: np.ndarray  # (N,)


class Examples(NamedTuple):
    """Values of each example, ordered by index."""

    number: np.ndarray  # (E,) index in the split
    source_length: np.ndarray  # (E,) tokens


def gather(scored: Iterable[Scored]) -> tuple[Answers, Examples]:
    """Collects the output of `training.evaluation.scoring.scored`."""
    answers, examples = [], []
    for batch, scores in scored:
        counted_BT = batch["target_weights"] > 0
        example_BT = np.broadcast_to(batch["index"][:, None], counted_BT.shape)
        position_BT = np.broadcast_to(np.arange(counted_BT.shape[1]), counted_BT.shape)
        columns = (example_BT, batch["distance"], position_BT, scores["nll"], scores["correct"])
        answers.append([column[counted_BT] for column in columns])
        real_B = batch["index"] >= 0
        examples.append((batch["index"][real_B], batch["source_mask"].sum(1)[real_B]))
    index, length = (np.concatenate(parts) for parts in zip(*examples, strict=True))
    order = np.argsort(index)
    return Answers(*(np.concatenate(parts) for parts in zip(*answers, strict=True))), Examples(
        index[order], length[order]
    )


def means(answers: Answers) -> dict[str, float]:
    """Loss (nats, or squared error) and accuracy per weighted position, and the share of wholly right examples."""
    asked, wrong = np.unique(answers.example), np.unique(answers.example[~answers.correct.astype(bool)])
    return {
        "loss": float(answers.nll.mean(dtype=np.float64)),
        "token_accuracy": float(answers.correct.mean(dtype=np.float64)),
        "exact_match": 1 - len(wrong) / len(asked),  # evaluation may ask some examples nothing
    }


def bins(values: np.ndarray, width: int = 0) -> list[tuple[int, int]]:
    """Inclusive (low, high) ranges that cover the values: one per value if they are few, else of equal width."""
    distinct = np.unique(values)
    if not width and len(distinct) <= MOST_BINS:
        return [(int(v), int(v)) for v in distinct]
    width = width or math.ceil((distinct[-1] - distinct[0] + 1) / (MOST_BINS // 2))
    first = 1 if distinct[0] >= 1 and width == WORDS_A_BIN else int(distinct[0])
    ranges = [(low, low + width - 1) for low in range(first, int(distinct[-1]) + 1, width)]
    return [(low, high) for low, high in ranges if ((distinct >= low) & (distinct <= high)).any()]


def _filled(ranges: list[tuple[int, int]], values: np.ndarray) -> list[tuple[int, int]]:
    """Joins neighbouring ranges until each holds LEAST_ANSWERS values, or an eighth of all if there are few."""
    least = min(LEAST_ANSWERS, len(values) // 8)
    joined: list[tuple[int, int]] = []
    count = least  # so that the first range opens a bin
    for low, high in ranges:
        here = int(((values >= low) & (values <= high)).sum())
        joined, count = (
            ([*joined, (low, high)], here) if count >= least else ([*joined[:-1], (joined[-1][0], high)], count + here)
        )
    if len(joined) > 1 and count < least:
        joined = [*joined[:-2], (joined[-2][0], joined[-1][1])]
    return joined


def by_distance(answers: Answers) -> list[Row]:
    """Accuracy and loss against how many tokens back the answer lies; [] if no answer has a distance."""
    known = answers.distance >= 0
    if not known.any():
        return []
    ranges = _filled(bins(answers.distance[known]), answers.distance[known])
    return [_between(answers, answers.distance, *ends) for ends in ranges]


def by_position(answers: Answers) -> list[Row]:
    """Accuracy and loss against the position in the target: 0, 1, 2 to 3, 4 to 7, and so on."""
    longest = int(answers.position.max())
    ranges = [(0, 0), *((1 << n, min(longest, (2 << n) - 1)) for n in range(longest.bit_length()))]
    rows = [_between(answers, answers.position, *ends) for ends in ranges]
    return [row for row in rows if row["num_answers"]]


def _between(answers: Answers, values: np.ndarray, low: int, high: int) -> Row:
    here = (values >= low) & (values <= high)
    return {
        "low": low,
        "high": high,
        "num_answers": int(here.sum()),
        "token_accuracy": float(answers.correct[here].sum(dtype=np.float64) / max(here.sum(), 1)),
        "loss": float(answers.nll[here].sum(dtype=np.float64) / max(here.sum(), 1)),
    }


PARTS = ("ngram_precision", "brevity_penalty", "length_ratio")  # of lowercased BLEU
MEASURES = ("bleu", "bleu_lowercase", *PARTS, "chrf")  # of translations


class Text(NamedTuple):
    """Hypotheses and references, line for line."""

    hypotheses: list[str]
    references: list[str]
    lowercase: bool = False  # what the run was trained on, so what its exact matches are compared in
    normalization: str = "identity"  # of the tokenizer, so of hypotheses alone

    def scores(self) -> dict[str, Any]:
        """Corpus BLEU (cased and lowercased), chrF and the signature, by sacreBLEU (Post 2018); what lowercased BLEU is
        made of as well, its n-gram precision in percent times its brevity penalty, and words given a reference word."""
        import sacrebleu

        cased, lowercase, chrf = sacrebleu.BLEU(), sacrebleu.BLEU(lowercase=True), sacrebleu.CHRF()
        found = {
            name: metric.corpus_score(self.hypotheses, [self.references])
            for name, metric in (("bleu", cased), ("bleu_lowercase", lowercase), ("chrf", chrf))
        }
        signature = f"BLEU {cased.get_signature()}; lowercased {lowercase.get_signature()}; {chrf.get_signature()}"
        if self.normalization != "identity":
            signature += f"; hypotheses normalized by {self.normalization}, references as written"
        bleu = found["bleu_lowercase"]
        parts = {
            "ngram_precision": bleu.score / bleu.bp if bleu.bp else 0.0,
            "brevity_penalty": bleu.bp,
            "length_ratio": bleu.ratio,
        }
        return {name: score.score for name, score in found.items()} | parts | {"signature": signature}

    def exact_match(self) -> float:
        """The share of hypotheses that equal their references, apart from spaces at the ends."""
        references = [r.lower() for r in self.references] if self.lowercase else self.references
        pairs = zip(self.hypotheses, references, strict=True)
        return sum(h.strip() == r.strip() for h, r in pairs) / len(self.references)

    def part(self, rows: Sequence[int]) -> "Text":
        """Some of the lines."""
        return self._replace(
            hypotheses=[self.hypotheses[i] for i in rows], references=[self.references[i] for i in rows]
        )


def by_source_length(
    answers: Answers, examples: Examples, length_E: np.ndarray, width: int, text: Text | None
) -> list[Row]:
    """The means within bins of `length_E` (tokens, or words of text), `width` each, and BLEU where there is text.

    Width 0 lets `bins` choose.
    """
    rows: list[Row] = []
    for low, high in bins(length_E, width):
        here = np.flatnonzero((length_E >= low) & (length_E <= high))
        mine = np.isin(answers.example, examples.number[here])
        if not mine.any():
            continue
        row: Row = {"low": low, "high": high, "num_examples": len(here)}
        row |= means(Answers(*(column[mine] for column in answers)))
        if text:
            part = text.part(here.tolist())
            row |= {name: part.scores()[name] for name in ("bleu_lowercase", *PARTS)} | {
                "exact_match": part.exact_match()
            }
        rows.append(row)
    return rows


def free_running(tokens: Mapping[int, np.ndarray], batches: Sequence[Batch]) -> dict[str, float]:
    """Accuracy of outputs that were fed back, against targets of known length."""
    correct = weight = exact = examples = 0
    for batch in batches:
        for row, index in enumerate(batch["index"]):
            counted_T = batch["target_weights"][row] > 0
            if index >= 0 and counted_T.any():
                right_T = tokens[int(index)][: len(counted_T)] == batch["target_out"][row]
                correct, weight = correct + int(right_T[counted_T].sum()), weight + int(counted_T.sum())
                exact, examples = exact + int(right_T[counted_T].all()), examples + 1
    return {"token_accuracy": correct / max(weight, 1), "exact_match": exact / max(examples, 1)}

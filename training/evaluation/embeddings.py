"""What a model's token embeddings know of words: neighbours by cosine, and analogies (Mikolov et al. 2013).

Dims: V words, E embedding width.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import whole_file
from data.tasks.text import TextTask
from data.tasks.translation import Translation
from data.tokenizers import SPECIALS
from models.layers import Embed
from training.evaluation.analogies import questions
from training.run.restore import Restored

SHOWN = 10  # words of an answer
FIRST = 5  # answers among which an analogy's counts
DRAWS = 20  # random embeddings
BEGINS = "\u2581"  # what SentencePiece puts before a piece that begins a word


class Found(NamedTuple):
    score: float  # cosine
    word: str


class Table(NamedTuple):
    """The embeddings of one side that stand for words: of subwords, those that begin one."""

    side: str
    words: list[str]
    place: dict[str, int]  # of each word
    vectors_VE: np.ndarray  # of length 1

    def of(self, word: str) -> np.ndarray:
        return self.vectors_VE[self.place[word]]

    def nearest(self, words: Sequence[str], vector_E: np.ndarray, most: int) -> list[Found]:
        """The words nearest to a vector, without those asked about."""
        scores_V = self.vectors_VE @ unit(vector_E)
        scores_V[[self.place[word] for word in words]] = -np.inf
        best = np.argsort(-scores_V, kind="stable")[: min(most, len(self.words) - len(set(words)))]
        return [Found(float(scores_V[i]), self.words[i]) for i in best]


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)


def table_of(side: str, pieces: Sequence[str], vectors_VE: np.ndarray) -> Table:
    """Of a vocabulary's pieces and their embeddings."""
    begin = any(piece.startswith(BEGINS) for piece in pieces)
    kept = [i for i in range(SPECIALS, len(pieces)) if not begin or pieces[i][:1] == BEGINS != pieces[i]]
    words = [pieces[i].removeprefix(BEGINS) for i in kept]
    return Table(side, words, {word: place for place, word in enumerate(words)}, unit(vectors_VE[kept]))


def shown(word: str) -> str:
    """A word on one line: characters that would end or move it are written as in Python."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in word)


def answers(run: Restored, path: Path, word: str | None, asked: str | None) -> list[str]:
    """The lines that answer --neighbours or --analogy; without either --analogies, which writes `path` too."""
    found = neighbours(run, word) if word else analogy(run, asked) if asked else None
    if found is not None:
        return [f"{one.score:.3f}  {shown(one.word)}" for one in found]
    scored = score(run) | {"checkpoint_step": run.step}
    path.parent.mkdir(exist_ok=True)
    whole_file.write_json(path, scored)
    rows, of = scored["relations"], scored["of"]
    lines = [f"{name:8} {row['asked']:4}  {row['answered']:8.1%}  {row['random']:6.1%}" for name, row in rows.items()]
    return [
        f"answer among the first {FIRST}, {scored['side']} embeddings, chance {scored['chance']:.2%}",
        f"asked: {rows['all']['asked']} of {of}, those whose words the vocabulary has",
        "relation asked  answered  random",
        *lines,
        str(path),
    ]


def tables(run: Restored, option: str) -> list[Table]:
    """Of the target, where the model reads one, and of the source, where it has its own. Raises ValueError for a run
    that has none of words."""
    if not isinstance(run.task, TextTask):
        raise ValueError(f"{option}: {run.config.task} has no words; give a run on text")
    inputs, task = getattr(run.model, "inputs", None), run.task
    source_pieces = task.source_pieces if isinstance(task, Translation) else task.target_pieces
    sides = {"source": (getattr(inputs, "own_source", None), source_pieces)}
    if "sequence" in run.model.layouts or sides["source"][0] is None:
        sides = {"target": (getattr(inputs, "target", None), task.target_pieces)} | sides
    found = [
        table_of(side, pieces(range(len(embed.table[...]))), np.asarray(embed.table[...], np.float64))
        for side, (embed, pieces) in sides.items()
        if isinstance(embed, Embed)
    ]
    if not found:
        raise ValueError(f"{option}: {run.config.model.name} has no token embeddings; give a run of another model")
    return found


def side_of(tables: Sequence[Table], words: Sequence[str], option: str) -> Table:
    """The side that has all the words. Raises ValueError, which names the first that none has."""
    for table in tables:
        if all(word in table.place for word in words):
            return table
    missing = next((w for w in words if not any(w in table.place for table in tables)), words[0])
    visible = [word for word in tables[0].words if not word.isspace()]
    such = ", ".join(map(shown, difflib.get_close_matches(missing, visible) or visible[:3]))
    raise ValueError(f"{option}: {missing!r} is no single token of the vocabulary; use words that are, such as {such}")


def neighbours(run: Restored, word: str) -> list[Found]:
    option = f"--neighbours = {word}"
    table = side_of(tables(run, option), [word], option)
    return table.nearest([word], table.of(word), SHOWN)


def analogy(run: Restored, asked: str) -> list[Found]:
    """What is to c as b is to a, where `asked` is "a:b::c"."""
    option = f"--analogy = {asked}"
    words = asked.replace("::", ":").split(":")
    if asked.count("::") != 1 or len(words) != 3 or not all(words):
        raise ValueError(f"{option} is no question; ask as in --analogy=man:woman::boy")
    table = side_of(tables(run, option), words, option)
    return solve(table, words, SHOWN)


def solve(table: Table, words: Sequence[str], most: int) -> list[Found]:
    """The nearest to b - a + c (3CosAdd)."""
    a, b, c = map(table.of, words)
    return table.nearest(words, b - a + c, most)


def score(run: Restored) -> dict[str, Any]:
    """How many of the committed analogies are answered among the first FIRST, by relation: of those whose words the
    vocabulary has all, beside chance and the mean of DRAWS random embeddings of the same size."""
    every = questions()

    def has(table: Table) -> list[tuple[str, tuple[str, ...]]]:
        return [(relation, words) for relation, words in every if all(word in table.place for word in words)]

    table = max(tables(run, "--analogies"), key=lambda table: len(has(table)))
    asked = has(table)
    if not asked:
        raise ValueError(
            f"--analogies: the vocabulary of {run.config.task} has the words of none of {len(every)}; give a run on "
            "English text in words or subwords"
        )
    answered, by_chance, size = counted(table, asked), defaultdict[str, float](float), table.vectors_VE.shape
    for draw in range(DRAWS):
        random = table._replace(vectors_VE=unit(np.random.default_rng(draw).normal(size=size)))
        for relation, number in counted(random, asked).items():
            by_chance[relation] += number / DRAWS
    numbers = Counter(relation for relation, _ in asked)
    rows = {
        relation: {"asked": number, "answered": answered[relation] / number, "random": by_chance[relation] / number}
        for relation, number in numbers.items()
    }
    total = len(asked)
    rows["all"] = {
        "asked": total,
        "answered": sum(answered.values()) / total,
        "random": sum(by_chance.values()) / total,
    }
    return {"side": table.side, "first": FIRST, "chance": FIRST / (size[0] - 3), "of": len(every), "relations": rows}


def counted(table: Table, asked: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, int]:
    """How many of each relation have their answer among the first FIRST."""
    found = defaultdict[str, int](int)
    for relation, (*words, answer) in asked:
        found[relation] += answer in [one.word for one in solve(table, words, FIRST)]
    return found

"""What is measured on real text: one translation model, and the files that every program of a case reads.

This file is read by our programs and by JoeyNMT's, in their own environments: the standard library and numpy
alone.
"""

import dataclasses
from pathlib import Path

PROGRAMS = {"ours": "benchmarks.ours_text", "joeynmt": "benchmarks.peers.joeynmt_programs"}
SPECIALS = 4  # padding, beginning, end and unknown have the first ids


@dataclasses.dataclass(frozen=True)
class TextCase:
    """A pre-norm Transformer with tied embeddings, from one language to the other, lowercased.

    `split` is what is translated; empty where training is measured.
    """

    name: str
    data: str  # folder of the text, as config.data.dir
    run: str = ""  # folder of the run of ours whose weights are taken; empty: a model at its beginning
    split: str = ""
    source: str = "de"
    target: str = "en"
    hidden: int = 256
    layers: int = 3
    heads: int = 8
    mlp: int = 512
    vocab: int = 6000
    dropout: float = 0.2  # of attention weights too: JoeyNMT has one rate for all
    label_smoothing: float = 0.1
    tokens_per_batch: int = 1024  # rows times the longer of source and target
    buckets: int = 20  # static shapes of ours, each to be compiled; JoeyNMT takes sentences as they come
    max_length: int = 128  # tokens with EOS; longer training pairs are left out
    learning_rate: float = 1.5e-3
    warmup: int = 400  # updates, then as the inverse square root of their number
    beam: int = 5
    length_penalty: float = 0.6
    devices: int = 2


class Files:
    """What our program writes, before it answers, for the peer to begin with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.weights = folder / "weights.npz"  # ours, by our names
        self.tokenizer = folder / "tokenizer" / "joint.model"  # SentencePiece's own file
        self.vocabulary = folder / "vocabulary.txt"  # its pieces but the specials, a line each, in the order of ids

    def text(self, split: str, language: str) -> Path:
        """Plain lines."""
        return self.folder / f"{split}.{language}"

    def hypotheses(self, contender: str) -> Path:
        """The translations, a line each, that a program wrote."""
        return self.folder / f"{contender.replace(' ', '-')}.hypotheses"

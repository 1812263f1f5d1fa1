"""What is measured on a GPU: programs that step in turn, at the sizes of the papers and along a surface of lengths."""

import dataclasses
from collections.abc import Sequence

from benchmarks.cases import Case, flops
from benchmarks.turns import Contender

START_SECONDS = 25.0  # that a program takes to start and to compile: an estimate, until a GPU has been seen
OURS, TORCH = Contender("ours"), Contender("torch")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One program of a part."""

    label: str
    contender: Contender
    case: Case


@dataclasses.dataclass(frozen=True)
class Part:
    """Programs that are compared; the first is what the others' ratios are of."""

    name: str
    question: str
    entries: tuple[Entry, ...]
    seconds: float = 20.0  # of measuring
    same_work: bool = True  # equal losses from equal weights, which is checked

    @property
    def estimated_seconds(self) -> float:
        return self.seconds + START_SECONDS * len(self.entries)

    @property
    def flops(self) -> float:
        """Of a step of the first program."""
        return flops(self.entries[0].case)

    def without_torch(self) -> "Part":
        return dataclasses.replace(self, entries=tuple(e for e in self.entries if e.contender.program != "torch"))


def transformer_big(length: int, batch: int) -> Part:
    """Vaswani et al. 2017, table 3, `big`, with a vocabulary of 32,768 and no dropout of attention weights."""
    case = Case(
        f"transformer_big_{length}",
        "transformer",
        batch,
        length,
        1024,
        6,
        mlp=4096,
        heads=16,
        vocab=32768,
        dropout=0.1,
        attention_dropout=0.0,
        label_smoothing=0.1,
        dtype="bfloat16",
        devices=1,
    )
    return Part(
        case.name,
        "MFU; share of the measured bfloat16 matmul rate, at least 45 %; at least 1.2 x torch with torch.compile",
        (
            Entry("ours", OURS, case),
            Entry("ours, attention not fused", OURS, dataclasses.replace(case, backend="never")),
            Entry("torch", TORCH, case),
            Entry("torch.compile", TORCH, dataclasses.replace(case, compiled=True)),
        ),
        seconds=40.0,
    )


def stack(model: str, length: int, hidden: int, batch: int = 64, dtype: str = "float32") -> Part:
    """Layers of one cell against cuDNN's, which torch calls."""
    case = Case(f"{model}_{length}_{hidden}_{dtype}", model, batch, length, hidden, 2, dtype=dtype, devices=1)
    entries = [Entry("ours", OURS, case), Entry("torch (cuDNN)", TORCH, case)]
    if model == "lstm" and dtype == "float32":
        entries.insert(1, Entry("ours, cuDNN back-end", OURS, dataclasses.replace(case, backend="cudnn")))
    return Part(case.name, "a stack of cells against cuDNN through torch", tuple(entries))


def surface(length: int, tokens: int = 16384) -> Part:
    """Language models of 4.2 M parameters (without embeddings) on as many tokens a step, whatever the length."""

    def entry(label: str, model: str, hidden: int, backend: str = "", mlp: int = 0, dtype: str = "bfloat16") -> Entry:
        case = Case(
            f"{model}_{length}",
            model,
            max(1, tokens // length),
            length,
            hidden,
            2,
            mlp=mlp,
            heads=8,
            vocab=1024,
            backend=backend,
            dtype=dtype,
            devices=1,
        )
        return Entry(label, OURS, case)

    entries = (
        entry("transformer", "transformer_decoder", 512, mlp=1024),
        entry("transformer, attention not fused", "transformer_decoder", 512, "never", mlp=1024),
        entry("rnn", "rnn_decoder", 1024),
        entry("gru", "gru_decoder", 592),
        entry("lstm", "lstm_decoder", 512),
        entry("lstm, cuDNN back-end, float32", "lstm_decoder", 512, "cudnn", dtype="float32"),
    )
    return Part(f"surface_{length}", "training tokens a second along the length", entries, 30.0, same_work=False)


PARTS: tuple[Part, ...] = (
    transformer_big(128, 128),
    transformer_big(512, 32),
    *(stack(model, length, 256) for model in ("rnn", "gru", "lstm") for length in (128, 512)),
    *(stack(model, 128, 1024, 256, "bfloat16") for model in ("rnn", "gru", "lstm")),
    *(surface(length) for length in (32, 128, 512, 1024, 2048, 4096)),
)


def tiny(parts: Sequence[Part]) -> list[Part]:
    """A part of each kind, so small that a CPU steps through it. cuDNN's back-end, which needs a GPU, is left out."""

    def shrink(case: Case) -> Case:
        small = dataclasses.replace(case, batch=2, length=4, hidden=16, layers=1, heads=2)
        return dataclasses.replace(small, mlp=16 if case.mlp else 0, vocab=16 if case.vocab else 0)

    def shorten(part: Part) -> Part:
        kept = [entry for entry in part.entries if entry.case.backend != "cudnn"][: 3 if part.same_work else 2]
        entries = tuple(dataclasses.replace(entry, case=shrink(entry.case)) for entry in kept)
        return dataclasses.replace(part, entries=entries, seconds=0.0)

    kinds = {part.name.split("_")[0]: part for part in reversed(parts)}
    return [shorten(kinds[kind]) for kind in ("transformer", "lstm", "surface")]

"""Measures the quality of a trained run, or translates with it.

python eval.py --workdir=RUN --split=test_2016_flickr --beam_size=5     writes RUN/eval/test_2016_flickr.json
python eval.py --workdir=RUN --source=FILE --target=FILE                any pair of parallel files (--target alone: any
                                                                        text, for a language model)
python eval.py --workdir=RUN --input=- < FILE                           translates, line by line; with --nbest or
                                                                        --num_samples: LINE, SCORE, TEXT and tabs
python eval.py --workdir=RUN --attention=FOLDER --split=val             attention pictures
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import dataclasses
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import checks, files, whole_file
from data.batch import Batch
from data.tasks.language import Language
from data.tasks.translation import Translation
from data.tokenizers import UNK
from training.command.cli import Parser, user_errors
from training.evaluation import mirrored, quality, scoring, untrained_positions
from training.evaluation.generate import GREEDY, Beam, Decoding, Generator, Sample, named, search, source_batch
from training.evaluation.pictures import attention_names, picture
from training.machine import backend
from training.mirrors.mirror import Mirror
from training.run.restore import WHICH, Restored, read_config, restore

PICTURES = 8  # examples drawn by --attention

LARGEST = 2**31 - 1
DECODING: dict[str, tuple[float, float, float, str]] = {
    "beam_size": (Beam.beam_size, 1, 64, ""),
    "length_penalty": (Beam.length_penalty, 0, 100, ""),
    "temperature": (1.0, 0, 1e6, "sample"),
    "top_k": (0, 0, LARGEST, "sample"),
    "top_p": (1.0, 1e-9, 1, "sample"),
    "seed": (0, 0, 2**32 - 1, "sample"),
    "num_samples": (1, 1, 1024, "input sample"),
    "nbest": (0, 0, 1024, "input"),
    "max_len": (200, 1, LARGEST, "input"),
}
"""Options: (default, least, most, the options that each belongs to)."""

Text = Translation | Language


def evaluate(
    run: Restored, split: str, decoding: Decoding = GREEDY, *, limit: int = 0
) -> tuple[dict[str, Any], list[str]]:
    """The contents of RUN/eval/SPLIT.json, and the predictions, a line for each example in the order of the split.

    `limit` takes the first so many examples (0: all).
    """
    task, spec = run.task, run.task.spec
    batches = list(run.batches(split, limit=limit))
    untrained_positions.check_batches(run.model, batches)

    # Teacher-forced: every answer of the split, and what is known of each example.
    scored = list(scoring.scorer(run.model, spec)(batches))
    answers, examples = quality.gather(scored)
    found: dict[str, Any] = {"checkpoint_step": run.step, "num_examples": len(examples.number)}
    found |= quality.means(answers)
    found["perplexity"] = math.exp(min(found["loss"], 700.0)) if spec.loss == "cross_entropy" else None
    found |= dict.fromkeys(("bleu", "bleu_lowercase", "chrf", "signature", "bits_per_byte"))
    if isinstance(task, Text):
        found |= unknown_shares(task, split, batches)
    if isinstance(task, Language) and not task.num_unknown(split):
        tokens_a_byte = task.num_tokens(split) / task.num_bytes(split)
        found["bits_per_byte"] = found["loss"] / math.log(2) * tokens_a_byte

    # Free-running, where outputs can be fed back: hypotheses for text, accuracy for symbols.
    text, length_E, width = None, examples.source_length, 0
    predictions = _teacher_forced(scored)
    if spec.free_running and spec.source != "none" and run.model.decodes:
        tokens = Generator(run.model, spec, decoding).split(batches)
        found["decoding"] = {"method": decoding.method, **dataclasses.asdict(decoding)}
        if isinstance(task, Translation):
            lines, references = task.source_text(split), task.target_text(split)
            hypotheses = [task.decode_target(tokens[int(i)]) for i in examples.number]
            references = [references[i] for i in examples.number]
            text = quality.Text(hypotheses, references, task.lowercase, task.normalization)
            found |= text.scores() | {"exact_match": text.exact_match()}
            length_E, width = np.array([len(lines[i].split()) for i in examples.number]), quality.WORDS_A_BIN
            predictions = hypotheses
        else:
            found["free_running"] = quality.free_running(tokens, batches)
            predictions = [" ".join(map(str, tokens[int(i)])) for i in examples.number]

    found["by_source_length"] = []
    if spec.source != "none":
        found["by_source_length"] = quality.by_source_length(answers, examples, length_E, width, text)
    found["by_distance"] = quality.by_distance(answers)
    found["chance"] = dict(task.chance)
    return found, predictions


def unknown_shares(task: Text, split: str, batches: Sequence[Batch]) -> dict[str, float]:
    """The shares of source and target tokens that the tokenizer does not know, noted where there are any.

    Losses over them compare with no other tokenizer's: nearly any text can be unknown.
    """
    shares: dict[str, float] = {}
    sides = {
        "source": [batch["source"][batch["source_mask"]] for batch in batches],
        "target": [batch["target_out"][batch["target_weights"] > 0] for batch in batches],
    }
    for name, parts in sides.items():
        tokens = np.concatenate(parts)
        if len(tokens):
            shares[f"unknown_{name}_share"] = share = float((tokens == UNK).mean())
            if share:
                task.notes.append(f"{split}: {share:.2%} of the {name} tokens are unknown to the tokenizer")
    if isinstance(task, Language) and task.num_unknown(split):
        task.notes.append(f"{split}: bits per byte are left out, which unknown tokens would make too small")
    return shares


def _teacher_forced(scored: Iterable[scoring.Scored]) -> list[str]:
    """A line an example: the predictions at the positions that count, and "-" at answers that do not."""
    lines = {}
    for batch, scores in scored:
        for row, index in enumerate(batch["index"]):
            if index >= 0:
                counts = batch["target_weights"][row] > 0
                answers = counts | (batch["target_out"][row] != 0)
                shown = zip(scores["prediction"][row][answers], counts[answers], strict=True)
                lines[int(index)] = " ".join(f"{value:.6g}" if count else "-" for value, count in shown)
    return [lines[index] for index in sorted(lines)]


def translate(task: Text, generate: Generator, lines: Iterable[str], max_len: int) -> Iterator[list[tuple[float, str]]]:
    """Score and text of each output for each line as it comes: translations or, from a language model, the line and at
    most `max_len` tokens that go on from it."""
    for number, line in enumerate(lines):
        if isinstance(task, Language):
            prompts = task.encode_target([line])
            tokens, scores = generate.continuations(prompts, max_len, first=number)
            texts = [line + task.continuation(prompts[0], ids) for ids in tokens]
            yield [(float(score), text) for text, score in zip(texts, scores, strict=True)]
        elif line.strip():
            tokens, scores = generate(source_batch(task, [line], first=number))
            yield [(float(score), task.decode_target(ids)) for ids, score in zip(tokens, scores, strict=True)]
        else:
            yield [(0.0, "")]


def draw(run: Restored, split: str, folder: Path) -> list[Path]:
    """Attention pictures of the first examples of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for batch in run.batches(split, limit=PICTURES):
        for row in np.flatnonzero(batch["index"] >= 0):
            paths.append(folder / f"{split}-{batch['index'][row]}.png")
            picture(paths[-1], run.model, run.task, batch, int(row))
    return paths


def add_split(task: Text, source: str | None, target: str) -> str:
    """Makes a pair of files (or, for a language model, one) a split of the task, and returns its name.

    The name ends with what the files hold: it is never that of a split, nor of other files that are called the same.
    """
    name = Path(source or target).name.removesuffix(".gz")
    if isinstance(task, Language):
        if source:
            raise ValueError(f"--source = {source}: a language model has no source to read; give --target alone")
        text = files.read_text(target)
        name += f"-{files.content_hash([text])[:8]}"
        task.add_split(name, [text])
    else:
        if not source:
            raise ValueError(f"--target = {target} needs --source, the file that it translates; give both")
        pairs = files.read_parallel(source, target)
        name += f"-{files.content_hash([*pairs.source, *pairs.target])[:8]}"
        task.add_split(name, pairs.source, pairs.target)
        task.notes += pairs.notes
    return name


def read_lines(path: str) -> Iterator[str]:
    """Lines of a file (plain or .gz), or of standard input as they arrive."""
    if path == "-":
        if sys.stdin is None:
            raise ValueError("--input = -: standard input is closed; give a file, or a pipe")
        for number, raw in enumerate(sys.stdin.buffer, start=1):
            line = files.decode(raw, "--input = -", number)
            yield from re.sub(files.LINE_END, "\n", line).removesuffix("\n").split("\n")
    else:
        yield from files.read_lines(path, may_be_blank=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run")
    parser.add_argument("--split", help="split to evaluate; text tasks name theirs (default: val)")
    parser.add_argument("--checkpoint", default="best", choices=WHICH, help="average is of those kept (default: best)")
    parser.add_argument("--data_dir", help="where the data lie, when not where they were in training")
    parser.add_argument("--source", help="source lines to evaluate on, with --target, instead of a split")
    parser.add_argument("--target", help="reference lines; alone, the text that a language model is scored on")
    parser.add_argument("--input", help="translate these lines (a file, or - for standard input)")
    parser.add_argument("--attention", type=Path, help="folder for attention pictures of the split's first examples")
    parser.add_argument("--limit", type=int, default=0, help="evaluate only the first so many, into SPLIT-firstN.json")
    parser.add_argument("--beam_size", type=int, help="1 is greedy (default: 5)")
    parser.add_argument("--length_penalty", type=float, help="exponent of ((5 + length) / 6) (default: 0.6)")
    parser.add_argument("--sample", action="store_true", help="draw tokens instead of searching")
    parser.add_argument("--temperature", type=float, help="of --sample; 0 takes the maximum (default: 1)")
    parser.add_argument("--top_k", type=int, help="of --sample; 0 for all (default: 0)")
    parser.add_argument("--top_p", type=float, help="of --sample (default: 1)")
    parser.add_argument("--seed", type=int, help="of --sample (default: 0)")
    parser.add_argument("--num_samples", type=int, help="of --sample: draws for each line of --input (default: 1)")
    parser.add_argument("--nbest", type=int, help="so many outputs for each line of --input, best first (default: 0)")
    parser.add_argument("--max_len", type=int, help="tokens that a language model writes after --input (default: 200)")
    options = parser.parse_args(argv)
    lost = options.data_dir and not Path(options.data_dir).is_dir()
    for wrong, name, rule in (
        (options.source and not options.target, "source", "needs --target; give both"),
        (options.limit and (options.input or options.attention), "limit", "is of an evaluation; leave it out here"),
        (options.input and (options.target or options.attention), "input", "goes without --target and --attention"),
        (options.split and (options.input or options.target), "split", "is not of lines from files; leave it out"),
        (lost, "data_dir", "is no folder; give where the data lie"),
    ):
        if wrong:
            parser.error(f"--{name} = {getattr(options, name)} {rule}")
    options.given = {name: v for name in ("sample", *DECODING) if (v := getattr(options, name)) not in (None, False)}
    for name, (default, low, high, needed) in DECODING.items():
        value = getattr(options, name)
        if value is None:
            setattr(options, name, default)
        elif missing := next((other for other in needed.split() if not getattr(options, other)), ""):
            parser.error(f"--{name} = {value} is of --{missing}; give both or neither")
        elif options.sample and name in ("beam_size", "length_penalty"):
            parser.error(f"--{name} = {value} is of a search, not of --sample; give one of the two")
        elif not low <= value <= high:  # nan is in no range
            most = f", at most {high:.15g}" if high < LARGEST else ""
            parser.error(f"--{name} = {value} is out of range; use {low} or more{most}")
    of = "num_samples" if options.sample else "beam_size"
    if options.nbest > (most := getattr(options, of)):
        parser.error(f"--nbest = {options.nbest} is more than --{of} = {most}; use --{of}={options.nbest}")
    if options.limit < 0:
        parser.error(f"--limit = {options.limit} is out of range; use 0 (all) or more")
    options.split = options.split or "val"
    if options.sample:
        options.decoding = Sample(options.temperature, options.top_k, options.top_p, options.seed)
    else:
        options.decoding = search(options.beam_size, options.length_penalty)
    return options


def write_outputs(
    generate: Generator, task: Text, lines: Iterable[str], *, nbest: int, numbered: bool, max_len: int
) -> None:
    """To standard output: a line of text for each output, the best `nbest` (0: all, as they come), `numbered` with the
    line that they are of and their score."""
    for number, found in enumerate(translate(task, generate, lines, max_len), start=1):
        if nbest:
            found = sorted(found, key=lambda output: -output[0])[:nbest]
        for score, text in found:
            print(f"{number}\t{score:.4f}\t{files.one_line(text)}" if numbered else text, flush=True)


def part_of(split: str, options: argparse.Namespace) -> str:
    """What results are called: the split, and whatever else than the defaults decides them, so that neither a part
    replaces the whole nor one decoding another."""
    words = [split, "" if options.checkpoint == "best" else options.checkpoint]
    words += [named(options.decoding)] if options.decoding != Beam() else []
    return "-".join(filter(None, [*words, f"first{options.limit}" if options.limit else ""]))


def check_given(given: Mapping[str, Any], run: Restored, *, decoded: bool) -> None:
    """Raises ValueError for a given option of decoding that would do nothing."""
    for name, value in given.items():
        if not decoded:
            raise ValueError(f"--{name}: nothing is decoded here; leave it out")
        if name == "max_len" and not isinstance(run.task, Language):
            raise ValueError(f"--max_len = {value} is of a language model; leave it out")


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    with user_errors():
        config = read_config(options.workdir)
        if options.data_dir and "dir" not in config.data:
            raise ValueError(f"--data_dir = {options.data_dir}: {config.task} reads no files; leave it out")
        backend.configure(options.workdir, config.keep_pages, config.cpu_devices, config.deterministic)
        run = restore(options.workdir, options.checkpoint, data_dir=options.data_dir)
        split = options.split
        flag, file = next(((f, v) for f in ("source", "target", "input") if (v := getattr(options, f))), ("", ""))
        if file:
            if not isinstance(run.task, Text):
                raise ValueError(f"--{flag} = {file}: {run.config.task} is not text; use --split")
            if options.target:
                split = add_split(run.task, options.source, options.target)
            if options.input:
                if not run.model.decodes:
                    raise ValueError(f"--input = {options.input}: {run.config.model.name} cannot decode; use --split")
                check_given(options.given, run, decoded=True)
                outputs = options.num_samples if options.sample else options.nbest or 1
                write_outputs(
                    Generator(run.model, run.task.spec, options.decoding, outputs=outputs),
                    run.task,
                    read_lines(options.input),
                    nbest=options.nbest,
                    numbered=bool(options.nbest or options.num_samples > 1),
                    max_len=options.max_len,
                )
                return
        spec = run.task.spec
        decoded = spec.free_running and spec.source != "none" and run.model.decodes
        check_given(options.given, run, decoded=decoded and not options.attention)
        if not options.target and split not in run.task.splits:
            checks.one_of("--split", split, run.task.splits)
        if options.attention:
            if not attention_names(run.model):
                raise ValueError(f"--attention: {run.config.model.name} has no attention to draw; evaluate it without")
            for path in draw(run, split, options.attention):
                print(path)
            return
        found, predictions = evaluate(run, split, options.decoding, limit=options.limit)
        found |= {"split": split, "source": options.source, "target": options.target, "checkpoint": options.checkpoint}
        folder = options.workdir / "eval"
        folder.mkdir(exist_ok=True)
        part = part_of(split, options)
        whole_file.write_json(folder / f"{part}.json", found)
        path = folder / f"{part}.predictions.txt"
        whole_file.write_text(path, "".join(line + "\n" for line in predictions))
        with Mirror(options.workdir, run.config) as mirror:
            mirrored.send(mirror, part, found)
    for note in run.task.notes:
        print(f"{run.config.task}: {note}", file=sys.stderr)
    shown = ("loss", "perplexity", "token_accuracy", "exact_match", "bits_per_byte", "bleu", "bleu_lowercase", "chrf")
    for name in shown:
        if found[name] is not None:
            print(f"{name:16} {found[name]:.4g}")
    print(folder / f"{part}.json")


if __name__ == "__main__":
    main(sys.argv[1:])

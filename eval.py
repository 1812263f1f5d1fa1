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
import contextlib
import dataclasses
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import checks, files, whole_file
from data.batch import Batch
from data.tasks.language import Language
from data.tasks.translation import Translation
from data.tokenizers import UNK
from training.command.cli import Parser, check_folder, user_errors
from training.evaluation import generate, mirrored, quality, scoring, untrained_positions
from training.evaluation.generate import GREEDY, Beam, Decoding, Generator, Sample, named, search, source_batch
from training.evaluation.pictures import attention_names, picture
from training.machine import backend
from training.mirrors.mirror import Mirror
from training.run import run_folder
from training.run.restore import WHICH, Restored, read_config, restore

PICTURES = 8  # examples drawn by --attention

LARGEST = 2**31 - 1
MAX_LEN = 200  # tokens that a language model writes
BEAM = Beam()  # how outputs are found unless something else is asked
DECODING: dict[str, tuple[float, float, float]] = {
    "beam_size": (Beam.beam_size, 1, 64),
    "length_penalty": (Beam.length_penalty, 0, 100),
    "temperature": (1.0, 0, 1e6),
    "top_k": (0, 0, LARGEST),
    "top_p": (1.0, 1e-9, 1),
    "seed": (0, 0, 2**32 - 1),
    "num_samples": (1, 1, 1024),
    "nbest": (0, 0, 1024),
    "max_len": (MAX_LEN, 1, 2**16),
}
"""Options: (default, least, most)."""

NEEDS = {"source": ["target"], "num_samples": ["input", "sample"], "nbest": ["input"], "max_len": ["input"]}
NEEDS |= dict.fromkeys(("temperature", "top_k", "top_p", "seed"), ["sample"])
WITHOUT = {
    "split": ["target", "input"],
    "input": ["target", "attention", "limit"],
    "attention": ["limit", "sample", "beam_size", "length_penalty"],
    "sample": ["beam_size", "length_penalty"],
}
"""Which options would do nothing without others, and beside others."""

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
    found |= dict.fromkeys((*quality.MEASURES, "at_decoding_limit", "signature", "bits_per_byte"))
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
            predictions = hypotheses = [task.decode_target(tokens[int(i)]) for i in examples.number]
            references = [references[i] for i in examples.number]
            text = quality.Text(hypotheses, references, task.lowercase, task.normalization)
            found |= text.scores() | {"exact_match": text.exact_match()}
            found["at_decoding_limit"] = len(generate.at_limit(tokens, batches, spec)) / len(hypotheses)
            length_E, width = np.array([len(lines[i].split()) for i in examples.number]), quality.WORDS_A_BIN
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
    """One line per example: the predictions at the positions that count, and "-" for answers that do not."""
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
    """Score and text of each output for each line as it comes: translations, or for a language model the line and at
    most `max_len` further tokens."""
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


def draw(run: Restored, split: str, folder: Path, name: str) -> list[Path]:
    """Attention pictures of the first examples of a split, named by `name` and the example's number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for batch in run.batches(split, limit=PICTURES):
        for row in np.flatnonzero(batch["index"] >= 0):
            paths.append(folder / f"{name}-{batch['index'][row]}.png")
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


class Asked(NamedTuple):
    options: argparse.Namespace  # the command line
    decoding: Decoding
    given: Mapping[str, Any]  # of the options of decoding


def parse(argv: Sequence[str]) -> Asked:
    parser = Parser(__doc__)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run")
    parser.add_argument("--split", help="split to evaluate; text tasks name theirs (default: val)")
    parser.add_argument("--checkpoint", default="best", choices=WHICH, help="average is of those kept (default: best)")
    parser.add_argument("--data_dir", help="where the data lie, when not where they were in training")
    parser.add_argument("--source", help="source lines to evaluate on, with --target, instead of a split")
    parser.add_argument("--target", help="reference lines; alone, the text that a language model is scored on")
    parser.add_argument("--input", help="translate these lines (a file, or - for standard input)")
    parser.add_argument("--attention", type=Path, help="folder for attention pictures of the split's first examples")
    parser.add_argument("--limit", type=int, help="evaluate only the first so many, into SPLIT-firstN.json")
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
    given = {name: value for name, value in vars(options).items() if value is not None and value is not False}
    check_options(parser, given)
    values = {name: given.get(name, default) for name, (default, *_) in DECODING.items()}
    if options.sample:
        decoding: Decoding = Sample(*(values[name] for name in ("temperature", "top_k", "top_p", "seed")))
    else:
        decoding = search(values["beam_size"], values["length_penalty"])
    return Asked(options, decoding, {name: given[name] for name in ("sample", *DECODING) if name in given})


def check_options(parser: Parser, given: Mapping[str, Any]) -> None:
    """Ends the process with one line for an option that is useless or out of range."""
    for name, value in given.items():
        if missing := [other for other in NEEDS.get(name, []) if other not in given]:
            parser.error(f"--{name} = {value} is of --{missing[0]}; give both or neither")
        if beside := [other for other in WITHOUT.get(name, []) if other in given]:
            parser.error(f"--{name} = {value} and --{beside[0]} = {given[beside[0]]} exclude each other; leave one out")
    for name, (_, low, high) in {**DECODING, "limit": (0, 0, LARGEST)}.items():
        if not low <= given.get(name, low) <= high:  # nan is in no range
            most = f", at most {high:.15g}" if high != LARGEST else ""
            parser.error(f"--{name} = {given[name]} is out of range; use {low} or more{most}")
    if given.get("beam_size") == 1 and "length_penalty" in given:
        parser.error("--length_penalty is of a beam, and --beam_size = 1 is none; leave one out")
    for surest, always in (("temperature", 0), ("top_k", 1)):
        drawn = ("temperature", "top_k", "top_p", "seed", "num_samples")
        if given.get(surest) == always and (idle := [name for name in drawn if name in given and name != surest]):
            parser.error(f"--{idle[0]} does nothing where --{surest} = {always} takes the maximum; leave one out")
    of = "num_samples" if "sample" in given else "beam_size"
    if given.get("nbest", 0) > (most := given.get(of, DECODING[of][0])):
        parser.error(f"--nbest = {given['nbest']} is more than --{of} = {most}; use --{of}={given['nbest']}")
    if "data_dir" in given and not Path(given["data_dir"]).is_dir():
        parser.error(f"--data_dir = {given['data_dir']} is not a folder; give where the data lie")


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


def part_of(split: str, checkpoint: str, decoding: Decoding = BEAM, limit: int = 0, text: str = "") -> str:
    """The name of results: the split, and everything that differs from the defaults, so that no part replaces the
    whole, and no decoding or text replaces another."""
    words = [split, text, "" if checkpoint == "best" else checkpoint, named(decoding) if decoding != BEAM else ""]
    return "-".join(filter(None, [*words, f"first{limit}" if limit else ""]))


def other_text(run: Restored, workdir: Path, split: str) -> str:
    """The first digits of the hash of a split's text where it is another than the run read, or than what lies in its
    folder was measured on; otherwise nothing. Notes it."""
    text = run.task.content_hash(split).get(split, "")
    known = ((run_folder.read_record(workdir) or {}).get("data") or {}).get(split, "")
    for path in sorted((workdir / "eval").glob(f"{split}*.json")) if text and not known else []:
        with contextlib.suppress(ValueError):
            found = whole_file.read_json(path, "")
            known = known or (found.get("content_hash", "") if found.get("split") == split else "")
    if not isinstance(run.task, Text) or text == (known or text):
        return ""
    run.task.notes.append(f"{split}: its text is not the one of before; what is found is named {split}-{text[:8]}")
    return text[:8]


def check_given(given: Mapping[str, Any], run: Restored, *, decoded: bool) -> None:
    """Raises ValueError for a given option of decoding that would do nothing."""
    for name, value in given.items():
        if not decoded:
            raise ValueError(f"--{name}: nothing is decoded here; leave it out")
        if name == "max_len" and not isinstance(run.task, Language):
            raise ValueError(f"--max_len = {value} is of a language model; leave it out")
        if name == "top_k" and value >= (size := run.task.spec.output_size):
            raise ValueError(f"--top_k = {value} leaves out none of {size} tokens; use {size - 1} or less, 0 for all")


def say(run: Restored) -> None:
    for note in run.task.notes:
        print(f"{run.config.task}: {note}", file=sys.stderr)


def main(argv: Sequence[str]) -> None:
    options, decoding, given = parse(argv)
    limit, split = options.limit or 0, options.split or "val"
    with user_errors():
        config = read_config(options.workdir)
        if options.data_dir and "dir" not in config.data:
            raise ValueError(f"--data_dir = {options.data_dir}: {config.task} reads no files; leave it out")
        if not options.input:
            check_folder("--attention" if options.attention else "eval", options.attention or options.workdir / "eval")
        backend.configure(options.workdir, config.keep_pages, config.cpu_devices, config.deterministic)
        run = restore(options.workdir, options.checkpoint, data_dir=options.data_dir)
        flag, file = next(((f, v) for f in ("source", "target", "input") if (v := getattr(options, f))), ("", ""))
        if file:
            if not isinstance(run.task, Text):
                raise ValueError(f"--{flag} = {file}: {run.config.task} is not text; use --split")
            if options.target:
                split = add_split(run.task, options.source, options.target)
            if options.input:
                if not run.model.decodes:
                    raise ValueError(f"--input = {options.input}: {run.config.model.name} cannot decode; use --split")
                check_given(given, run, decoded=True)
                draws, nbest = given.get("num_samples", 1), given.get("nbest", 0)
                outputs = draws if options.sample else nbest or 1
                write_outputs(
                    Generator(run.model, run.task.spec, decoding, outputs=outputs),
                    run.task,
                    read_lines(options.input),
                    nbest=nbest,
                    numbered=bool(nbest or draws > 1),
                    max_len=given.get("max_len", MAX_LEN),
                )
                return
        spec = run.task.spec
        decoded = spec.free_running and spec.source != "none" and run.model.decodes
        check_given(given, run, decoded=decoded and not options.attention)
        if not options.target and split not in run.task.splits:
            checks.one_of("--split", split, run.task.splits)
        if options.attention:
            if not attention_names(run.model):
                raise ValueError(f"--attention: {run.config.model.name} has no attention to draw; evaluate it without")
            part = part_of(split, options.checkpoint, text=other_text(run, options.workdir, split))
            for path in draw(run, split, options.attention, f"{options.workdir.resolve().name}-{part}"):
                print(path)
            say(run)
            return
        found, predictions = evaluate(run, split, decoding, limit=limit)
        text = other_text(run, options.workdir, split)
        found |= {"content_hash": run.task.content_hash(split).get(split, ""), "data_dir": options.data_dir}
        found |= {
            "split": "-".join(filter(None, (split, text))),
            "source": options.source,
            "target": options.target,
            "checkpoint": options.checkpoint,
        }
        folder = options.workdir / "eval"
        folder.mkdir(exist_ok=True)
        part = part_of(split, options.checkpoint, decoding, limit, text)
        whole_file.write_json(folder / f"{part}.json", found)
        path = folder / f"{part}.predictions.txt"
        whole_file.write_text(path, "".join(line + "\n" for line in predictions))
        with Mirror(options.workdir, run.config) as mirror:
            mirrored.send(mirror, part, found)
    say(run)
    shown = ("loss", "perplexity", "token_accuracy", "exact_match", "bits_per_byte", *quality.MEASURES)
    for name in (*shown, "at_decoding_limit"):
        if found[name] is not None:
            print(f"{name:16} {found[name]:.4g}")
    print(folder / f"{part}.json")


if __name__ == "__main__":
    main(sys.argv[1:])

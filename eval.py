"""Measures the quality of a trained run, or translates with it.

python eval.py --workdir=RUN --split=test_2016_flickr --beam_size=5     writes RUN/eval/test_2016_flickr.json
python eval.py --workdir=RUN --source=FILE --target=FILE                any pair of parallel files (--target alone: any
                                                                        text, for a language model)
python eval.py --workdir=RUN --input=- < FILE                           translates, line by line; with --nbest or
                                                                        --num_samples: LINE, SCORE, TEXT and tabs
python eval.py --workdir=RUN --attention=FOLDER --split=val             attention pictures
python eval.py --workdir=RUN --mix=OTHER_RUN                            a language model and another one mixed
python eval.py --workdir=RUN --analogy=man:woman::boy                   what token embeddings know; also --neighbours
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import common
from data import checks, whole_file
from data.batch import Batch
from data.tasks.language import Language
from data.tasks.translation import Translation
from data.tokenizers import UNK
from training.command.cli import check_folder, user_errors
from training.command.eval_options import LESS_MEMORY, MAX_LEN, naming_data_dir, parse
from training.evaluation import embeddings, generate, mirrored, mixing, quality, scoring, untrained_positions
from training.evaluation.generate import GREEDY, Beam, Decoding, Generator, named
from training.evaluation.outputs import write_outputs
from training.evaluation.own_text import Text, add_split, read_lines
from training.evaluation.pictures import attention_names, picture
from training.machine import backend
from training.machine.watchdog import still
from training.mirrors.mirror import Mirror
from training.run import run_folder
from training.run.restore import Restored, read_config, restore

PICTURES = 8  # examples drawn by --attention
BEAM = Beam()  # how outputs are found unless something else is asked


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
    found["by_position"] = quality.by_position(answers) if spec.source == "none" else []
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


def draw(run: Restored, split: str, folder: Path, name: str) -> list[Path]:
    """Attention pictures of the first examples of a split, named by `name` and the example's number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for batch in run.batches(split, limit=PICTURES):
        for row in np.flatnonzero(batch["index"] >= 0):
            paths.append(folder / f"{name}-{batch['index'][row]}.png")
            picture(paths[-1], run.model, run.task, batch, int(row))
    return paths


def part_of(
    split: str, checkpoint: str, decoding: Decoding = BEAM, limit: int = 0, text: str = "", mix: str = ""
) -> str:
    """The name of results: the split, and everything that differs from the defaults, so that no part replaces the
    whole, and no decoding or text replaces another."""
    words = [split, text, "" if checkpoint == "best" else checkpoint, named(decoding) if decoding != BEAM else "", mix]
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
    options, decoding, given = parse(argv, __doc__)
    limit, split = options.limit or 0, options.split or "val"
    recorded = str(options.workdir / "config.json")
    with user_errors(recorded, common.base("", ""), LESS_MEMORY), naming_data_dir(options.data_dir):
        config = read_config(options.workdir)
        if options.data_dir and "dir" not in config.data:
            raise ValueError(f"--data_dir = {options.data_dir}: {config.task} reads no files; leave it out")
        if not options.input:
            check_folder("--attention" if options.attention else "eval", options.attention or options.workdir / "eval")
        backend.configure(options.workdir, config.keep_pages, config.cpu_devices, config.deterministic)
        with still("reading the run"):
            run = restore(options.workdir, options.checkpoint, data_dir=options.data_dir)
        if options.neighbours or options.analogy or options.analogies:
            path = options.workdir / "eval" / f"{part_of('analogies', options.checkpoint)}.json"
            print(*embeddings.answers(run, path, options.neighbours, options.analogy), sep="\n")
            return
        flag, file = next(((f, v) for f in ("source", "target", "input") if (v := getattr(options, f))), ("", ""))
        if file:
            if not isinstance(run.task, Text):
                raise ValueError(f"--{flag} = {file}: {run.config.task} makes its own examples; use --split")
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
            with still(f"{split}: drawing"):
                paths = draw(run, split, options.attention, f"{options.workdir.resolve().name}-{part}")
            print(*paths, sep="\n")
            say(run)
            return
        with still(f"{split}: scoring and decoding"):
            mix = mixing.mixed(options.mix, run) if options.mix else None
            found, predictions = evaluate(mix.run if mix else run, split, decoding, limit=limit)
            found["mix"] = mixing.alone(mix, run, list(run.batches(split, limit=limit)), found) if mix else {}
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
        part = part_of(split, options.checkpoint, decoding, limit, text, mix.name if mix else "")
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
    for name, value in found["mix"].items():
        print(f"{name.replace('_', ' '):24} {value:.4g}" if isinstance(value, float) else f"{name:24} {value}")
    print(folder / f"{part}.json")


if __name__ == "__main__":
    main(sys.argv[1:])

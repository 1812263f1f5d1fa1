"""What a run makes of lines as they come: translations, or what a language model goes on with."""

from collections.abc import Iterable, Iterator

from data import files
from data.tasks.language import Language
from training.evaluation.generate import Generator, source_batch
from training.evaluation.own_text import Text
from training.machine.watchdog import still


def translate(task: Text, generate: Generator, lines: Iterable[str], max_len: int) -> Iterator[list[tuple[float, str]]]:
    """Score and text of each output for each line as it comes: translations, or for a language model the line and at
    most `max_len` further tokens."""
    for number, line in enumerate(lines):
        if isinstance(task, Language):
            prompts = task.encode_target([line])
            with still(f"line {number + 1}: outputs of at most {max_len} tokens"):
                tokens, scores = generate.continuations(prompts, max_len, first=number)
            texts = [line + task.continuation(prompts[0], ids) for ids in tokens]
            yield [(float(score), text) for text, score in zip(texts, scores, strict=True)]
        elif line.strip():
            with still(f"line {number + 1}: decoding"):
                tokens, scores = generate(source_batch(task, [line], first=number))
            yield [(float(score), task.decode_target(ids)) for ids, score in zip(tokens, scores, strict=True)]
        else:
            yield [(0.0, "")]


def write_outputs(
    generate: Generator, task: Text, lines: Iterable[str], *, nbest: int, numbered: bool, max_len: int
) -> None:
    """To standard output: a line of text for each output, the best `nbest` (0: all, as they come), `numbered` with the
    line that they are of and their score."""
    for number, found in enumerate(translate(task, generate, lines, max_len), start=1):
        if nbest:
            found = sorted(found, key=lambda output: -output[0])[:nbest]
        for score, text in found:
            line = files.one_line(text)
            print(f"{number}\t{score:.4f}\t{line}" if numbered else line, flush=True)

"""The command line of eval.py: its options, and which of them do nothing without others or beside them."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.command.cli import Parser
from training.evaluation.generate import Beam, Decoding, Sample, search
from training.run.restore import WHICH

LARGEST = 2**31 - 1
COLDEST = 1e-6  # below, logits over the temperature overflow float32
MAX_LEN = 200  # tokens that a language model writes
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

OF_EMBEDDINGS = ("neighbours", "analogy", "analogies")
ELSE = ["split", "source", "target", "input", "attention", "limit", "mix", "sample", "beam_size", "length_penalty"]

NEEDS = {"source": ["target"], "num_samples": ["input", "sample"], "nbest": ["input"], "max_len": ["input"]}
NEEDS |= dict.fromkeys(("temperature", "top_k", "top_p", "seed"), ["sample"])
WITHOUT = {
    "split": ["target", "input"],
    "input": ["target", "attention", "limit"],
    "attention": ["limit", "sample", "beam_size", "length_penalty"],
    "sample": ["beam_size", "length_penalty"],
    "mix": ["input", "attention"],
}
WITHOUT |= {name: [*ELSE, *OF_EMBEDDINGS[at + 1 :]] for at, name in enumerate(OF_EMBEDDINGS)}
"""Which options would do nothing without others, and beside others."""

OF_MIX = (
    "mix this run's probabilities with another run's, which get the WEIGHT, from 0 to 1; auto or no WEIGHT takes the "
    "best on val"
)

LESS_MEMORY = (
    "lower --beam_size (1 is greedy), --num_samples or --max_len, or set JAX_PLATFORMS=cpu where the machine has more "
    "than its accelerator"
)
"""What to do where memory runs out."""


class Asked(NamedTuple):
    options: argparse.Namespace  # the command line
    decoding: Decoding
    given: Mapping[str, Any]  # of the options of decoding


def parse(argv: Sequence[str], description: str = "") -> Asked:
    parser = Parser("python eval.py", description)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run")
    parser.add_argument("--split", help="split to evaluate (default: val)")
    parser.add_argument(
        "--checkpoint", default="best", choices=WHICH, help="average: the mean of the checkpoints kept (default: best)"
    )
    parser.add_argument("--data_dir", help="folder of the data, if it is not where it was in training")
    parser.add_argument("--source", help="file of source lines to evaluate on instead of a split; needs --target")
    parser.add_argument("--target", help="file of reference lines; alone: text to score a language model on")
    parser.add_argument("--input", help="file of lines to translate, or - for standard input")
    parser.add_argument(
        "--attention", type=Path, help="folder to write attention pictures of the split's first examples to"
    )
    parser.add_argument("--mix", metavar="RUN[:WEIGHT]", help=OF_MIX)
    parser.add_argument("--neighbours", metavar="WORD", help="print the nearest words by cosine of token embeddings")
    parser.add_argument("--analogy", metavar="A:B::C", help="print what is to C as B is to A, as in man:woman::boy")
    parser.add_argument(
        "--analogies", action="store_true", help="count how many of fifty analogies of captions are answered"
    )
    parser.add_argument("--limit", type=int, help="evaluate only the first N examples, into SPLIT-firstN.json")
    parser.add_argument("--beam_size", type=int, help="beams of the search; 1 is greedy (default: 5)")
    parser.add_argument("--length_penalty", type=float, help="exponent of ((5 + length) / 6) (default: 0.6)")
    parser.add_argument("--sample", action="store_true", help="draw tokens instead of searching")
    parser.add_argument("--temperature", type=float, help="for --sample; 0 takes the likeliest token (default: 1)")
    parser.add_argument("--top_k", type=int, help="for --sample: draw from the k likeliest tokens; 0: all (default: 0)")
    parser.add_argument(
        "--top_p",
        type=float,
        help="for --sample: draw from the likeliest tokens of this total probability (default: 1)",
    )
    parser.add_argument("--seed", type=int, help="for --sample: seed of the draws (default: 0)")
    parser.add_argument("--num_samples", type=int, help="for --sample: outputs for each line of --input (default: 1)")
    parser.add_argument(
        "--nbest",
        type=int,
        help="outputs of the search for each line of --input, best first; 0: the best alone (default: 0)",
    )
    parser.add_argument(
        "--max_len", type=int, help="most tokens that a language model writes after --input (default: 200)"
    )
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
    for name, (_, low, high) in {**DECODING, "limit": (1, 1, LARGEST)}.items():
        if not low <= given.get(name, low) <= high:  # nan is in no range
            most = f", at most {high:.15g}" if high != LARGEST else ""
            parser.error(f"--{name} = {given[name]} is out of range; use {low} or more{most}")
    if 0 < given.get("temperature", 1) < COLDEST:
        parser.error(f"--temperature = {given['temperature']} is out of range; use 0, or {COLDEST} or more")
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


@contextlib.contextmanager
def naming_data_dir(given: str | None) -> Iterator[None]:
    """Puts --data_dir into an error of data.dir, which no other option of an evaluation can mend."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
        if not said.startswith("data.dir "):
            raise
        said = said.replace("data.dir", "--data_dir") if given else f"{said}; --data_dir says where the data lie now"
        raise ValueError(said) from error

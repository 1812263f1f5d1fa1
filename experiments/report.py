"""Writes one page with every question: claim, prediction, verdict, figure, tables and commands.

    python -m experiments.report                 results/report.html, each question at the largest scale it has
    python -m experiments.report --scale=cpu     at that scale alone

The page is one file that opens from disk and loads nothing. Results are read from `results/QUESTION/SCALE/`, or else
from the committed `docs/results/QUESTION/SCALE/`. Figures are drawn from the tables.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from data import whole_file
from experiments.engine import results
from experiments.page import answer, templates
from experiments.page.section import section, title
from experiments.questions import QUESTIONS
from experiments.questions.question import SCALES
from training.command.cli import Parser, check_folder, user_errors
from training.machine import provenance


def page(scale: str, results: Path) -> str:
    """The whole page. Raises ValueError or FileNotFoundError in one line for results that cannot be shown."""
    found = {name: answer.find(name, question, scale, results) for name, question in QUESTIONS.items()}
    sections = []
    for name, one in found.items():
        if one:
            print(f"reading {name}", file=sys.stderr, flush=True)
            sections.append(section(one))
    print("drawing the figures", file=sys.stderr, flush=True)  # which takes longer than all else
    return templates.render(
        "page.html",
        sections=sections,
        not_run=[(name, title(name, QUESTIONS[name]), QUESTIONS[name]) for name, one in found.items() if not one],
        scale=scale,
        commit=provenance.commit(),
        script=templates.text("page.js"),
        vega=_vega(),
    )


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, in a scope of its own."""
    import vl_convert

    return "{" + vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;") + "}"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m experiments.report", __doc__)
    parser.add_argument("--scale", choices=SCALES, help="size of the runs; default: the largest that a question has")
    parser.add_argument("--results", type=Path, default=results.OWN, help="folder of the results")
    parser.add_argument("--out", type=Path, help="file to write; default: report.html in the folder of the results")
    options = parser.parse_args(argv)
    options.scale, options.out = options.scale or "", options.out or options.results / "report.html"
    return options


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    with user_errors():
        if options.results != results.OWN and not options.results.is_dir():
            raise NotADirectoryError(
                f"--results = {options.results} is not a folder; give the one that holds QUESTION/SCALE"
            )
        if options.out.exists() and not options.out.is_file():
            raise ValueError(f"--out = {options.out} is a folder, a device or a pipe; give a file")
        check_folder("--out", options.out.parent)
        text = page(options.scale, options.results)
        whole_file.write_text(options.out, text)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

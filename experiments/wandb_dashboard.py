"""The comparison in wandb as code: a workspace of every run and a report of every question, with the same panels.

    python -m experiments.wandb_dashboard --dry-run              what would be sent; needs no account and no network
    python -m experiments.wandb_dashboard --scale=cpu            sends it to the project `longreach`

The dashboard is plain data here; `translate` turns it into objects of the package `wandb-workspaces`, which is needed
for sending alone. Panels name what runs, eval.py and probes log. In the workspace runs are grouped by question (the
wandb group, which is the task for a run of train.py alone) and architecture (the job type); in the report a question's
runs by architecture and cell of its grid, without the trials of a learning rate: seeds become one line with a band from
least to most.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.questions import QUESTIONS
from experiments.questions.question import SCALES, Tuning
from training.command.cli import Parser, user_errors
from training.mirrors.wandb_account import has_wandb_credentials

PROJECT = "longreach"
TITLE = "Longreach: comparison"
INSTALL = "python -m pip install wandb-workspaces"
LINES, SCATTER, TABLE, PICTURES = "lines", "scatter", "table", "pictures"


@dataclasses.dataclass(frozen=True)
class Panel:
    """`y` against `x`: lines over what is logged, or a point a run from its summary; or a logged table or picture."""

    title: str
    kind: str
    y: tuple[str, ...] = ()
    x: str = "step"
    pattern: str = ""  # of further lines, as a regular expression
    log_x: bool = False
    log_y: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    name: str
    panels: tuple[Panel, ...]


SECTIONS = (
    Section(
        "Quality",
        (
            Panel("Validation loss", LINES, ("val/loss",)),
            Panel("Validation accuracy, tokens", LINES, ("val/token_accuracy",)),
            Panel("Validation, whole answers right", LINES, ("val/exact_match",)),
            Panel("Training loss", LINES, ("train/loss",)),
            Panel("Validation BLEU, greedy", LINES, ("val/bleu",)),
            Panel("Validation chrF, greedy", LINES, ("val/chrf",)),
        ),
    ),
    Section(
        "Reach",
        (
            Panel("Accuracy by distance", LINES, x="distance", pattern=".*by_distance/token_accuracy", log_x=True),
            Panel("BLEU by source length", LINES, x="source_length", pattern=".*by_.*length/bleu_lowercase"),
            Panel("Accuracy by source length", LINES, x="source_length", pattern=".*by_.*length/token_accuracy"),
            Panel(
                "Gradient norm by steps before the loss",
                LINES,
                x="steps_before_loss",
                pattern="gradient_by_time/.*/gradient_norm_q50",
                log_y=True,
            ),
        ),
    ),
    Section(
        "Quality against cost",
        (
            Panel("Loss against parameters", SCATTER, ("best.loss",), "num_params_non_embedding", log_x=True),
            Panel(
                "Accuracy against parameters", SCATTER, ("best.token_accuracy",), "num_params_non_embedding", log_x=True
            ),
            Panel("Loss against speed", SCATTER, ("best.loss",), "target_tokens_per_second", log_x=True),
        ),
    ),
    Section(
        "Gradients",
        (
            Panel("Gradient norm", LINES, ("train/gradient_norm",), log_y=True),
            Panel("Gradient norm by part", LINES, pattern="train/gradient_norm/.*", log_y=True),
            Panel("Update over parameters", LINES, ("train/update_ratio",), log_y=True),
            Panel("Learning rate", LINES, ("train/learning_rate",)),
        ),
    ),
    Section(
        "Speed and memory",
        (
            Panel("Target tokens a second", LINES, ("train/target_tokens_per_second",)),
            Panel("Seconds a step", LINES, ("train/step_seconds",), log_y=True),
            Panel("Share of padding", LINES, ("train/padding_share",)),
            Panel("Device memory, bytes", LINES, ("train/device_memory_bytes",)),
        ),
    ),
    Section("Outputs", (Panel("Samples", TABLE, ("samples",)), Panel("Attention", PICTURES, ("attention",)))),
)


@dataclasses.dataclass(frozen=True)
class Chapter:
    """Of the report: one question."""

    question: str
    words: tuple[tuple[str, str], ...]  # (claim, source, prediction), each with its text
    group: str  # the wandb group of its runs
    groupby: tuple[str, ...] = ("JobType", "config.wandb.name")  # architecture, then cell of the grid; not the seed
    leave_out_seed: int = Tuning(()).seed


@dataclasses.dataclass(frozen=True)
class Dashboard:
    entity: str  # user or team; empty where it is the account's own
    project: str
    title: str
    groupby: tuple[str, ...]  # of the workspace
    sections: tuple[Section, ...]
    report: tuple[Chapter, ...]


class Translated(NamedTuple):
    workspace: Any  # wandb_workspaces.workspaces.Workspace
    report: Any  # wandb_workspaces.reports.v2.Report


def dashboard(scale: str, project: str = PROJECT, entity: str = "") -> Dashboard:
    chapters = []
    for name, question in QUESTIONS.items():
        words = (("Claim", question.CLAIM), ("Source", question.SOURCE), ("Prediction", question.PREDICTION))
        chapters.append(Chapter(name, words, group=f"{name}-{scale}"))
    return Dashboard(entity, project, TITLE, ("Group", "JobType"), SECTIONS, tuple(chapters))


def translate(board: Dashboard) -> Translated:
    """The same as objects of `wandb-workspaces`; nothing is sent. Raises ImportError without the package."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    where = {"entity": board.entity, "project": board.project}
    workspace = workspaces.Workspace(
        **where,
        name=board.title,
        sections=[
            workspaces.Section(name=section.name, panels=_panels(section, reports), is_open=True)
            for section in board.sections
        ],
        settings=workspaces.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=workspaces.RunsetSettings(groupby=[workspaces.Metric(name) for name in board.groupby]),
    )
    blocks: list[Any] = [reports.TableOfContents()]
    for chapter in board.report:
        of_chapter = [
            workspaces.Metric("Group") == chapter.group,
            workspaces.Config("seed") != chapter.leave_out_seed,
        ]
        blocks += [reports.H1(chapter.question), *(reports.P(f"{name}. {text}") for name, text in chapter.words)]
        for section in board.sections:
            runs = reports.Runset(**where, name=chapter.question, filters=of_chapter, groupby=list(chapter.groupby))
            blocks += [reports.H2(section.name), reports.PanelGrid(runsets=[runs], panels=_panels(section, reports))]
    return Translated(workspace, reports.Report(**where, title=board.title, blocks=blocks))


def _panels(section: Section, reports: Any) -> list[Any]:
    """Two in a row of the 24 columns that a report has."""
    panels = []
    for number, panel in enumerate(section.panels):
        layout = reports.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8)
        panels.append(_panel(panel, layout, reports))
    return panels


def _panel(panel: Panel, layout: Any, reports: Any) -> Any:
    log_x, log_y = panel.log_x or None, panel.log_y or None
    if panel.kind == LINES:
        lines = {"metric_regex": panel.pattern} if panel.pattern else {"y": list(panel.y)}
        over_seeds = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
        logs = {"log_x": log_x, "log_y": log_y}
        return reports.LinePlot(title=panel.title, x=panel.x, layout=layout, **logs, **lines, **over_seeds)
    if panel.kind == SCATTER:
        x, y = reports.SummaryMetric(panel.x), reports.SummaryMetric(panel.y[0])
        return reports.ScatterPlot(title=panel.title, x=x, y=y, log_x=log_x, log_y=log_y, layout=layout)
    if panel.kind == TABLE:
        return reports.WeavePanelSummaryTable(table_name=panel.y[0], layout=layout)
    return reports.MediaBrowser(title=panel.title, media_keys=list(panel.y), num_columns=2, layout=layout)


def send(board: Dashboard) -> list[str]:
    """Saves both as new ones of the project. Returns their addresses. Raises OSError where wandb refuses."""
    import wandb

    try:
        entity = board.entity or wandb.Api().default_entity or ""
        workspace, report = translate(dataclasses.replace(board, entity=entity))
        workspace.save()
        report.save()
    except (wandb.Error, OSError) as error:
        raise OSError(f"wandb: {error}") from None
    return [workspace.url, report.url]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--scale", default="cpu", choices=SCALES, help="whose runs the report shows")
    parser.add_argument("--project", default=PROJECT)
    parser.add_argument("--entity", default="", help="user or team; default: the account's own")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    board = dashboard(options.scale, options.project, options.entity)
    with user_errors():
        if options.dry_run:
            print(json.dumps(dataclasses.asdict(board), indent=1), flush=True)
            return 0
        if not has_wandb_credentials():
            raise ValueError("wandb has no credentials; run wandb login, set WANDB_API_KEY, or look with --dry-run")
        try:
            addresses = send(board)
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is not installed; run {INSTALL}, or look with --dry-run") from None
    print("\n".join(addresses))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

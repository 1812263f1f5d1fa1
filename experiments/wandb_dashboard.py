"""The comparison in wandb as code: a workspace of every run and a report of every question, with the same panels.

    python -m experiments.wandb_dashboard --dry-run              what would be sent; needs no account and no network
    python -m experiments.wandb_dashboard --scale=cpu            sends it to the project `longreach`

A panel is the name of a class of the package `wandb-workspaces` with its arguments. Only sending needs the package.
Panels show what runs, eval.py and probes log. The workspace groups runs by question (the wandb group, which is the task
for a run of train.py alone) and architecture (the job type). The report groups a question's runs by architecture and
cell, without trials; the seeds of a cell become one line with a band from minimum to maximum.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from experiments.questions import QUESTIONS
from experiments.questions.question import SCALES, Tuning
from training.command.cli import Parser, user_errors
from training.mirrors.wandb_account import check_project, has_wandb_credentials

PROJECT = "longreach"
TITLE = "Longreach: comparison"
INSTALL = "python -m pip install wandb-workspaces"
GROUPED = ["Group", "JobType"]  # runs of the workspace
CELLS = ["JobType", "config.wandb.name"]  # runs of a question: architecture, then cell of the grid; not the seed
OVER_SEEDS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}

Panel = tuple[str, dict[str, Any]]  # a class of `wandb_workspaces.reports.v2`, and what it is called with


def lines(title: str, *y: str, x: str = "step", **options: Any) -> Panel:
    """`y`, or metrics that match `metric_regex`, over `x`."""
    return "LinePlot", {"title": title, "x": x} | ({"y": list(y)} if y else {}) | options | OVER_SEEDS


def scatter(title: str, y: str, x: str) -> Panel:
    """One point per run, from its summary."""
    return "ScatterPlot", {"title": title, "x": x, "y": y, "log_x": True}


SECTIONS: dict[str, list[Panel]] = {
    "Quality": [
        lines("Validation loss", "val/loss"),
        lines("Validation accuracy, tokens", "val/token_accuracy"),
        lines("Validation, whole answers right", "val/exact_match"),
        lines("Training loss", "train/loss"),
        lines("Validation BLEU, greedy", "val/bleu"),
        lines("Validation chrF, greedy", "val/chrf"),
    ],
    "Reach": [
        lines("Accuracy by distance", x="distance", metric_regex=".*by_distance/token_accuracy", log_x=True),
        lines("BLEU by source length", x="source_length", metric_regex=".*by_.*length/bleu_lowercase"),
        lines("Accuracy by source length", x="source_length", metric_regex=".*by_.*length/token_accuracy"),
        lines(
            "Gradient norm by steps before the loss",
            x="steps_before_loss",
            metric_regex="gradient_by_time/.*/gradient_norm_q50",
            log_y=True,
        ),
    ],
    "Quality against cost": [
        scatter("Loss against parameters", "best.loss", "num_params_non_embedding"),
        scatter("Accuracy against parameters", "best.token_accuracy", "num_params_non_embedding"),
        scatter("Loss against speed", "best.loss", "target_tokens_per_second"),
    ],
    "Gradients": [
        lines("Gradient norm", "train/gradient_norm", log_y=True),
        lines("Gradient norm by part", metric_regex="train/gradient_norm/.*", log_y=True),
        lines("Update over parameters", "train/update_ratio", log_y=True),
        lines("Learning rate", "train/learning_rate"),
    ],
    "Speed and memory": [
        lines("Target tokens per second", "train/target_tokens_per_second"),
        lines("Seconds per step", "train/step_seconds", log_y=True),
        lines("Share of padding", "train/padding_share"),
        lines("Device memory, bytes", "train/device_memory_bytes"),
    ],
    "Outputs": [
        ("WeavePanelSummaryTable", {"table_name": "samples"}),
        ("MediaBrowser", {"title": "Attention", "media_keys": ["attention"], "num_columns": 2}),
    ],
}


def chapters(scale: str) -> list[dict[str, str]]:
    """The chapters of the report: each question's text, and the wandb group of its runs."""
    return [
        {"question": name, "Claim": asked.CLAIM, "Source": asked.SOURCE, "Prediction": asked.PREDICTION}
        | {"group": f"{name}-{scale}"}
        for name, asked in QUESTIONS.items()
    ]


def build(scale: str, project: str = PROJECT, entity: str = "") -> tuple[Any, Any]:
    """(workspace, report); nothing is sent. Raises ImportError without the package `wandb-workspaces`."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

    where: dict[str, Any] = {"entity": entity, "project": project}
    sections = [
        workspaces.Section(name=name, panels=_panels(panels, reports), is_open=True)
        for name, panels in SECTIONS.items()
    ]
    workspace = workspaces.Workspace(
        **where,
        name=TITLE,
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=workspaces.RunsetSettings(groupby=[workspaces.Metric(name) for name in GROUPED]),
    )
    blocks: list[Any] = [reports.TableOfContents()]
    for chapter in chapters(scale):
        mine = [workspaces.Metric("Group") == chapter["group"], workspaces.Config("seed") != Tuning(()).seed]
        words = [reports.P(f"{name}. {chapter[name]}") for name in ("Claim", "Source", "Prediction")]
        blocks += [reports.H1(chapter["question"]), *words]
        for name, panels in SECTIONS.items():
            runs = reports.Runset(**where, name=chapter["question"], filters=mine, groupby=CELLS)
            blocks += [reports.H2(name), reports.PanelGrid(runsets=[runs], panels=_panels(panels, reports))]
    return workspace, reports.Report(**where, title=TITLE, blocks=blocks)


def _panels(panels: Sequence[Panel], reports: Any) -> list[Any]:
    """The panels, two in a row of the 24 columns of a report."""
    made = []
    for number, (kind, options) in enumerate(panels):
        layout = reports.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8)
        if kind == "ScatterPlot":
            options = options | {axis: reports.SummaryMetric(options[axis]) for axis in "xy"}
        made.append(getattr(reports, kind)(**options, layout=layout))
    return made


def send(scale: str, project: str, entity: str) -> list[str]:
    """Saves a new workspace and a new report; returns their addresses. Raises OSError if wandb refuses."""
    import wandb

    try:
        workspace, report = build(scale, project, entity or wandb.Api().default_entity or "")
        workspace.save()
        report.save()
    except (wandb.Error, OSError) as error:
        raise OSError(f"wandb: {error}") from None
    return [workspace.url, report.url]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m experiments.wandb_dashboard", __doc__)
    parser.add_argument("--scale", default="cpu", choices=SCALES, help="whose runs the report shows")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT") or PROJECT)
    parser.add_argument("--entity", default="", help="user or team; default: the account's own")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    with user_errors():
        check_project("--project", options.project)
        if options.dry_run:
            sent = {"project": options.project, "entity": options.entity, "title": TITLE, "groupby": GROUPED}
            sent |= {"sections": SECTIONS, "report": chapters(options.scale)}
            print(json.dumps(sent, indent=1), flush=True)
            return 0
        if not has_wandb_credentials():
            raise ValueError("wandb has no credentials; run wandb login, set WANDB_API_KEY, or look with --dry-run")
        try:
            addresses = send(options.scale, options.project, options.entity)
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is not installed; run {INSTALL}, or look with --dry-run") from None
    print("\n".join(addresses))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

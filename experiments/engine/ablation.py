"""A sweep: a grid over config values without a claim, with what the engine asks of a question, a summary and a figure.

Dims: N seeds, X places.
"""

import hashlib
import itertools
import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import data
import models
from experiments.analysis import fairness
from experiments.analysis.frames import DataFrame, LayerChart
from experiments.analysis.palette import Look
from experiments.analysis.statistics import t_interval
from experiments.analysis.table import COLUMNS, by_seed, select
from experiments.engine import schedule
from experiments.engine.version import Version
from experiments.questions.question import Probing, Run, Tuning, Unclaimed, over_seeds
from models.options import flat
from training.command import cli
from training.run import identity

VALIDATION = ("loss", "perplexity", "token_accuracy", "exact_match")  # the best on validation, of every run
TRANSLATION = ("bleu", "bleu_lowercase", "chrf")  # of validation, decoded greedily by the probe `bleu`
MEASURES = (*VALIDATION, *TRANSLATION)
ARCHITECTURE = "architecture"
FAMILIES = ("transformer", "rnn", "lstm", "gru", "attention", "conv", "other")  # one a series
RATE = "optimizer.learning_rate"
OF_THE_ENGINE = {"keep": "one is kept", "wandb.mode": "use --wandb", "wandb.group": "", "wandb.name": ""}
"""Keys that the engine sets for its runs, and what to say of them."""
LONGEST = 100  # characters of a label, of which folders are made


class Ablation(Unclaimed):
    """A question without claim and verdict (`experiments/questions/question.py`)."""

    def __init__(
        self,
        configs: Sequence[str],
        varied: Mapping[str, Sequence[str]],
        fixed: Mapping[str, str],
        *,
        seeds: int,
        rates: Sequence[float] = (),
        budget: int = 0,
        measure: str = "",
        text: str = "",
    ):
        """Every FILE:ARGUMENT of `configs` with every combination of the `varied` values, as the command line gives
        them. `text` is the folder of the text.

        Raises ValueError, or ends the process with one line, for a sweep that cannot be run.
        """
        for key in (*varied, *fixed):
            if key in OF_THE_ENGINE:
                raise ValueError(f"{key} is set for every run of a sweep; {OF_THE_ENGINE[key] or 'leave it out'}")
        for key in varied:
            if {key, key.partition(".")[0]} & set(identity.NO_NUMBER):
                raise ValueError(f"--vary = {key} changes no number of a run; leave it out, or use --config.{key}")
        self.axes = [ARCHITECTURE] * (len(configs) > 1) + [self._axis(key, varied) for key in varied]
        self._tuning = Tuning(tuple(rates), key=RATE) if rates else None
        if self._tuning and seeds > self._tuning.seed:
            raise ValueError(f"--seeds = {seeds} has {self._tuning.seed}, with which --rates are tried; use fewer")
        self._text = text
        self._runs: list[Run] = []
        seen: set[tuple] = set()
        for where in configs:
            reads = {"data.dir": text} if text and schedule.reads_text(where) else {}
            for values in itertools.product(*varied.values()):
                chosen = dict(zip(varied, values, strict=True))
                overrides = typed(where, {**fixed, **chosen})
                given = [overrides[key] for key in chosen]
                if budget:
                    overrides |= _sized(where, overrides | reads, budget)
                names = [_argument(where, configs)] * (len(configs) > 1) + [_plain(value) for value in given]
                axes = dict(zip(self.axes, names, strict=True))
                run = Run(where, axes, overrides=overrides, tuning=self._tuning, label=_label(axes))
                if tuple(axes.values()) in seen:
                    same = ", ".join(f"{key} = {value!r}" for key, value in axes.items())
                    joined = ", or join a pattern by plus signs, as in gru+gru+attention"
                    out = "leave one out" + joined * any("mixers" in key for key in chosen)
                    raise ValueError(f"the sweep asks twice for the runs with {same}; {out}")
                seen.add(tuple(axes.values()))
                self._runs += over_seeds(run, seeds)
        self.measure = measure or schedule.complete(self._runs[0].config, self._runs[0].overrides).best.metric
        self._check_measure()
        self.PROBES = (Probing("bleu"),) if self.measure in TRANSLATION else ()

    def _check_measure(self) -> None:
        """Raises ValueError for a measure that one of the tasks does not have."""
        for where, run in {run.config: run for run in self._runs}.items():
            config, lacks = schedule.complete(where, run.overrides), ""
            if self.measure in TRANSLATION and not config.data.get("tokenizer"):
                lacks = f"answers of {config.task} are no text"
            elif self.measure in TRANSLATION and "target_language" not in config.data:
                lacks = f"{config.task} has no references"
            elif self.measure == "perplexity" and not config.data.get("tokenizer"):
                real = data.build(config.task, config.data).spec.loss != "cross_entropy"
                lacks = f"answers of {config.task} are real numbers" if real else ""
            if lacks:
                there = [one for one in VALIDATION if one != "perplexity" or self.measure in TRANSLATION]
                raise ValueError(f"--measure = {self.measure}: {lacks}; choose from {', '.join(there)}")

    @property
    def results(self) -> str:
        """The name of the results folder: a hash of every run, the text it reads, the rates and the measure."""
        runs = schedule.with_text(self._runs, self._text) if self._text else self._runs
        rates = self._tuning.values if self._tuning else ()
        said: list[Any] = [self.measure, rates]
        for run in runs:
            version = Version.of(schedule.reported(self, run, None))
            said.append([run.name, run.seed, version.columns, version.text])
        return f"results-{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]}"

    @staticmethod
    def _axis(key: str, varied: Iterable[str]) -> str:
        """The last word of a key if no other varied key and no column of the table has it; else the whole key."""
        last = key.rpartition(".")[2]
        alone = [one.rpartition(".")[2] for one in varied].count(last) == 1
        return last if alone and last not in (*COLUMNS, ARCHITECTURE) else key

    def runs(self, scale: str) -> list[Run]:
        return self._runs

    def values(self, table: DataFrame) -> DataFrame:
        """The rows of the measure."""
        return select(table, measure=f"best_{self.measure}" if self.measure in VALIDATION else self.measure)

    def summary(self, table: DataFrame) -> list[dict[str, str]]:
        """A row per cell, in the grid's order, in words: means with a 95 % interval over seeds."""
        return [self._row(mine) for _, mine in table.groupby("run", sort=False)]

    def _row(self, mine: DataFrame) -> dict[str, str]:
        value_N, mean = by_seed(self.values(mine)), mine.groupby("measure")["value"].mean()
        measured, low, high = t_interval(value_N)
        minutes = (mean["training_seconds"] + mean["compile_seconds"]) / 60
        config = json.loads(mine["config"].iloc[0])
        return {axis: _shown(mine[axis].iloc[0]) for axis in self.axes} | {
            self.measure: f"{measured:.4g}",
            "low": f"{low:.4g}" if math.isfinite(low) else "",
            "high": f"{high:.4g}" if math.isfinite(high) else "",
            "seeds": str(len(value_N)),
            "learning rate": "" if models.MODELS[config["model.name"]].counted else f"{config[RATE]:.3g}",
            "parameters": f"{mean['num_params']:.0f}",
            "without embeddings": f"{mean['num_params_non_embedding']:.0f}",
            "minutes": f"{minutes:.1f}",
        }

    def figure(self, table: DataFrame) -> Sequence[LayerChart]:
        """The measure over the first numeric axis, or else over names. Each combination of the other axes is a series,
        with a dot for every seed and means with 95 % intervals."""
        from experiments.analysis import charts

        rows = self.values(table)
        x = next((axis for axis in self.axes if rows[axis].dtype == float), self.axes[0])
        each = dict(_series(rows, [axis for axis in self.axes if axis != x]))
        looks = {
            name: Look(FAMILIES[number % len(FAMILIES)], number // len(FAMILIES)) for number, name in enumerate(each)
        }
        places, y = rows[x].unique().tolist(), self.measure.replace("_", " ")
        cells = [
            charts.Cell(name, place, by_seed(here))
            for name, mine in each.items()
            for place, here in mine.groupby(x, sort=False)
        ]
        title = f"{y} by {x}"
        if rows[x].dtype != float:
            return [charts.points(cells, looks, charts.Axes(title, x, y), order=places, beside=len(each) > 1)]
        wide = len(places) > 2 and min(places) > 0 and max(places) / min(places) > 4
        return [charts.curves(cells, looks, charts.Axes(title, x, y, log_x=wide, places=places))]


def _series(rows: DataFrame, axes: Sequence[str]) -> Iterator[tuple[str, DataFrame]]:
    """(name, rows) of each combination of the axes' values."""
    if not axes:
        yield "every run", rows
        return
    for values, mine in rows.groupby(list(axes), sort=False):
        yield ", ".join(f"{axis} {_shown(value)}" for axis, value in zip(axes, values, strict=True)), mine


def typed(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Values of the command line with the config's types. Ends the process with one line for a wrong value."""
    nowhere = f"--workdir={tempfile.gettempdir()}"  # of no run
    words = [f"--config={where}", *(f"--config.{key}={value}" for key, value in given.items()), nowhere]
    config, before = flat(cli.parse(words, alone=False).config.to_dict()), flat(cli.load(where).to_dict())
    follows = "schedule.warmup_steps"  # of fewer steps (`cli.parse`)
    return {key: config[key] for key in (*given, *[follows] * (config[follows] != before[follows]))}


def _sized(where: str, overrides: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The widths that meet the budget. Raises ValueError if one of them is given too, or the budget is too small."""
    name = cli.load(where).model.name
    if taken := [key for key in overrides if key.removeprefix("model.") in models.widths(name)]:
        raise ValueError(f"--budget = {budget} sets {taken[0]} of {name}; leave one of them out")
    sizing = {key: value for key, value in overrides.items() if key.startswith(("model.", "data."))}
    return fairness.fit(where, sizing, budget)


def _argument(where: str, configs: Sequence[str]) -> str:
    """The name of the architecture, with its file if several configs share the name."""
    file, _, argument = where.rpartition(":")
    alone = [one.rpartition(":")[2] for one in configs].count(argument) == 1
    return argument if alone else f"{Path(file).stem}:{argument}"


def _plain(value: Any) -> str | int | float:
    return str(value).lower() if isinstance(value, bool) else value if isinstance(value, int | float) else str(value)


def _shown(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _label(axes: Mapping[str, Any]) -> str:
    """A name for folders, with a hash of the values if they are long or have other characters."""
    said = ",".join(f"{key}={_shown(value)}" for key, value in axes.items())
    plain = re.sub(r"[^A-Za-z0-9.=_+,-]+", "-", said)[:LONGEST]
    return plain if plain == said else f"{plain}-{hashlib.sha256(said.encode()).hexdigest()[:6]}"

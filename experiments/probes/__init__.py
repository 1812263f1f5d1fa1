"""The probes by name: each the function `measure` of a file (`experiments/measurement.py`)."""

from experiments.measurement import Probe
from experiments.probes import (
    accuracy_by_distance,
    attention_map,
    bleu,
    exposure,
    gradient_by_time,
    head_importance,
    throughput,
)

PROBES: dict[str, Probe] = {
    "accuracy_by_distance": accuracy_by_distance.measure,
    "gradient_by_time": gradient_by_time.measure,
    "attention_map": attention_map.measure,
    "head_importance": head_importance.measure,
    "exposure": exposure.measure,
    "bleu": bleu.measure,
    "throughput": throughput.measure,
}

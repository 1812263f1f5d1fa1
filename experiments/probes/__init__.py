"""The probes by name. Each is the function `measure` of a file (`experiments/probes/measurement.py`)."""

from experiments.probes import (
    accuracy_by_distance,
    accuracy_by_length,
    attention_map,
    bleu,
    bleu_by_length,
    exposure,
    gradient_by_time,
    head_importance,
    timing,
)
from experiments.probes.measurement import Probe

PROBES: dict[str, Probe] = {
    "accuracy_by_distance": accuracy_by_distance.measure,
    "accuracy_by_length": accuracy_by_length.measure,
    "gradient_by_time": gradient_by_time.measure,
    "attention_map": attention_map.measure,
    "head_importance": head_importance.measure,
    "bleu": bleu.measure,
    "bleu_by_length": bleu_by_length.measure,
    "exposure": exposure.measure,
    "throughput": timing.measure,
}

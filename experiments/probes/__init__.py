"""The probes by name: each the function `measure` of a file (`experiments/measurement.py`)."""

from experiments.measurement import Probe
from experiments.probes import accuracy_by_distance, gradient_by_time

PROBES: dict[str, Probe] = {
    "accuracy_by_distance": accuracy_by_distance.measure,
    "gradient_by_time": gradient_by_time.measure,
}

"""The probes by name: each a function of a trained model, in a file of its own (`experiments/measurement.py`)."""

from experiments.measurement import Probe
from experiments.probes.accuracy_by_distance import accuracy_by_distance
from experiments.probes.gradient_by_time import gradient_by_time

PROBES: dict[str, Probe] = {
    "accuracy_by_distance": accuracy_by_distance,
    "gradient_by_time": gradient_by_time,
}

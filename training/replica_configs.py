"""Which runs a config with replicas stands for: every seed, with every learning rate.

`replicas=3` is the seeds `seed`, `seed + 1`, `seed + 2`, in the folders `seed-0`, `seed-1`, `seed-2`.
With `replica_learning_rates=(1e-3,2e-3)` each seed is trained with each rate, in `seed-0-rate-0.001`,
`seed-0-rate-0.002`, ...
"""

from ml_collections import ConfigDict

AXES = ("auto", "mapped", "vectorised")


def asked_for(config: ConfigDict) -> bool:
    """Whether the config is of several runs rather than one."""
    return config.replicas > 1 or len(config.replica_learning_rates) > 0


def expand(config: ConfigDict) -> dict[str, ConfigDict]:
    """The name of each run's folder, and the locked config that the run has when it is trained alone."""
    runs = {}
    for seed in range(config.seed, config.seed + config.replicas):
        for rate in config.replica_learning_rates or (None,):
            one = config.copy_and_resolve_references().unlock()
            one.seed, one.replicas, one.replica_learning_rates, one.replica_axis = seed, 1, (), "auto"
            if rate is not None:
                one.optimizer.learning_rate = float(rate)
            runs[f"seed-{seed}" if rate is None else f"seed-{seed}-rate-{float(rate)}"] = one.lock()
    return runs

"""That programs which are compared do the same work."""

import numpy as np


def check_same_work(
    case: str, contender: str, ours: dict[str, float], theirs: dict[str, float], missing: int = 0
) -> None:
    """Equal losses from equal weights, and equal numbers of them but for those that a peer is known to lack.

    Raises RuntimeError.
    """
    if theirs["num_params"] != ours["num_params"] - missing:
        raise RuntimeError(f"{case}: {contender} has {theirs['num_params']:,} parameters, ours {ours['num_params']:,}")
    if not np.isclose(theirs["loss"], ours["loss"], rtol=1e-4):
        raise RuntimeError(f"{case}: {contender} has a loss of {theirs['loss']:.6f}, ours {ours['loss']:.6f}")

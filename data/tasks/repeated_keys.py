"""What tasks share in which keys come again: one sequence, cut into source and target, asks at every repeated key.

The frame of in-context recall in Poli et al. 2024 (MAD). Dims: B examples, N tokens of the sequence, S source length,
T target length.

    sequence    k3 v3 k1 v1 k3 v3 k1 ...          the same key has the same value throughout an example
    source      its first S tokens
    target_in   the tokens from S on              teacher-forced: values are shown once they have been asked for
    target_out  the tokens from S + 1 on          weighted where they are the value of a key that came before

The paper trains on every next token, and tests at repeated keys; here training counts those too. It tests all of a
sequence; here it is what lies behind the source, so that encoder-decoders can run and whole sources are held out. It
has 12,800 training examples; here every one is new. The distance is that to the last time that the value was given.
"""

import numpy as np

from data.tasks.synthetic import Examples


def cut(token_BN: np.ndarray, given_BN: np.ndarray, source_length: int, space: float) -> Examples:
    """Examples of sequences that begin with `source_length` tokens of source; `given_BN` says where each token that is
    to be told was given last, and is -1 elsewhere. `space` is log2 of how many sources there are."""
    rows = len(token_BN)
    given_BT = given_BN[:, source_length + 1 :]
    asked_BT = given_BT >= 0
    place_T = source_length + np.arange(given_BT.shape[1])
    return Examples(
        token_BN[:, :source_length].copy(),
        target_in=token_BN[:, source_length:-1].copy(),
        target_out=token_BN[:, source_length + 1 :] * asked_BT,
        weights=asked_BT.astype(np.float32),
        distance=np.where(asked_BT, place_T - given_BT, -1),
        source_length=np.full(rows, source_length),
        space=np.full(rows, space),
    )

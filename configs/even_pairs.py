"""Even pairs: does a string of two symbols begin and end with the same one? (Delétang et al. 2022)

    python train.py --config=configs/even_pairs.py:gru_decoder --workdir=runs/even-pairs-gru-decoder
    python train.py --config=configs/even_pairs.py:transformer_decoder,deletang --workdir=runs/even-pairs-deletang

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit 671af0a): gru_decoder 1.000 of test and of
test_long, in 29 s of CPU time; chance 0.525.
"""

from configs import common

SETTINGS = {
    "small": {
        "min_length": 1,  # fewest symbols
        "max_length": 20,  # most symbols, except in the split test_long
        "long_length": 100,  # most symbols in the split test_long, more than max_length; 0: no such split
        "val_examples": 5120,  # examples in the split val
        "test_examples": 5120,  # examples in the split test
    },
    # Trained to 40, tested to 500.
    "deletang": {
        "min_length": 1,
        "max_length": 40,
        "long_length": 500,
        "val_examples": 5120,
        "test_examples": 5120,
    },
}


def get_config(model):
    return common.synthetic("even_pairs", model, SETTINGS)

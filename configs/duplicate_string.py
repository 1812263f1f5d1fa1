"""Duplicate string: give a string twice (Delétang et al. 2022).

    python train.py --config=configs/duplicate_string.py:gru_decoder --workdir=runs/duplicate-string-gru-decoder
    python train.py --config=configs/duplicate_string.py:transformer_decoder,deletang --workdir=runs/duplicate-deletang

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit 9852ea0): gru_decoder 0.730 of test and
0.540 of test_long, in 74 s of CPU time; chance 0.5.
"""

from configs import common

SETTINGS = {
    "small": {
        "num_symbols": 2,  # kinds of symbols
        "min_length": 1,  # fewest symbols
        "max_length": 20,  # most symbols, except in the split test_long
        "long_length": 100,  # most symbols in the split test_long, more than max_length; 0: no such split
        "val_examples": 1024,  # examples in the split val
        "test_examples": 2048,  # examples in the split test
    },
    # Trained to 40, tested to 500.
    "deletang": {
        "num_symbols": 2,
        "min_length": 1,
        "max_length": 40,
        "long_length": 500,
        "val_examples": 1024,
        "test_examples": 2048,
    },
}


def get_config(model):
    return common.synthetic("duplicate_string", model, SETTINGS)

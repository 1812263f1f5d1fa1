"""Bucket sort: give the symbols of a string in ascending order (Delétang et al. 2022).

    python train.py --config=configs/bucket_sort.py:gru_decoder --workdir=runs/bucket-sort-gru-decoder
    python train.py --config=configs/bucket_sort.py:transformer_decoder,deletang --workdir=runs/bucket-sort-deletang

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit a3adc46): gru_decoder 0.9997 of test and
0.450 of test_long, in 54 s of CPU time; chance 0.491.
"""

from configs import common

SETTINGS = {
    "small": {
        "num_symbols": 5,  # kinds of symbols
        "min_length": 1,  # fewest symbols
        "max_length": 20,  # most symbols, except in the split test_long
        "long_length": 100,  # most symbols in the split test_long, more than max_length; 0: no such split
        "val_examples": 1024,  # examples in the split val
        "test_examples": 2048,  # examples in the split test
    },
    # Trained to 40, tested to 500.
    "deletang": {
        "num_symbols": 5,
        "min_length": 1,
        "max_length": 40,
        "long_length": 500,
        "val_examples": 1024,
        "test_examples": 2048,
    },
}


def get_config(model):
    return common.synthetic("bucket_sort", model, SETTINGS)

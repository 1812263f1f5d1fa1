"""Parity of a bit string, trained short and tested long (Delétang et al. 2022).

    python train.py --config=configs/parity.py:gru --workdir=runs/parity-gru
    python train.py --config=configs/parity.py:transformer,deletang --workdir=runs/parity-transformer

Expected (small, 3,000 steps, on 1 core of an AMD EPYC beside other work, commit d795f08): accuracy 1.000 of test and of
test_long with gru in 32 s and with gru_attention in 38 s. With 50,000 parameters and 4,000 steps on `deletang`,
decoder-only RNNs are right on all strings of 41 to 400 bits and Transformers at chance, 0.5; a rotary one, right within
40 after 16,000 steps, also (docs/results/parity.md).
"""

from configs import common

SETTINGS = {
    "small": {
        "min_length": 1,  # fewest bits
        "max_length": 20,  # most bits, except in the split test_long
        "long_length": 100,  # most bits in the split test_long, more than max_length; 0: no such split
        "val_examples": 2000,  # examples in the split val
        "test_examples": 4000,  # examples in the split test
    },
    # Trained to 40, tested to 500.
    "deletang": {
        "min_length": 1,
        "max_length": 40,
        "long_length": 500,
        "val_examples": 2000,
        "test_examples": 4600,
    },
}


def get_config(model):
    return common.synthetic("parity", model, SETTINGS)

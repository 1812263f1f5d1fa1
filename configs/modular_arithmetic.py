"""Modular arithmetic: the value of digits with plus, minus and times, modulo five (Delétang et al. 2022, simple).

    python train.py --config=configs/modular_arithmetic.py:gru_decoder --workdir=runs/modular-arithmetic-gru-decoder
    python train.py --config=configs/modular_arithmetic.py:transformer_decoder,deletang --workdir=runs/modular-deletang

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit a3adc46): gru_decoder 0.920 of test and
0.438 of test_long, in 30 s of CPU time; chance 0.212. At a rate of 1e-3: 0.507 and 0.200.
"""

from configs import common

SETTINGS = {
    "small": {
        "min_length": 1,  # fewest symbols
        "max_length": 20,  # most symbols, except in the split test_long
        "long_length": 100,  # most symbols in the split test_long, more than max_length; 0: no such split
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
    config = common.synthetic("modular_arithmetic", model, SETTINGS)
    config.optimizer.learning_rate = 3e-3
    return config

"""Cycle navigation: where on a circle of five places a walk ends (Delétang et al. 2022).

    python train.py --config=configs/cycle_navigation.py:gru_decoder --workdir=runs/cycle-navigation-gru-decoder
    python train.py --config=configs/cycle_navigation.py:transformer_decoder,deletang --workdir=runs/cycle-deletang

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit a3adc46): gru_decoder 0.996 of test and
0.706 of test_long, in 31 s of CPU time; chance 0.220. At a rate of 1e-3: 0.980 and 0.629.
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
    config = common.synthetic("cycle_navigation", model, SETTINGS)
    config.optimizer.learning_rate = 3e-3
    return config

"""State tracking: where one stands after every move of a permutation group (Merrill et al. 2024).

    python train.py --config=configs/state_tracking.py:gru_decoder --workdir=runs/state-tracking-gru-decoder
    python train.py --config=configs/state_tracking.py:transformer_decoder,merrill_s5 --workdir=runs/state-tracking-s5

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit a3adc46): gru_decoder 1.000 of test and of
test_long, in 35 s of CPU time; with min_source_length 12 it stays at chance, 0.167.
"""

from configs import common

SMALL = {
    "group": "S3",  # S3, S5, A5 or Z60
    "source_length": 12,  # elements before the first answer
    "min_source_length": 1,  # training draws from min_source_length to source_length
    "target_length": 20,  # elements that are answered
    "long_length": 100,  # answers in the split test_long, more than target_length; 0: no such split
    "val_examples": 1024,  # examples in the split val
    "test_examples": 2048,  # examples in the split test
}


def merrill(group: str) -> dict:
    """Words of up to 20 elements, answered at every one; here from the second to the fifth on."""
    return SMALL | {"group": group, "source_length": 4, "target_length": 16, "long_length": 96}


SETTINGS = {
    "small": SMALL,
    "s5": SMALL | {"group": "S5"},
    "merrill_s5": merrill("S5"),
    "merrill_a5": merrill("A5"),
    "merrill_z60": merrill("Z60"),
}


def get_config(model):
    config = common.synthetic("state_tracking", model, SETTINGS)
    config.optimizer.learning_rate = 3e-3
    return config

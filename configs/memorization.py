"""Memorization: the value of a key that is nowhere to be read, only to be learned (Poli et al. 2024, MAD).

    python train.py --config=configs/memorization.py:gru_decoder --workdir=runs/memorization-gru-decoder
    python train.py --config=configs/memorization.py:transformer_decoder,mad --workdir=runs/memorization-mad

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit a3adc46): gru_decoder 1.000 of test in 43 s
of CPU time; chance 0.031.
"""

from configs import common

SMALL = {
    "num_keys": 32,  # kinds of keys, each with one value
    "num_values": 32,  # kinds of values
    "length": 32,  # tokens of source and target: a key, a place for its value, and so on
    "source_length": 16,  # tokens of the source, which asks for nothing
    "val_examples": 1024,  # examples in the split val
    "test_examples": 2048,  # examples in the split test
}


def mad(vocabulary: int) -> dict:
    """One token of the vocabulary is the place for a value; half of the others are keys."""
    return {
        "num_keys": (vocabulary - 1) // 2,
        "num_values": vocabulary // 2,
        "length": 32,
        "source_length": 16,
        "val_examples": 1280,
        "test_examples": 1280,
    }


SETTINGS = {"small": SMALL, "mad": mad(256), "mad_1024": mad(1024), "mad_8192": mad(8192)}


def get_config(model):
    return common.synthetic("memorization", model, SETTINGS)

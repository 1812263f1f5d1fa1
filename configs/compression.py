"""Compression: give back the symbol of any place of what was read (Poli et al. 2024, MAD).

    python train.py --config=configs/compression.py:gru --workdir=runs/compression-gru
    python train.py --config=configs/compression.py:lstm,mad --workdir=runs/compression-mad

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit a3adc46): gru 0.211 of test in 48 s of CPU
time; chance 0.067.
"""

from configs import common

SMALL = {
    "num_symbols": 15,  # kinds of symbols
    "length": 16,  # tokens of the source: symbols, then one that marks the end
    "val_examples": 1024,  # examples in the split val
    "test_examples": 2048,  # examples in the split test
}


def mad(vocabulary: int, length: int) -> dict:
    """One token of the vocabulary ends the source."""
    return {"num_symbols": vocabulary - 1, "length": length, "val_examples": 1280, "test_examples": 1280}


SETTINGS = {"small": SMALL, "mad": mad(16, 32), "mad_vocabulary_32": mad(32, 32), "mad_length_64": mad(16, 64)}


def get_config(model):
    return common.synthetic("compression", model, SETTINGS)

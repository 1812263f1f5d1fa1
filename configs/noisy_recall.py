"""Noisy recall: the value of every key that comes again, among noise (Poli et al. 2024, MAD).

    python train.py --config=configs/noisy_recall.py:gru_decoder --workdir=runs/noisy-recall-gru-decoder
    python train.py --config=configs/noisy_recall.py:transformer_decoder,mad --workdir=runs/noisy-recall-mad

Expected (small, 1,000 steps, on 2 shared cores of an Intel Xeon, commit 1f9759c): transformer_decoder 0.9997 of
test; chance 0.125.
"""

from configs import common

SMALL = {
    "num_keys": 8,  # kinds of keys
    "num_values": 8,  # kinds of values
    "num_noise": 8,  # kinds of noise tokens
    "noise": 0.2,  # share of the places for pairs that hold noise instead
    "length": 64,  # tokens of source, target and last value together
    "source_length": 32,  # tokens of the source, which asks for nothing
    "val_examples": 1024,  # examples in the split val
    "test_examples": 2048,  # examples in the split test
}


def mad(noise: float) -> dict:
    """A vocabulary of 32, half of it noise; the paper also makes the noise .4, .6 and .8."""
    return {
        "num_keys": 8,
        "num_values": 8,
        "num_noise": 16,
        "noise": noise,
        "length": 128,
        "source_length": 64,
        "val_examples": 1280,
        "test_examples": 1280,
    }


SETTINGS = {
    "small": SMALL,
    "mad": mad(0.2),
    "mad_40": mad(0.4),
    "mad_60": mad(0.6),
    "mad_80": mad(0.8),
    "mad_clean": mad(0.0),  # in-context recall
}


def get_config(model):
    config = common.synthetic("noisy_recall", model, SETTINGS)
    config.steps = 1000
    return config

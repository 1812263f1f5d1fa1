"""Fuzzy recall: the value of every key that comes again, keys and values of several tokens (Poli et al. 2024, MAD).

    python train.py --config=configs/fuzzy_recall.py:gru_decoder --workdir=runs/fuzzy-recall-gru-decoder
    python train.py --config=configs/fuzzy_recall.py:transformer_decoder,mad --workdir=runs/fuzzy-recall-mad

Expected (small, 1,000 steps, on 2 shared cores of an Intel Xeon, commit 9852ea0): transformer_decoder 0.627 of
test, still learning, in 114 s of CPU time; chance 0.125.
"""

from configs import common

SMALL = {
    "num_key_tokens": 4,  # kinds of tokens that keys are of
    "num_value_tokens": 8,  # and values
    "max_key": 2,  # tokens of a key at most; in evaluation each has so many
    "max_value": 2,  # tokens of a value at most
    "length": 64,  # tokens of source and target at most, and the last one told
    "source_length": 32,  # tokens of the source; no key in it is asked for
    "val_examples": 1024,  # of the split val
    "test_examples": 2048,  # of the split test
}


def mad(vocabulary: int, length: int) -> dict:
    """Motifs of up to three tokens; one token of the vocabulary is padding."""
    return {
        "num_key_tokens": (vocabulary - 1) // 2,
        "num_value_tokens": vocabulary // 2,
        "max_key": 3,
        "max_value": 3,
        "length": length,
        "source_length": length // 2,
        "val_examples": 1280,
        "test_examples": 1280,
    }


SETTINGS = {"small": SMALL, "mad": mad(16, 128), "mad_vocabulary_32": mad(32, 128), "mad_length_256": mad(16, 256)}


def get_config(model):
    config = common.synthetic("fuzzy_recall", model, SETTINGS)
    config.steps = 1000
    return config

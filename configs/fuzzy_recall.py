"""Fuzzy recall: the value of every key that comes again, keys and values of several tokens (Poli et al. 2024, MAD).

    python train.py --config=configs/fuzzy_recall.py:gru_decoder --workdir=runs/fuzzy-recall-gru-decoder
    python train.py --config=configs/fuzzy_recall.py:transformer_decoder,mad --workdir=runs/fuzzy-recall-mad

Expected (small, 1,000 steps, on 2 shared cores of an Intel Xeon, commit 9852ea0): transformer_decoder 0.627 of
test, still learning, in 114 s of CPU time; chance 0.125.
"""

from configs import common

SMALL = {
    "num_key_tokens": 4,  # kinds of tokens in keys
    "num_value_tokens": 8,  # kinds of tokens in values
    "max_key": 2,  # most tokens in a key; in evaluation every key has this many
    "max_value": 2,  # most tokens in a value
    "length": 64,  # most tokens of source, target and last answer together
    "source_length": 32,  # tokens of the source, which asks for nothing
    "val_examples": 1024,  # examples in the split val
    "test_examples": 2048,  # examples in the split test
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

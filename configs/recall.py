"""Associative recall: read key-value pairs, then answer queries (Arora et al. 2023, MQAR).

    python train.py --config=configs/recall.py:gru_attention --workdir=runs/recall-gru-attention
    python train.py --config=configs/recall.py:gru_attention,zoology_64_4 --workdir=runs/zoology-64-4

Expected: not measured yet.
"""

from configs import common

SMALL = {
    "num_pairs": 8,
    "min_pairs": 1,  # training draws from min_pairs to num_pairs; evaluation always has num_pairs
    "num_queries": 8,
    "num_keys": 32,
    "num_values": 32,
    "source_length": 72,
    "target_length": 8,  # as many as queries: they stand close together
    "query_power": 1.0,  # of the gaps before queries, where the target is longer
    "val_examples": 1152,
    "test_examples": 4608,
}


def zoology(length: int, pairs: int) -> dict:
    """Arora et al. 2023, figure 2: `length` tokens in all, the pairs first, queries at power-law gaps."""
    return {
        "num_pairs": pairs,
        "min_pairs": pairs,
        "num_queries": pairs,
        "num_keys": 4095,
        "num_values": 4096,
        "source_length": 2 * pairs,
        "target_length": length - 2 * pairs,
        "query_power": 0.01,
        "val_examples": 3000,
        "test_examples": 3000,
    }


SETTINGS = {
    "small": SMALL,
    "zoology_64_4": zoology(64, 4),
    "zoology_128_8": zoology(128, 8),
    "zoology_256_16": zoology(256, 16),
    "zoology_512_64": zoology(512, 64),
}


def get_config(model):
    name, data = common.setting(model, SETTINGS)
    config = common.base("recall", name)
    config.data.update(data)
    config.steps = 1500
    common.set_width(config.model, 64)
    config.model.num_layers = 2 if name.startswith("transformer") else 1
    config.optimizer.learning_rate = 3e-3 if "embed_size" in config.model else 1e-3
    return config

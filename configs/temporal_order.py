"""Temporal order: which of two symbols came first in a long noise (Pascanu et al. 2013).

    python train.py --config=configs/temporal_order.py:gru --workdir=runs/temporal-order-gru
    python train.py --config=configs/temporal_order.py:rnn,pascanu_100 --workdir=runs/temporal-order-rnn-100

Expected (small, 3,000 steps, on 1 core of an AMD EPYC beside other work, commit d795f08): accuracy of test 1.000 with
gru in 64 s, gru_attention in 84 s and transformer in 325 s; chance 0.25.
"""

from configs import common

SMALL = {
    "length": 65,  # symbols of the sequence
    "positions": "anywhere",  # where the two symbols stand: anywhere, or in the windows of pascanu
    "val_examples": 5120,  # examples in the split val
    "test_examples": 5120,  # examples in the split test
}


def paper(length: int) -> dict:
    """Pascanu et al. 2013: symbols in the second and the sixth tenth; 10,000 test sequences."""
    return {"length": length, "positions": "pascanu", "val_examples": 1000, "test_examples": 10000}


SETTINGS = {"small": SMALL, "pascanu_50": paper(50), "pascanu_100": paper(100), "pascanu_200": paper(200)}


def get_config(model):
    return common.synthetic("temporal_order", model, SETTINGS)

"""Selective copying: give back, in order, symbols that lie scattered among blanks (Gu and Dao 2023).

    python train.py --config=configs/selective_copying.py:gru --workdir=runs/selective-copying-gru
    python train.py --config=configs/selective_copying.py:lstm,mamba_4096 --workdir=runs/selective-copying-4096

Expected (small, 3,000 steps, on 1 core of an AMD EPYC beside other work, commit d795f08): token accuracy of test 0.602
with gru in 77 s, 1.000 with gru_attention in 106 s and with transformer in 323 s.
"""

from configs import common

SMALL = {
    "num_symbols": 14,  # kinds of symbols
    "num_kept": 8,  # symbols to repeat
    "num_blanks": 56,  # blanks between them
    "val_examples": 1024,  # examples in the split val
    "test_examples": 2048,  # examples in the split test
}


def mamba(blanks: int) -> dict:
    """Sixteen kept tokens of a vocabulary of 16, in which blank and marker are two."""
    return {"num_symbols": 14, "num_kept": 16, "num_blanks": blanks, "val_examples": 1024, "test_examples": 2048}


# `mad`, Poli et al. 2024: 256 tokens in all, of which 16 are kept, 16 answer and one is the marker. There training has
# 12,800 examples; here every one is new.
SETTINGS = {
    "small": SMALL,
    "mamba_256": mamba(256),
    "mamba_1024": mamba(1024),
    "mamba_4096": mamba(4096),
    "mad": mamba(223),
}


def get_config(model):
    return common.synthetic("selective_copying", model, SETTINGS)

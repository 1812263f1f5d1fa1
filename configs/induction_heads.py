"""Induction heads: say what followed the special token when it was there before (Olsson et al. 2022).

    python train.py --config=configs/induction_heads.py:gru_decoder --workdir=runs/induction-heads-gru-decoder
    python train.py --config=configs/induction_heads.py:transformer_decoder,mamba_256 --workdir=runs/induction-heads-256

Expected (small, 3,000 steps, on 2 shared cores of an Intel Xeon, commit 671af0a): gru_decoder 1.000 of test and of
test_long, in 67 s of CPU time; chance 0.067.
"""

from configs import common

SETTINGS = {
    "small": {
        "num_symbols": 15,  # kinds of symbols besides the special token
        "length": 64,  # tokens, including the second special token
        "long_length": 256,  # tokens in the split test_long, more than length; 0: no such split
        "val_examples": 4464,  # examples in the split val
        "test_examples": 4464,  # examples in the split test
    },
    # Gu and Dao 2023, as reimplementations have it: a vocabulary of 16, trained at 256. For tests beyond 4,096 set
    # data.long_length.
    "mamba_256": {
        "num_symbols": 15,
        "length": 256,
        "long_length": 4096,
        "val_examples": 4464,
        "test_examples": 4464,
    },
}


def get_config(model):
    return common.synthetic("induction_heads", model, SETTINGS)

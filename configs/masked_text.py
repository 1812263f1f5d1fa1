"""Masked-token prediction: which tokens were hidden, from both sides (Devlin et al. 2019), to start other runs from.

    python train.py --config=configs/masked_text.py:transformer_encoder --workdir=runs/masked --config.data.dir=FOLDER
    python train.py --config=configs/masked_text.py:transformer_encoder,multi30k --workdir=runs/masked-captions \\
        --config.data.dir=FOLDER
    python train.py --config=configs/word_order.py:transformer_encoder --workdir=runs/word-order \\
        --config.data.dir=FOLDER --config.init_from=runs/masked-captions

FOLDER holds what the configs of shakespeare and multi30k read.

Expected on multi30k: 54 % of the hidden tokens right, and word order then at .67 instead of .52, with the sizes and
commands of docs/results/multi30k.md, "Pre-training" (12,000 steps of .38 s, 2 shared cores of an Intel Xeon, commit
e41ae19). On shakespeare: 47 % (2,000 steps, 10 minutes of one core of an AMD EPYC, commit d795f08).
"""

from configs import common

SHARED = {
    "dir": "",  # folder of the text; empty: download through TFDS
    "lowercase": False,  # turn all text into lower case
    "mask_rate": 0.15,  # share of the tokens to predict
    "train_examples": 0,  # how many documents to train on, from the first on; 0: all
    "cache_dir": "",  # where tokenizers are cached; empty: ~/.cache/longreach
}
SETTINGS = {
    "shakespeare": SHARED
    | {
        "corpus": "file",  # file, multi30k
        "file": "input.txt",  # name of the file, for the corpus file
        "language": "en",  # de, en, fr, for the corpus multi30k
        "tokenizer": {
            "name": "char",  # char (0: every character), byte, unigram, bpe
            "vocab_size": 0,  # entries; 0 where the kind decides: every character, or 256 bytes
            "normalization": "identity",  # text as written; unigram and bpe: nfkc, nmt_nfkc, nfkc_cf, nmt_nfkc_cf
        },
        "length": 128,  # tokens of a window
    },
    "multi30k": SHARED
    | {
        "corpus": "multi30k",
        "file": "",
        "language": "en",
        "tokenizer": {"name": "unigram", "vocab_size": 4000, "normalization": "identity"},
        "lowercase": True,
        "length": 64,
    },
}


def get_config(argument):
    name, data = common.setting(argument, SETTINGS)
    config = common.base("masked_text", name)
    config.batch_size = 32
    config.model.num_layers = 2
    config.data.update(data)
    return config
